"""What a data set consists of: every layout is read into the same list of `Track` records."""

from dataclasses import dataclass
from pathlib import Path
from typing import Literal, NamedTuple

Split = Literal["train", "valid", "test"]
Layout = Literal["musdb18hq", "stems", "pairs", "csv", "roles"]


class Clip(NamedTuple):
    """A piece of a recording from ``start`` to ``end`` seconds; ``f0`` in Hz, where it holds one steady pitch."""

    start: float
    end: float
    f0: float | None = None


@dataclass(frozen=True)
class Track:
    """One song, or one recording of a solo voice or of music without voice.

    A song has ``vocals`` and either ``accompaniment`` files (their sum) or a ``mixture`` (then the accompaniment
    is mixture - vocals). ``clips`` are the pieces a collage may be cut into; ``singer`` groups
    recordings of one voice; what follows a slash in it names a variant (a pitch, a style) of the same person's voice.
    ``spoken``: a voice that speaks.
    """

    name: str
    split: Split
    vocals: Path | None = None
    accompaniment: tuple[Path, ...] = ()
    mixture: Path | None = None
    singer: str = ""
    clips: tuple[Clip, ...] = ()
    spoken: bool = False

    @property
    def is_song(self) -> bool:
        """Vocals and accompaniment belong together."""
        return self.vocals is not None and (bool(self.accompaniment) or self.mixture is not None)

    @property
    def person(self) -> str:
        """The singer without the variant."""
        return self.singer.split("/")[0]

    @property
    def files(self) -> tuple[Path, ...]:
        """All audio files of the track."""
        single = tuple(p for p in (self.vocals, self.mixture) if p is not None)
        return single + self.accompaniment
