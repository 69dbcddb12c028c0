"""The paper's Table I for any codec: SDR of true vocals that pass through the codec while noise is added on the way.

    python eval/codec_robustness.py --vocals DIR [--name open] [--out results/codec_robustness]
    python eval/codec_robustness.py --vocals DIR --name encodec_48khz [--codec-weights FILE]

``--name`` is a checkpoint or a codec's folder, or ``encodec_48khz`` for the pretrained EnCodec itself. Identity: noise
on the waveform, no codec. NQ: on the continuous latents. BQ: on the latents before quantisation. AQ: on the indices
after it, which must become integers again: by truncation, which reproduces the published cliff at 1e-6, and by
rounding. Noise on a representation is relative to that representation's standard deviation, on the waveform it is
absolute. SDR is global (`ldm_sep.metrics.sdr`), the mean over tracks; seeds are fixed.

A codec with a quantiser of its own uses it (the pretrained EnCodec). The others have none in this project; for them
a residual vector quantiser is fitted here, by Lloyd's algorithm on the latents of the same tracks, and the output says
so. Prints the table beside the published one, with 95 % bootstrap intervals over tracks, and how many indices the noise
moves; writes ``codec_robustness.json`` and ``.png``.
"""

import argparse
import json
import math
import sys
from collections.abc import Callable, Iterable, Iterator, Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path

import numpy as np
import torch
from quantiser import FIT_FRAMES, OwnQuantiser, Quantiser, ResidualQuantiser, fit_quantiser
from script import run_script
from torch import Tensor

from ldm_sep.audio import read, resample
from ldm_sep.checkpoint.names import find_checkpoint
from ldm_sep.checkpoint.reading import load_codec, trained_codec
from ldm_sep.codec.base import Codec
from ldm_sep.config import Encodec48kHzConfig
from ldm_sep.device import choose_device
from ldm_sep.errors import ConfigError, DataError
from ldm_sep.evaluate import TrackFiles, match_tracks, track_hash
from ldm_sep.figures import need_matplotlib
from ldm_sep.files import make_folder
from ldm_sep.markdown import markdown_table
from ldm_sep.method.level import coding_gain
from ldm_sep.metrics import sdr
from ldm_sep.signal.loudness import is_silent
from ldm_sep.statistics import bootstrap_interval

STDS = (0.0, 1e-6, 1e-3, 0.01, 0.1, 1.0)
POINTS = ("Identity", "NQ", "BQ", "AQ, truncated", "AQ, rounded")
# Table I of the paper: EnCodec at 48 kHz, vocals of MUSDB18-HQ.
PUBLISHED = {
    "Identity": (119.24, 96.64, 36.67, 16.67, -3.32, -23.32),
    "NQ": (10.81, 10.81, 10.81, 10.81, 10.74, 5.51),
    "BQ": (9.77, 9.77, 9.77, 9.77, 9.72, 5.57),
    "AQ, truncated": (9.77, -0.22, -0.43, -2.47, -2.80, -2.85),
}
PUBLISHED_FEATURES = {"Identity": 2, "NQ": 128, "BQ": 128, "AQ, truncated": 16}
# Names the pretrained codec where no checkpoint that uses it is there.
ENCODEC = "encodec_48khz"
SEED = 0


def noisy(x: Tensor, std: float, noise: Tensor) -> Tensor:
    """``x`` plus ``noise`` of ``std`` times the standard deviation of ``x``."""
    # The population's: a single index has no spread of its own.
    return x + std * x.std(correction=0) * noise


def noisy_codes(codes: Tensor, std: float, noise: Tensor, to_integer: Callable[[Tensor], Tensor], size: int) -> Tensor:
    """Indices with noise of ``std`` times their own standard deviation, made integers and kept within the codebook."""
    return to_integer(noisy(codes.double(), std, noise.double())).long().clamp(0, size - 1)


@dataclass(frozen=True)
class Piece:
    """A window of a track: its first sample, its length, the gain the codec heard it at, its latents (1, D, N)."""

    start: int
    length: int
    gain: Tensor
    z: Tensor


@torch.no_grad()
def pieces(codec: Codec, wave: np.ndarray, segment: float) -> Iterator[Piece]:
    """The encoded windows of ``wave (C, T)`` that are not silent, ``segment`` seconds each, the last one shorter."""
    length = max(1, round(segment * codec.sample_rate / codec.hop)) * codec.hop
    device = next(codec.encoder.parameters()).device
    for start in range(0, wave.shape[1], length):
        part = wave[:, start : start + length]
        if is_silent(part):
            continue
        padded = np.pad(part, ((0, 0), (0, -part.shape[1] % codec.hop)))
        x = torch.from_numpy(padded)[None].to(device)
        gain = coding_gain(codec, x)
        yield Piece(start, part.shape[1], gain, codec.encode(x * gain))


@torch.no_grad()
def contaminate(
    codec: Codec, quantiser: Quantiser, point: str, wave: np.ndarray, track: Sequence[Piece], std: float
) -> tuple[np.ndarray, float | None]:
    """Noise at ``point``, one of `POINTS`, on ``wave (C, T)``, whose windows are ``track``; silent ones stay silent.

    Returns the track after it, and for AQ the share of indices that the noise moved.
    """
    generator = torch.Generator().manual_seed(SEED)

    def draw(like: Tensor) -> Tensor:
        return torch.randn(like.shape, generator=generator).to(like.device)

    if point == "Identity":
        noise = torch.randn(wave.shape, generator=generator, dtype=torch.float64)
        return wave + std * noise.numpy(), None
    out = np.zeros_like(wave)
    moved = indices = 0
    for piece in track:
        if point.startswith("AQ"):
            codes = quantiser.encode(piece.z)
            to_integer = torch.trunc if point == "AQ, truncated" else torch.round
            changed = noisy_codes(codes, std, draw(codes), to_integer, quantiser.size)
            moved += int((changed != codes).sum())
            indices += codes.numel()
            z = quantiser.decode(changed)
        else:
            z = noisy(piece.z, std, draw(piece.z))
            if point == "BQ":
                z = quantiser.decode(quantiser.encode(z))
        result = codec.decode(z) / piece.gain
        out[:, piece.start : piece.start + piece.length] = result[0].cpu().numpy()[:, : piece.length]
    return out, moved / indices if indices else None


def read_track(track: TrackFiles, codec: Codec, seconds: float) -> np.ndarray:
    """The first ``seconds`` of the true vocals ``(C, T)`` at the codec's rate and channels."""
    wave, rate = read(track.reference)
    wave = resample(wave[:, : int(min(seconds * rate, wave.shape[1]))], rate, codec.sample_rate)
    return np.repeat(wave, 2, 0) if len(wave) == 1 and codec.channels == 2 else wave


def load(name: str, weights: Path | None, device: torch.device) -> tuple[str, Codec, OwnQuantiser | None]:
    """Kind and codec of a checkpoint, or the pretrained EnCodec by its kind; the quantiser it brings along, if any."""
    if name == ENCODEC:
        kind, codec = ENCODEC, trained_codec(Encodec48kHzConfig(kind=ENCODEC), weights=weights)
    else:
        manifest, codec, _ = load_codec(find_checkpoint(name), weights)
        kind = manifest.config.codec.kind
    codec.to(device)
    own = getattr(codec, "quantizer", None)
    return kind, codec, None if own is None else OwnQuantiser(own, codec.sample_rate / codec.hop)


def fit_to_tracks(
    codec: Codec, waves: Callable[[], Iterator[np.ndarray]], count: int, segment: float, stages: int, size: int
) -> ResidualQuantiser:
    """A quantiser fitted to equally many drawn frames of each of ``count`` waves; those with fewer give all."""
    generator = torch.Generator().manual_seed(SEED)
    frames = []
    for wave in waves():
        z = torch.cat([piece.z[0] for piece in pieces(codec, wave, segment)], 1)
        drawn = torch.randperm(z.shape[1], generator=generator)[: -(-FIT_FRAMES // count)]
        frames.append(z[:, drawn.to(z.device)])
    return fit_quantiser(torch.cat(frames, 1), stages, size, SEED)


# By row, then noise level, then track.
Scores = dict[str, list[list[float]]]


def measure(
    codec: Codec, quantiser: Quantiser, waves: Iterable[tuple[str, np.ndarray]], segment: float
) -> tuple[Scores, Scores]:
    """SDR in dB, and for AQ the share of indices moved, of named ``waves``. DataError for one without an SDR."""
    scores: Scores = {point: [[] for _ in STDS] for point in POINTS}
    moved: Scores = {point: [[] for _ in STDS] for point in POINTS if point.startswith("AQ")}
    for name, wave in waves:
        windows = list(pieces(codec, wave, segment))
        for point in POINTS:
            for column, std in enumerate(STDS):
                noised, share = contaminate(codec, quantiser, point, wave, windows, std)
                score = sdr(wave, noised)
                if score.value is None:
                    raise DataError(f"{name}: no SDR at {point}, noise {std:g}: {score.reason}; take it out")
                scores[point][column].append(score.value)
                if share is not None:
                    moved[point][column].append(share)
        print(f"{name}: done", file=sys.stderr, flush=True)
    return scores, moved


def table(scores: Mapping[str, Sequence[Sequence[float]]], features: Mapping[str, int]) -> str:
    """Markdown: measured means with intervals, and published SDR, by noise level."""
    rows = []
    for name, columns in scores.items():
        cells = []
        for values in columns:
            interval = bootstrap_interval(values)
            cells.append(f"{np.mean(values):.2f}" + (f" [{interval.low:.2f}, {interval.high:.2f}]" if interval else ""))
        rows.append([name, str(features[name]), *cells])
        if name in PUBLISHED:
            cells = [f"{value:.2f}" for value in PUBLISHED[name]]
            rows.append([f"{name}, published (EnCodec)", str(PUBLISHED_FEATURES[name]), *cells])
    return "\n".join(markdown_table(["SDR, dB", "features", *(f"{std:g}" for std in STDS)], rows))


def figure(scores: Mapping[str, Sequence[Sequence[float]]], title: str, path: Path) -> None:
    """SDR against the noise: measured as lines with intervals, published as crosses; Identity leaves at the top."""
    from matplotlib.figure import Figure

    sheet = Figure(figsize=(8.5, 5), layout="constrained")
    axis = sheet.subplots()
    x = np.arange(len(STDS))
    styles = dict(zip(scores, ("-", "-", "-", "-", "--"), strict=True))
    for name, columns in scores.items():
        (line,) = axis.plot(x, [np.mean(values) for values in columns], f"o{styles[name]}", label=name)
        intervals = [bootstrap_interval(values) for values in columns]
        if all(intervals):
            axis.fill_between(x, [i.low for i in intervals], [i.high for i in intervals], alpha=0.15, lw=0)
        if name in PUBLISHED:
            axis.plot(x, PUBLISHED[name], "x", color=line.get_color(), ms=8)
    axis.plot([], [], "x", color="grey", ms=8, label="published (EnCodec)")
    axis.set_xticks(x, [f"{std:g}" for std in STDS])
    axis.set_xlabel("noise std (relative to the representation; absolute for Identity)")
    axis.set_ylabel("SDR, dB")
    axis.set_ylim(-25, 45)
    axis.set_title(title, fontsize=10)
    axis.grid(alpha=0.3)
    axis.legend(fontsize=8)
    sheet.savefig(path, dpi=110)


def main(arguments: list[str] | None = None) -> None:
    """Parse, measure, print and write."""
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("--vocals", type=Path, required=True, help="true vocals, laid out as for ldm-sep evaluate")
    parser.add_argument("--name", default="open", help="checkpoint or codec folder, or encodec_48khz")
    parser.add_argument("--codec-weights", type=Path, help="the pretrained EnCodec's weight file, not its download")
    parser.add_argument("--seconds", type=float, default=math.inf, help="only the beginning of each track")
    parser.add_argument("--segment", type=float, default=12.0, help="seconds coded at a time")
    parser.add_argument("--codebooks", type=int, default=16, help="stages of a fitted quantiser")
    parser.add_argument("--codebook-size", type=int, default=1024)
    parser.add_argument("--device", default="auto")
    parser.add_argument("--out", type=Path, default=Path("results/codec_robustness"))
    options = parser.parse_args(arguments)
    need_matplotlib("the figure")
    if not min(options.seconds, options.segment) > 0 or min(options.codebooks, options.codebook_size) < 1:
        raise ConfigError("--seconds, --segment, --codebooks and --codebook-size must be positive")
    kind, codec, own = load(options.name, options.codec_weights, choose_device(options.device))
    everything = match_tracks(options.vocals, {})
    tracks = [t for t in everything if not is_silent(read_track(t, codec, options.seconds))]
    if not tracks:
        raise DataError(f"{options.vocals}: every track is silent there; name a folder of vocals, or more --seconds")
    make_folder(options.out)

    def waves() -> Iterator[np.ndarray]:
        # One at a time: all songs of a test set are gigabytes.
        return (read_track(track, codec, options.seconds) for track in tracks)

    sizes = options.codebooks, options.codebook_size
    quantiser: Quantiser = own or fit_to_tracks(codec, waves, len(tracks), options.segment, *sizes)
    whose = "its own quantiser" if own else "no quantiser of its own; one fitted here to these tracks"
    about = f"{whose} ({quantiser.stages} codebooks of {quantiser.size})"
    named = zip((track.name for track in tracks), waves(), strict=True)
    scores, moved = measure(codec, quantiser, named, options.segment)
    features = {point: quantiser.stages if point.startswith("AQ") else codec.latent_channels for point in POINTS}
    features["Identity"] = codec.channels
    digest = track_hash(track.name for track in tracks)
    record = {
        "codec": kind,
        "quantiser": about,
        "tracks": {"n": len(tracks), "hash": digest, "names": [track.name for track in tracks]},
        "silent_tracks": [track.name for track in everything if track not in tracks],
        "seed": SEED,
        "stds": STDS,
        "features": features,
        "sdr": {point: [float(np.mean(values)) for values in scores[point]] for point in POINTS},
        "moved_indices": {point: [float(np.mean(values)) for values in moved[point]] for point in moved},
        "published": PUBLISHED,
        "sdr_by_track": scores,
    }
    (options.out / "codec_robustness.json").write_text(json.dumps(record, indent=2), encoding="utf-8")
    note = f"n = {len(tracks)} tracks, track list {digest}"
    figure(scores, f"{kind}: {about}\n{note}", options.out / "codec_robustness.png")
    print(f"{kind}: {about}\n\n{table(scores, features)}\n\n{note}; [95 % bootstrap interval of the mean].")
    for point, shares in record["moved_indices"].items():
        print(f"indices moved by the noise, {point}: {', '.join(f'{share:.1%}' for share in shares)}")
    if record["silent_tracks"]:
        print(f"left out, silent: {', '.join(record['silent_tracks'])}")


if __name__ == "__main__":
    run_script(main, __file__)
