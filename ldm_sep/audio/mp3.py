"""How many frames an MP3 file holds, against what its length tag says.

FFmpeg believes the tag (Xing or Info, in the frame before the first one with sound): it cuts the encoder's padding off
where the tag says that the stream ends, be that in its middle, and does not tell of frames that are missing.
"""

from contextlib import suppress
from dataclasses import dataclass
from pathlib import Path

import av

_SMALLEST_FRAME, _LARGEST_FRAME = 24, 2881


@dataclass(frozen=True)
class Mp3Length:
    """``packets`` that are there, of ``seconds_each``; ``declared``: those in the tag, ``None`` without one.

    ``junk``: whether something else is between or behind them. ``cut_off``: the tag declares more packets and more
    bytes than there are. ``patch``: offset and bytes that make the tag say what is there, as FFmpeg counts, junk too.
    """

    packets: int
    seconds_each: float
    declared: int | None
    junk: bool
    cut_off: bool
    patch: tuple[int, bytes]


def mp3_length(path: Path, container: av.container.InputContainer) -> Mp3Length:
    """Count the packets of the open MP3 file, to its end, without decoding them."""
    first = packets = last = duration = 0
    junk = False
    stream = container.streams.audio[0]
    with suppress(av.FFmpegError):  # what follows cannot be decoded either
        for count, packet in enumerate(container.demux(stream), 1):
            data = memoryview(packet)
            # Others are junk between frames.
            if packet.size >= _SMALLEST_FRAME and data[0] == 0xFF and data[1] & 0xE0 == 0xE0:
                first = first if packets else packet.pos or 0
                duration = max(duration, packet.duration or 0)
                packets += 1
                last = count
            if packet.size and (last < count or packet.size > _LARGEST_FRAME):
                junk = True
    seconds_each = float(duration * stream.time_base) if stream.time_base else 0.0
    with path.open("rb") as file:
        base = max(0, first - _LARGEST_FRAME)
        file.seek(base)
        head = file.read(first - base)
        tag = max(head.rfind(b"Xing"), head.rfind(b"Info"))
        fields = [int.from_bytes(head[i : i + 4], "big") for i in range(tag + 4, tag + 16, 4)]
        if tag < 0 or not fields[0] & 1:
            return Mp3Length(packets, seconds_each, None, junk, False, (0, b""))
        there = file.seek(0, 2) - base - tag
    short = fields[1] > packets and (not fields[0] & 2 or fields[2] > there + 64)
    patch = (base + tag + 8, last.to_bytes(4, "big"))
    return Mp3Length(packets, seconds_each, fields[1], junk, short, patch)
