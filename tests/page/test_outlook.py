"""What is said of a song's place and time, against queues that were made up."""

import time
from datetime import UTC, datetime, timedelta

import pytest

from ldm_sep.page.outlook import Running, outlook
from ldm_sep.page.records import Job, Order, Settings, Sound, Stretch

NOW = datetime(2026, 1, 1, tzinfo=UTC)
PACE = {None: 0.5, "fast": 0.1}


def waiting(number: int, seconds: float = 60, preset: str | None = None, state: str = "queued") -> Job:
    """A song of ``seconds`` that waits since minute ``number``."""
    return Job(
        id=f"{number:022}",
        name="song.wav",
        state=state,
        created=NOW,
        queued=NOW + timedelta(minutes=number),
        order=Order(settings=Settings(preset=preset)),
        sound=Sound(sample_rate=1000, channels=2, frames=round(1000 * seconds)),
    )


def test_a_song_waits_for_those_before_it_and_for_itself() -> None:
    under_way, *queue = waiting(3, state="separating"), waiting(2, 30, "fast"), waiting(1, 100)
    running = {under_way.id: Running("queued", time.monotonic() - 10, 0.25)}
    jobs = [*queue, under_way]
    # A quarter took 10 s, so 30 s are left; then 100 s of song at 0.5, then 30 s at 0.1.
    for job, position, seconds in ((under_way, None, 30), (queue[1], 1, 80), (queue[0], 2, 83)):
        said = outlook(job, jobs, running, PACE)
        assert said.position == position and said.eta_seconds == pytest.approx(seconds, abs=0.5)
    assert outlook(under_way, jobs, running, PACE).progress == 0.25


def test_nothing_is_said_where_nothing_is_known() -> None:
    unknown, behind = waiting(1, preset="best"), waiting(2)
    assert outlook(unknown, [unknown, behind], {}, PACE).eta_seconds is None
    assert outlook(behind, [unknown, behind], {}, PACE).eta_seconds is None
    done = waiting(3, state="done")
    assert outlook(done, [done], {}, PACE).eta_seconds is None and outlook(done, [done], {}, PACE).progress == 1


def test_a_stretch_takes_as_long_as_it_is() -> None:
    whole = waiting(1, 100)
    order = Order(settings=Settings(), stretch=Stretch(start=10, end=30, seed=1))
    job = whole.model_copy(update={"order": order})
    assert outlook(job, [job], {}, PACE).eta_seconds == pytest.approx(10)
