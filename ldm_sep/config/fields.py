"""Types of the configurations' fields. Every size has an upper bound, far above what any network here ever had."""

from typing import Annotated

from pydantic import AfterValidator, Field


def _printable(text: str) -> str:
    if not text.isprintable():
        raise ValueError("must be one line of printable characters")
    return text


Line = Annotated[str, Field(max_length=1000), AfterValidator(_printable)]
Hash = Annotated[str, Field(pattern=r"^[0-9a-f]{64}$")]
Count = Annotated[int, Field(gt=0, le=1_000_000_000)]
Channels = Annotated[int, Field(gt=0, le=8192)]
Blocks = Annotated[int, Field(gt=0, le=64)]
Samples = Annotated[int, Field(gt=0, le=65536)]
SampleRate = Annotated[int, Field(ge=8000, le=192_000)]
Exponent = Annotated[float, Field(gt=0, le=1)]
Share = Annotated[float, Field(ge=0, le=1)]
Decibels = Annotated[float, Field(ge=0, le=60)]
Weight = Annotated[float, Field(ge=0, le=1e6)]
Rate = Annotated[float, Field(gt=0, le=100)]
Steps = Annotated[int, Field(ge=0, le=1000)]
Averages = Annotated[int, Field(gt=0, le=100)]
Speeds = Annotated[tuple[Annotated[float, Field(ge=0.5, le=2)], ...], Field(min_length=1, max_length=16)]
MaskPower = Annotated[float, Field(gt=0, le=4)]
DiffusionTime = Annotated[float, Field(gt=0, le=1)]
Segment = Annotated[float, Field(ge=1, le=120)]
Overlap = Annotated[float, Field(ge=0, le=0.5)]
# Counts in records elsewhere: batches, windows.
Positive = Annotated[int, Field(gt=0, le=100_000)]
