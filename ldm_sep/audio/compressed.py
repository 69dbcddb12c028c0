"""Compressed audio of any kind, decoded by FFmpeg through PyAV, with an account of what is damaged or missing."""

import errno
from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path

import av
import numpy as np
from av.codec.context import Flags2

from ldm_sep.audio.info import AudioInfo, Notice, cut_off, no_samples, unreadable
from ldm_sep.audio.mp3 import mp3_length
from ldm_sep.audio.view import FileView
from ldm_sep.errors import AudioError
from ldm_sep.files import shown

# Demuxers whose duration is what the header declares. That of others is an estimate, or the length of what is there.
_DECLARING = ("flac", "mov", "matroska", "asf", "wv", "tta", "ape", "caf", "aiff", "wav", "w64", "avi", "ogg")
_LOSSLESS = ("flac", "alac", "wavpack", "tta", "ape", "truehd")
# Some headers count an encoder's padding, others do not.
_LOSSY_TOLERANCE_SECONDS = 0.1
_MOST_LOST = 0.05
# A damaged frame may seem to have another rate; a stream that has changed goes on with it.
_CHANGE_SECONDS = 0.3
# Tags and padding behind the sound, in bytes.
_MAX_TAIL = 1024
# No codec packs more: FLAC spends at least 11 bytes on a block of at most 65535 equal samples.
_MAX_SAMPLES_PER_BYTE = 8192
_OGG_PAGE = 65_536


@dataclass
class _Tally:
    """What has come of a stream so far, in samples unless said otherwise."""

    decoded: int = 0
    lost: float = 0.0
    first_loss: str = ""
    failed: float = 0.0  # in packets that failed, or of another rate, since the last good one
    packets: int = 0  # good ones
    links: int = 0  # of a chained Ogg file
    end: float = 0.0  # where the last good packet ended, by its time stamp
    reached: int = 0  # offset of the last good packet, in bytes
    size: int = 0  # of it, in bytes
    broken: str = ""  # why reading stopped early


class CompressedDecoder:
    """The first audio stream of a file. What fails to decode is left out and accounted for at the end."""

    def __init__(self, path: Path, notice: Notice) -> None:
        self._path = path
        self._notice = notice
        self._view: FileView | None = None
        self._open()
        try:
            if self._format == "mp3":
                frames = self._follow_mp3_frames()
            else:
                frames = round(self._seconds() * self._rate) if self._format in _DECLARING else 0
            known = frames if 0 < frames <= path.stat().st_size * _MAX_SAMPLES_PER_BYTE else None
            codec = self._stream.codec_context
            self.info = AudioInfo(path, self._rate, codec.channels, known, self._format.upper(), codec.name.upper())
            if len(self._container.streams.audio) > 1:
                notice(f"{shown(path)}: holds {len(self._container.streams.audio)} audio tracks; the first is read")
        except BaseException:
            self.close()
            raise
        self._tally = _Tally()
        self._blocks = self._decode()

    def read(self) -> np.ndarray:
        """The next samples, float32 ``(C, T)``; T is 0 at the end of the file."""
        return next(self._blocks, np.empty((self.info.channels, 0), np.float32))

    def close(self) -> None:
        self._container.close()
        if self._view is not None:
            self._view.close()

    def _open(self) -> None:
        self._container = open_container(self._path, self._view)
        streams = self._container.streams.audio
        if not streams or streams[0].codec_context is None:
            self._container.close()
            raise unreadable(self._path, "no decoder for its encoding" if streams else "it holds no audio")
        self._stream = streams[0]
        codec = self._stream.codec_context
        # FFmpeg's own trimming of Vorbis loses samples of short streams.
        self._trims_vorbis = codec.name == "vorbis" and self._container.format.name == "ogg"
        if self._trims_vorbis:
            codec.flags2 |= Flags2.skip_manual
        if codec.name == "flac":  # a frame whose checksum is wrong fails, instead of sounding wrong
            codec.options = {"err_detect": "crccheck+explode"}
        self._format = self._container.format.name.split(",")[0]
        self._rate = codec.sample_rate
        self._ticks = float(self._stream.time_base or 0) * self._rate  # samples in a unit of the stream's clock
        self._counts_samples = self._ticks == 1
        self._lossless = codec.name in _LOSSLESS

    def _seconds(self) -> float:
        """The duration that FFmpeg read or estimated; 0 where there is none."""
        if self._stream.duration is not None and self._stream.time_base:
            return float(self._stream.duration * self._stream.time_base)
        return (self._container.duration or 0) / av.time_base

    def _follow_mp3_frames(self) -> int:
        """Number of samples by the frames that are there; from here on FFmpeg sees a length tag that says so."""
        self._length = length = mp3_length(self._path, self._container)
        there = length.packets * length.seconds_each
        declared = (length.declared or 0) * length.seconds_each
        # FFmpeg has left the encoder's delay and padding out, or has not believed the tag.
        believed = abs(declared - self._seconds()) < 4 * length.seconds_each
        if length.cut_off and declared - there > _LOSSY_TOLERANCE_SECONDS:
            raise cut_off(self._path, there, self._seconds() if believed else declared)
        if length.cut_off:
            self._notice(f"{shown(self._path)}: its last {declared - there:.3f} s are missing")
        if believed:
            self._view = FileView(self._path, patch=length.patch)
        self._container.close()
        self._open()
        return round((self._seconds() if believed else there) * self._rate)

    def _decode(self) -> Iterator[np.ndarray]:
        """Blocks in order; every one has at least one sample."""
        tally = self._tally
        first: av.Packet | None = None  # of a link of an Ogg file
        clock: float | None = None  # where the last packet ended, in samples
        slack = 0 if self._counts_samples else _LOSSY_TOLERANCE_SECONDS * self._rate
        foreign = 0  # samples of another rate since the last that fit
        try:
            for packet in self._container.demux(self._stream):
                if first is None or (self._format == "ogg" and _begins_link(packet)):
                    self._stream.codec_context.flush_buffers()
                    first, clock, tally.links = packet, None, tally.links + 1
                length = 0 if (packet.duration or 0) >= 2**31 else (packet.duration or 0) * self._ticks
                try:
                    frames = packet.decode()
                except av.FFmpegError:
                    frames = []
                    tally.failed += length
                fitting = [f for f in frames if f.sample_rate == self._rate and _channels(f) == self.info.channels]
                foreign = foreign + sum(f.samples for f in frames if f not in fitting) if not fitting else 0
                if foreign > _CHANGE_SECONDS * self._rate:
                    raise self._changed(frames[-1])
                # Time stamps of Vorbis are right at the end of a packet, not always at its beginning.
                finish = clock if packet.pts is None else packet.pts * self._ticks + length
                taken = sum(f.samples for f in frames) or length
                if packet.pts is None and finish is not None:
                    finish += taken
                elif clock is not None and finish is not None and finish - clock > taken + slack:
                    self._lose(finish - clock - taken)
                clock = finish if packet.size else clock
                blocks = self._trimmed(packet, first, [_samples(f) for f in fitting if f.samples])
                if blocks:
                    self._lose(tally.failed)
                    tally.failed, tally.packets = 0.0, tally.packets + 1
                    tally.reached, tally.size = packet.pos or tally.reached, packet.size
                elif frames:
                    tally.failed += sum(f.samples for f in frames if f not in fitting)
                if blocks and clock is not None:
                    tally.end = clock
                for block in blocks:
                    tally.decoded += block.shape[1]
                    yield block
        except av.FFmpegError as error:
            if error.errno in (errno.EIO, errno.ESTALE):
                raise AudioError(f"{shown(self._path)}: cannot be read ({error.strerror}); check the disk") from error
            left = self._path.stat().st_size - tally.reached - tally.size
            if left > _MAX_TAIL:
                tally.broken = f"its last {left} bytes cannot be read ({error.strerror})"
        if self._view is not None and self._view.error is not None:
            raise self._view.error
        self._account()

    def _trimmed(self, packet: av.Packet, first: av.Packet, blocks: list[np.ndarray]) -> list[np.ndarray]:
        """The blocks of a packet without what pads the stream to whole packets, where FFmpeg leaves it in."""
        if self._trims_vorbis and blocks:
            return [] if packet is first else [blocks[0][:, : -_vorbis_padding(packet, first) or None]]
        if self._format == "mov" and self._counts_samples and packet.duration and blocks:
            blocks[-1] = blocks[-1][:, : packet.duration]
        return blocks

    def _lose(self, samples: float) -> None:
        if samples and not self._tally.lost:
            self._tally.first_loss = f", the first at {self._tally.decoded / self._rate:.2f} s"
        self._tally.lost += samples

    def _account(self) -> None:
        """At the end of the file: refuse what is cut off or badly damaged, tell of the rest."""
        tally, name, rate, declared = self._tally, shown(self._path), self._rate, self.info.frames
        seconds = tally.decoded / rate
        if not tally.decoded:
            nothing = tally.failed or tally.broken
            raise unreadable(self._path, "nothing in it decodes") if nothing else no_samples(self._path)
        if self._format == "mp3":
            # Behind the last frame there may be tags of any kind, and FFmpeg takes other junk for frames too.
            if (tally.lost or self._length.junk) and (self._length.declared or 0) >= tally.packets:
                tally.lost = ((self._length.declared or 0) - tally.packets) * tally.decoded / tally.packets
        else:
            if tally.links > 1:  # FFmpeg's length of a chained file is that of its last link
                declared = None
            if tally.broken and (declared is None or self._format == "ogg"):
                raise AudioError(f"{name}: {tally.broken}; split it at {seconds:.2f} s, or convert it to wav or flac")
            tolerance = 0 if self._lossless and self._counts_samples else _LOSSY_TOLERANCE_SECONDS * rate
            if declared is not None and max(tally.end, tally.decoded) < declared - tolerance:
                raise cut_off(self._path, seconds, declared / rate)
            self._lose(tally.failed)
            missing = (declared or 0) - tally.decoded
            tally.lost = max(tally.lost, missing if missing > tolerance else 0)
        lost = f"{tally.lost / rate:.3f} s of it cannot be decoded{tally.first_loss}"
        if tally.lost > _MOST_LOST * (tally.decoded + tally.lost):
            raise AudioError(f"{name}: is damaged, {lost}; fetch the file again")
        if tally.lost:
            self._notice(f"{name}: is damaged, {lost}; the rest is read")
        if self._format == "ogg" and not _ogg_ends(self._path, tally.reached):
            self._notice(f"{name}: has no end-of-stream page, or a damaged one; it may be cut off at {seconds:.2f} s")

    def _changed(self, frame: av.AudioFrame) -> AudioError:
        return AudioError(
            f"{shown(self._path)}: changes from {self._rate} Hz and {self.info.channels} channels to "
            f"{frame.sample_rate} Hz and {_channels(frame)} at about {self._tally.decoded / self._rate:.2f} s; "
            "split it there, or convert it to wav or flac"
        )


def open_container(path: Path, source: FileView | None = None) -> av.container.InputContainer:
    """The file as FFmpeg sees it. AudioError if it sees nothing in it."""
    try:
        # Playlists must not make it open other files or addresses.
        return av.open(source or f"file:{path}", "r", metadata_errors="replace", options={"protocol_whitelist": "file"})
    except (av.FFmpegError, ValueError) as error:
        said = error.strerror if isinstance(error, av.FFmpegError) else str(error)
        raise unreadable(path, (said or "no audio").lower()) from error


def _skipped(packet: av.Packet) -> tuple[int, int]:
    """Samples that FFmpeg leaves out at the beginning and at the end of a packet."""
    fields = bytes(packet.get_sidedata("skip_samples")) if packet.has_sidedata("skip_samples") else bytes(8)
    return int.from_bytes(fields[:4], "little"), int.from_bytes(fields[4:8], "little")


def _begins_link(packet: av.Packet) -> bool:
    """Whether the packet is the first of a link of a chained Ogg file, whose decoder starts from nothing."""
    return packet.has_sidedata("new_extradata") or _skipped(packet)[0] > 0


def _vorbis_padding(packet: av.Packet, first: av.Packet) -> int:
    """Samples of the last packet of a link that are padding; ``first`` is the link's first packet, which has no sound.

    Where a link is a single page, FFmpeg counts the first packet too, and in later links their beginning.
    """
    end = _skipped(packet)[1]
    if end and packet.pos == first.pos:
        end -= (first.duration or 0) + ((first.pts or 0) if end > (first.pts or 0) > 0 else 0)
    return max(0, end)


def _channels(frame: av.AudioFrame) -> int:
    return len(frame.layout.channels)


def _samples(frame: av.AudioFrame) -> np.ndarray:
    """float32 ``(C, T)``; integers are scaled by a power of two to [-1, 1)."""
    data = frame.to_ndarray()
    if frame.format.is_packed:
        data = data.reshape(-1, _channels(frame)).T
    if data.dtype == np.uint8:
        data = data.astype(np.int8) ^ np.int8(-128)
    scale = 1.0 if data.dtype.kind == "f" else 2.0 ** (1 - 8 * data.dtype.itemsize)
    return np.ascontiguousarray(data, np.float32) * np.float32(scale)


def _ogg_ends(path: Path, reached: int) -> bool:
    """Whether the last page of an Ogg file is complete, marked as the end of a stream, and at ``reached`` or empty or
    the rest of a packet from there.
    """
    with path.open("rb") as file:
        start = max(0, file.seek(0, 2) - 2 * _OGG_PAGE)
        file.seek(start)
        tail = file.read()
    at = tail.rfind(b"OggS\0")
    page = tail[max(at, 0) :]
    if at < 0 or len(page) < 27 or len(page) < 27 + page[26] + sum(page[27 : 27 + page[26]]):
        return False
    continues, ends = page[5] & 1, page[5] & 4
    return bool(ends and (start + at == reached or continues or not page[26]))
