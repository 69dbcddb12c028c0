"""What is known of a song on the page, and the bounds of what it may cost."""

from datetime import datetime
from typing import Annotated, Literal

from pydantic import Field, NonNegativeFloat, NonNegativeInt, PositiveFloat, PositiveInt

from ldm_sep.records import Record

State = Literal["reading", "queued", "separating", "done", "failed", "cancelled"]
ACTIVE: tuple[State, ...] = ("reading", "queued", "separating")

Lane = Literal["mixture", "vocals", "instrumental"]
LANES: tuple[Lane, ...] = ("mixture", "vocals", "instrumental")

Seed = Annotated[int, Field(ge=0, lt=2**31)]


class Settings(Record):
    """How a song is separated. ``preset`` None stands for the checkpoint's default."""

    preset: str | None = None
    seed: Seed = 0


class Stretch(Record):
    """A part of a song, in seconds, that was or is to be separated again with another ``seed``."""

    start: NonNegativeFloat
    end: NonNegativeFloat
    seed: Seed


class Sound(Record):
    """What the decoded song is: its rate in Hz, channels and samples T per channel."""

    sample_rate: int
    channels: int
    frames: int

    @property
    def seconds(self) -> float:
        """The duration."""
        return self.frames / self.sample_rate


class Order(Record):
    """What is to be done with a song: separate it as ``settings`` say, or of its result only ``stretch``."""

    settings: Settings = Settings()
    stretch: Stretch | None = None


class Job(Record):
    """One song, from its upload to its stems.

    take: the number of the result that is there, whole; 0 is none. It is what ``settings`` and then the ``stretches``,
    one after the other, gave. order: what is due or being done; the result of before stays until it is. queued: since
    when it waits. finished: when the result came. peaks: the largest magnitude of each lane. error: why the last order
    was not done. notes: what the reader of the upload and the separation told.
    """

    id: Annotated[str, Field(pattern=r"^[A-Za-z0-9_-]{22}$")]
    name: str
    state: State = "reading"
    created: datetime
    queued: datetime
    finished: datetime | None = None
    order: Order | None = None
    sound: Sound | None = None
    take: NonNegativeInt = 0
    settings: Settings = Settings()
    stretches: tuple[Stretch, ...] = ()
    peaks: dict[Lane, float] = Field(default_factory=dict)
    error: str | None = None
    notes: tuple[str, ...] = ()


class Bounds(Record):
    """What a song and all songs together may cost.

    upload: bytes of a file. minutes: length of a song. memory and decoding_seconds: of the process that decodes an
    upload, in bytes beyond what Python takes, and on the clock. places: songs that may wait or be worked on at once.
    keep_days, keep_bytes: finished songs are deleted when they are older, and the oldest first when all are larger.
    """

    upload: PositiveInt = 2 << 30
    minutes: PositiveFloat = 90.0
    memory: PositiveInt = 1 << 30
    decoding_seconds: PositiveFloat = 900.0
    places: PositiveInt = 20
    keep_days: PositiveFloat = 7.0
    keep_bytes: PositiveInt = 20 << 30
