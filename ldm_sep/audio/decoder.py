"""Audio of any kind, decoded by FFmpeg through PyAV, with an account of what is damaged or missing."""

import errno
from collections.abc import Iterator
from contextlib import suppress
from pathlib import Path

import av
import numpy as np
from av.codec.context import Flags2

from ldm_sep.audio.info import AudioInfo, Notice, cut_off, no_samples, unreadable
from ldm_sep.audio.pcm import pcm_samples, sample_extent
from ldm_sep.audio.samples import scaled
from ldm_sep.audio.streams import Link, Mp3Frames, mp3_frames, ogg_links
from ldm_sep.errors import AudioError
from ldm_sep.files import shown

# Demuxers whose duration is what the header declares. That of others is an estimate, or the length of what is there.
_DECLARING = ("flac", "mov", "matroska", "asf", "wv", "tta", "ape", "caf", "aiff", "wav", "w64", "avi", "ogg", "nist")
# Of those that declare it, the ones that declare it for all tracks together.
_OF_ALL_TRACKS = ("matroska", "asf")
# Those whose packets are found by the headers of the frames in them.
_HEADERLESS = ("aac", "ac3", "eac3", "dts", "mp3", "mpegts", "mpeg", "avi")
_SMALLEST_HEADER, _LARGEST_FRAME = 7, 65_536
_LOSSLESS = ("pcm_", "flac", "alac", "wavpack", "tta", "ape", "truehd")
# Some headers count an encoder's padding, others do not.
_LOSSY_TOLERANCE_SECONDS = 0.1
_MOST_LOST = 0.05
# A damaged frame may seem to have another rate; a stream that has changed goes on with it.
_CHANGE_SECONDS = 0.3
# Tags and padding behind the sound, in bytes.
_MAX_TAIL = 1024
# No codec packs more: FLAC spends at least 11 bytes on a block of at most 65535 equal samples.
_MAX_SAMPLES_PER_BYTE = 8192
_KINDS = {"u8": "u1", "s16": "i2", "s32": "i4", "s64": "i8", "flt": "f4", "dbl": "f8"}


class Decoder:
    """The first audio stream of a file from the sample ``start`` on: ``blocks``, float32 ``(C, T)`` with T at least 1.
    What fails to decode is left out and accounted for at the end.
    """

    def __init__(self, path: Path, start: int, notice: Notice) -> None:
        self._path, self._notice = path, notice
        self._links = [Link()]
        self._mp3: Mp3Frames | None = None
        self._position = 0
        self._lost, self._first_loss = 0.0, ""  # in samples
        pcm = pcm_samples(path, notice)
        if pcm is None:
            self._open(self._links[0])
            try:
                self.info = self._survey()
            except BaseException:
                self.close()
                raise
        else:
            self.info, extent, encoding = pcm
            width = (extent.end - extent.start) // (self.info.frames or 1)
            self._position = start if start < (self.info.frames or 0) else 0
            self._open(Link(extent.start + self._position * width, extent.end), encoding)
        self.blocks = self._from(start)

    def close(self) -> None:
        self._container.close()

    def _open(self, link: Link, bare: str = "") -> None:
        """Open a part of the file as if it were all; ``bare``: the encoding of samples without header."""
        whole = not link.start and not link.end
        name = f"file:{self._path}" if whole else f"subfile,,start,{link.start},end,{link.end},,:file:{self._path}"
        options = {"protocol_whitelist": "file,subfile"}  # playlists must not make it open other files or addresses
        if bare:
            options |= {"sample_rate": str(self.info.sample_rate), "ch_layout": f"{self.info.channels}C"}
        try:
            self._container = av.open(name, "r", bare or None, metadata_errors="replace", options=options)
        except (av.FFmpegError, ValueError) as error:
            said = error.strerror if isinstance(error, av.FFmpegError) else str(error)
            raise unreadable(self._path, (said or "no audio").lower()) from error
        streams = self._container.streams.audio
        said = "where it was cut off could not be told" if self._container.format.name == "voc" else ""
        if said or not streams or streams[0].codec_context is None:
            self.close()
            raise unreadable(self._path, said or ("no decoder for its encoding" if streams else "it holds no audio"))
        self._stream, codec = streams[0], streams[0].codec_context
        self._format = "wav" if bare else self._container.format.name.split(",")[0]
        # FFmpeg's own trimming of Vorbis loses samples of short streams.
        self._trims_vorbis = codec.name == "vorbis" and self._format == "ogg"
        if self._trims_vorbis:
            codec.flags2 |= Flags2.skip_manual
        if codec.name.startswith(_LOSSLESS):  # a frame whose checksum is wrong fails, instead of sounding wrong
            codec.options = {"err_detect": "crccheck+explode"}
        self._rate = codec.sample_rate
        self._ticks = float(self._stream.time_base or 0) * self._rate  # samples in a unit of the stream's clock
        lossless = codec.name.startswith(_LOSSLESS) and self._format != "avi"  # which counts in blocks
        self._tolerance = 2 * max(0.0, self._ticks - 1) if lossless else _LOSSY_TOLERANCE_SECONDS * self._rate

    def _survey(self) -> AudioInfo:
        """What there is to know without decoding. AudioError where that shows that the file is cut off."""
        frames, tracks, rate = round(self._declared()), len(self._container.streams.audio), self._rate
        if self._format in _OF_ALL_TRACKS and len(self._container.streams) > 1:
            frames = 0
        if self._format == "ogg":
            self._links = ogg_links(self._path)
            frames = frames if len(self._links) == 1 else 0
        elif self._format == "mp3":
            self._mp3 = there = mp3_frames(self._path, self._container)
            frames = there.packets * there.samples - there.delay - there.padding
            if there.missing > self._tolerance:
                raise cut_off(self._path, frames / rate, (frames + there.missing) / rate)
            if there.missing:
                self._tell(f"its last {there.missing / rate:.3f} s are missing")
            self._position = -there.delay
            self._links = [Link(there.start)]
        elif self._format in ("avi", "asf") and (sound := sample_extent(self._path)) is not None and sound.declared:
            share = (sound.end - sound.start) / sound.declared
            if share < 1:
                raise cut_off(self._path, frames / rate, frames / rate / share)
        if tracks > 1:
            self._tell(f"holds {tracks} audio tracks; the first is read")
        codec = self._stream.codec_context
        form, encoding = self._format.upper(), codec.name.upper()
        return AudioInfo(self._path, rate, codec.channels, frames or None, form, encoding)

    def _declared(self) -> float:
        """Samples that the header declares; 0 where it does not, or more than could be there."""
        if not self._format.startswith(_DECLARING):
            return 0
        of_file = (self._container.duration or 0) / av.time_base * self._rate
        samples = of_file if self._stream.duration is None else self._stream.duration * self._ticks
        return samples if samples <= self._path.stat().st_size * _MAX_SAMPLES_PER_BYTE else 0

    def _from(self, start: int) -> Iterator[np.ndarray]:
        """Blocks in order, without what the encoder put before and behind the sound, where FFmpeg leaves that in."""
        for link in self._links:
            if link.end or self._mp3 is not None:
                self.close()
                self._open(link)
                self._require_same(self._stream.codec_context)
            end = self.info.frames if self._mp3 is not None else None
            if self._trims_vorbis and self._stream.duration:
                end = self._position + self._stream.duration
            for block in self._decode(link):
                block = block if end is None else block[:, : max(0, end - self._position)]
                kept = block[:, max(0, start - self._position) :]
                self._position += block.shape[1]
                if kept.shape[1]:
                    yield kept
        lost = f"{self._lost / self._rate:.3f} s of it cannot be decoded{self._first_loss}"
        if self._lost > _MOST_LOST * (self._position + self._lost):
            raise AudioError(f"{shown(self._path)}: is damaged, {lost}; fetch the file again")
        if self._lost:
            self._tell(f"is damaged, {lost}; the rest is read")

    def _decode(self, link: Link) -> Iterator[np.ndarray]:
        """What FFmpeg makes of a link; then the account of it: refused where it is cut off, told of what is odd."""
        decoded = packets = 0  # of them good ones
        failed = 0.0  # samples in packets that failed, or of another rate, since the last good one
        foreign = 0  # samples of another rate since the last that fit
        end = 0.0  # where the last good packet, or one of another track, ended
        reached = behind = link.start  # bytes before and behind the last good packet
        first = last = None
        clock: float | None = None  # where the last packet ended, in samples
        slack = 0 if self._ticks == 1 else self._tolerance
        tracks = self._container.streams if self._format in _OF_ALL_TRACKS else [self._stream]
        try:
            for packet in self._container.demux(*tracks):
                length, finish = self._span(packet)
                if packet.stream_index != self._stream.index:
                    end = max(end, finish or 0.0)
                    continue
                first, last = first or packet, packet if packet.size else last
                try:
                    frames = [frame for frame in packet.decode() if isinstance(frame, av.AudioFrame)]
                except av.FFmpegError:
                    frames = []
                    failed += length
                samples = sum(frame.samples for frame in frames)
                if finish is not None and not length:  # which the container does not say
                    finish = finish + samples if samples else None
                # Time stamps of Vorbis are right at the end of a packet, not always at its beginning.
                if finish is None:
                    finish = None if clock is None else clock + (samples or length)
                elif clock is not None and finish - clock > (samples or length) + slack and self._format != "avi":
                    self._lose(finish - clock - (samples or length))
                clock = finish if packet.size else clock
                if not samples or (self._trims_vorbis and packet is first):  # which has no sound
                    continue
                if not all(self._fits(frame) for frame in frames):
                    failed, foreign = failed + samples, foreign + samples
                    if foreign > _CHANGE_SECONDS * self._rate:
                        self._require_same(frames[-1])
                    continue
                self._lose(failed)
                failed, foreign, packets = 0.0, 0, packets + 1
                reached = link.start + packet.pos if packet.pos else reached
                behind, end = reached + packet.size, max(end, clock or 0.0)
                # FFmpeg leaves the padding of the last packet in.
                longest = packet.duration if self._format == "mov" and self._ticks == 1 else None
                for frame in frames:
                    block = scaled(_samples(frame)[:, : longest or None])
                    decoded += block.shape[1]
                    yield block
        except av.FFmpegError as error:
            name, left = shown(self._path), self._path.stat().st_size - behind
            if error.errno in (errno.EIO, errno.ESTALE):
                raise AudioError(f"{name}: cannot be read ({error.strerror}); check the disk") from error
            if left > _MAX_TAIL and (self._format == "ogg" or not decoded or not self._declared()):
                said = f"its last {left} bytes cannot be read ({error.strerror})"
                remedy = f"split it at {self._position / self._rate:.2f} s, or convert it to wav or flac"
                raise AudioError(f"{name}: {said}; {remedy}") from error
        here, declared = f"{self._position / self._rate:.2f} s", self._declared()
        if not decoded:
            raise unreadable(self._path, "nothing in it decodes") if failed else no_samples(self._path)
        if self._ends_in_a_frame(last):
            failed = 0.0
            self._tell(f"ends in the middle of a frame; it may be cut off at {here}")
        if self._mp3 is not None:
            # Behind the last frame there may be tags of any kind, and FFmpeg takes other junk for frames too.
            if (self._lost or self._mp3.junk) and self._mp3.declared >= packets:
                self._lost = (self._mp3.declared - packets) * self._mp3.samples
        else:
            if max(end, decoded) < declared - self._tolerance:
                raise cut_off(self._path, self._position / self._rate, declared / self._rate)
            self._lose(failed)
            if declared - decoded > self._tolerance and self._format not in _OF_ALL_TRACKS:
                self._lost = max(self._lost, declared - decoded)
        if self._format == "ogg" and not link.ended:
            self._tell(f"has no end-of-stream page, or a damaged one; it may be cut off at {here}")
        if not link.whole and not self._lost:
            self._tell("lacks some of its pages; what is there is read")

    def _span(self, packet: av.Packet) -> tuple[float, float | None]:
        """Length of a packet, and where it ends by its time stamp, in samples."""
        length = packet.duration or 0
        length = 0 if length >= 2**31 else length  # a negative one
        unit = float(packet.time_base or 0) * self._rate
        return length * unit, None if packet.pts is None else (packet.pts + length) * unit

    def _ends_in_a_frame(self, last: av.Packet | None) -> bool:
        """Whether the last packet is shorter than its frame, by the frame's header, where nothing else tells."""
        if self._format == "mpegts" and all(self._path.stat().st_size % size for size in (188, 192, 204)):
            return True
        told = self._format not in _HEADERLESS or (self._mp3 is not None and self._mp3.declared > 0)
        if told or last is None or last.size < _SMALLEST_HEADER:
            return False
        with suppress(ValueError):  # PCM and others have no parser
            parser = av.CodecContext.create(self._stream.codec_context.name, "r")
            frames = parser.parse(bytes(last) * (1 + _LARGEST_FRAME // last.size))
            return bool(frames) and frames[0].size > last.size
        return False

    def _fits(self, other: av.AudioFrame | av.AudioCodecContext) -> bool:
        return (other.sample_rate, other.layout.nb_channels) == (self.info.sample_rate, self.info.channels)

    def _require_same(self, other: av.AudioFrame | av.AudioCodecContext) -> None:
        """AudioError unless ``other`` has the rate and channels of the file's beginning."""
        if not self._fits(other):
            rate, now = self.info.sample_rate, f"{other.sample_rate} Hz and {other.layout.nb_channels}"
            said = f"changes from {rate} Hz and {self.info.channels} channels to {now} at {self._position / rate:.2f} s"
            raise AudioError(f"{shown(self._path)}: {said}; split it there, or convert it to wav or flac")

    def _lose(self, samples: float) -> None:
        if samples and not self._lost:
            self._first_loss = f", the first at {self._position / self._rate:.2f} s"
        self._lost += samples

    def _tell(self, line: str) -> None:
        self._notice(f"{shown(self._path)}: {line}")


def _samples(frame: av.AudioFrame) -> np.ndarray:
    """``(C, T)``, as they are. PyAV's own way reads behind the last of eight planes."""
    kind, channels = _KINDS[frame.format.name.removesuffix("p")], frame.layout.nb_channels
    if frame.format.is_packed:
        return np.frombuffer(memoryview(frame.planes[0]), kind, frame.samples * channels).reshape(-1, channels).T
    return np.stack([np.frombuffer(memoryview(plane), kind, frame.samples) for plane in frame.planes[:channels]])
