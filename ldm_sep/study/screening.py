"""Listeners whose ratings are left out, by rules that stand in the report and are fixed before anybody listens."""

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from statistics import fmean

from ldm_sep.study.ratings import Choice, Rating
from ldm_sep.study.records import HEADPHONES_PASSED, Method, Role

# ITU-R BS.1534-3, section 4.1.2.
_REFERENCE_AT_LEAST = 90.0
_ANCHOR_AT_MOST = 90.0
_SHARE_OF_TRIALS = 0.15
# As a share of the scale. Random ratings differ by a third of it on average.
_REPEAT_ERROR = 0.25

RULES = {
    "headphones": "fewer than five of the six headphone trials right (Woods et al. 2017)",
    "reference": "hidden reference below 90 in more than 15 % of the trials (ITU-R BS.1534-3)",
    "anchor": "7 kHz anchor above 90 in more than 15 % of the trials (ITU-R BS.1534-3)",
    "order": "hidden reference on average not above the lowest anchor",
    "repeats": "ratings of repeated trials differ by more than a quarter of the scale on average",
    "flat": "the same rating for everything",
}


@dataclass(frozen=True)
class Rejected:
    """A listener who is left out: which of `RULES` was broken, and its numbers."""

    listener: str
    rule: str
    detail: str


def screen(
    rows: Sequence[Rating | Choice],
    roles: Mapping[str, Role],
    method: Method | None,
    scale: tuple[float, float],
    headphones: Mapping[str, int],
) -> list[Rejected]:
    """Everyone who breaks one of the rules that ``method`` and the versions heard allow to be checked, with the first
    rule they break. Of A/B choices the headphones alone can be checked.
    """
    rejected = []
    for listener in dict.fromkeys(row.listener for row in rows):
        right = headphones.get(listener)
        own = [row for row in rows if row.listener == listener and isinstance(row, Rating)]
        found = _broken(own, roles, method, scale)
        if right is not None and right < HEADPHONES_PASSED:
            found = ("headphones", f"{right} of 6 right")
        if found is not None:
            rejected.append(Rejected(listener, *found))
    return rejected


def _broken(
    own: Sequence[Rating], roles: Mapping[str, Role], method: Method | None, scale: tuple[float, float]
) -> tuple[str, str] | None:
    by_role: dict[Role, list[float]] = {}
    for row in own:
        by_role.setdefault(roles[row.system], []).append(row.rating)
    reference = by_role.get("reference", [])
    anchors = [fmean(by_role[role]) for role in ("low_anchor", "mid_anchor", "mixture") if role in by_role]
    if method == "mushra":
        for rule, wrong in (
            ("reference", [value < _REFERENCE_AT_LEAST for value in reference]),
            ("anchor", [value > _ANCHOR_AT_MOST for value in by_role.get("mid_anchor", [])]),
        ):
            if wrong and fmean(wrong) > _SHARE_OF_TRIALS:
                return rule, f"in {sum(wrong)} of {len(wrong)} trials"
    elif reference and anchors and fmean(reference) <= min(anchors):
        return "order", f"reference {fmean(reference):.1f}, lowest anchor {min(anchors):.1f}"
    error = repeat_error(own)
    if error is not None and error > _REPEAT_ERROR * (scale[1] - scale[0]):
        return "repeats", f"by {error:.2g} on average"
    if len(own) > 1 and len({row.rating for row in own}) == 1:
        return "flat", f"{len(own)} times {own[0].rating:g}"
    return None


def repeat_error(own: Sequence[Rating]) -> float | None:
    """Mean absolute difference of one listener's two ratings of the same; None without repeats."""
    first = {row[1:4]: row.rating for row in own if row.presentation == 0}
    again = [(row.rating, first[row[1:4]]) for row in own if row.presentation == 1 and row[1:4] in first]
    return fmean(abs(one - other) for one, other in again) if again else None
