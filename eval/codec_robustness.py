"""The paper's Table I for any codec: SDR of true vocals that pass through the codec while noise is added on the way.

    python eval/codec_robustness.py --vocals DIR [--name open] [--codec-weights FILE] [--out results/codec_robustness]

Identity: noise on the waveform, no codec. NQ: on the continuous latents. BQ: on the latents before quantisation. AQ:
on the code indices after it, which must become integers again: by truncation, which reproduces the published cliff
at 1e-6, and by rounding. Noise on a representation is relative to that representation's standard deviation, on the
waveform it is absolute. SDR is global (`ldm_sep.metrics.sdr`), the mean over tracks.

A codec with a quantiser of its own uses it (the pretrained EnCodec). The others have none in this project; for them
a residual vector quantiser is fitted here, by Lloyd's algorithm on the latents of the same tracks, and the output says
so. Prints the table beside the published one, writes ``codec_robustness.json`` and ``.png``.
"""

import argparse
import json
import math
import sys
from collections.abc import Callable, Sequence
from dataclasses import dataclass
from pathlib import Path

import numpy as np
import torch
from matplotlib.figure import Figure
from torch import Tensor

from ldm_sep.audio import read, resample
from ldm_sep.catalogue import choose_device, find_checkpoint
from ldm_sep.checkpoint import load_codec
from ldm_sep.codec.base import Codec
from ldm_sep.errors import LdmSepError
from ldm_sep.evaluate import match_tracks
from ldm_sep.level import normalising_gain, rms
from ldm_sep.metrics import sdr

STDS = (0.0, 1e-6, 1e-3, 0.01, 0.1, 1.0)
# Table I of the paper: EnCodec at 48 kHz, vocals of MUSDB18-HQ.
PUBLISHED = {
    "Identity": (119.24, 96.64, 36.67, 16.67, -3.32, -23.32),
    "NQ": (10.81, 10.81, 10.81, 10.81, 10.74, 5.51),
    "BQ": (9.77, 9.77, 9.77, 9.77, 9.72, 5.57),
    "AQ, truncated": (9.77, -0.22, -0.43, -2.47, -2.80, -2.85),
}
_SILENCE = 1e-5
_FIT_FRAMES = 20_000
_LLOYD_ROUNDS = 8


@dataclass(frozen=True)
class ResidualQuantiser:
    """Residual vector quantisation with ``codebooks (Q, K, D)``: each stage codes what the stages before left over."""

    codebooks: Tensor

    @property
    def size(self) -> int:
        """K, the number of indices."""
        return self.codebooks.shape[1]

    def encode(self, z: Tensor) -> Tensor:
        """``z (B, D, N)`` to indices ``(Q, B, N)``."""
        rest = z.transpose(1, 2)
        codes = []
        for book in self.codebooks:
            index = torch.cdist(rest, book[None]).argmin(-1)
            rest = rest - book[index]
            codes.append(index)
        return torch.stack(codes)

    def decode(self, codes: Tensor) -> Tensor:
        """Indices ``(Q, B, N)`` to latents ``(B, D, N)``."""
        return sum(book[index] for book, index in zip(self.codebooks, codes, strict=True)).transpose(1, 2)


@dataclass(frozen=True)
class OwnQuantiser:
    """The quantiser that a codec brings along (`encodec`'s ``ResidualVectorQuantizer``), at all its codebooks."""

    quantizer: torch.nn.Module
    frame_rate: float

    @property
    def size(self) -> int:
        """K, the number of indices."""
        return self.quantizer.bins

    def encode(self, z: Tensor) -> Tensor:
        """``z (B, D, N)`` to indices ``(Q, B, N)``."""
        return self.quantizer.encode(z, self.frame_rate, None)

    def decode(self, codes: Tensor) -> Tensor:
        """Indices ``(Q, B, N)`` to latents ``(B, D, N)``."""
        return self.quantizer.decode(codes)


Quantiser = ResidualQuantiser | OwnQuantiser


def fit_quantiser(z: Tensor, stages: int, size: int, seed: int = 0) -> ResidualQuantiser:
    """Codebooks of ``size`` for frames ``z (D, N)``, stage by stage, each by Lloyd's algorithm from drawn frames."""
    generator = torch.Generator().manual_seed(seed)
    frames = z.T
    frames = frames[torch.randperm(len(frames), generator=generator)[:_FIT_FRAMES].to(frames.device)]
    books = []
    for _ in range(stages):
        book = frames[torch.randint(len(frames), (size,), generator=generator).to(frames.device)].clone()
        for _ in range(_LLOYD_ROUNDS):
            index = torch.cdist(frames, book).argmin(1)
            total = torch.zeros_like(book).index_add_(0, index, frames)
            count = torch.bincount(index, minlength=size)[:, None]
            # A centre that no frame is near stays where it is.
            book = torch.where(count > 0, total / count.clamp_min(1), book)
        frames = frames - book[torch.cdist(frames, book).argmin(1)]
        books.append(book)
    return ResidualQuantiser(torch.stack(books))


def noisy(x: Tensor, std: float, noise: Tensor) -> Tensor:
    """``x`` plus ``noise`` of ``std`` times the standard deviation of ``x``."""
    return x + std * x.std() * noise


def noisy_codes(codes: Tensor, std: float, noise: Tensor, to_integer: Callable[[Tensor], Tensor], size: int) -> Tensor:
    """Indices with noise of ``std`` times their own standard deviation, made integers and kept within the codebook."""
    return to_integer(noisy(codes.double(), std, noise.double())).long().clamp(0, size - 1)


@torch.no_grad()
def through(
    codec: Codec, quantiser: Quantiser, point: str, wave: Tensor, std: float, generator: torch.Generator
) -> Tensor:
    """``wave (1, C, T)``, brought to the networks' level, coded and decoded with noise at ``point``, a table's row."""

    def draw(like: Tensor) -> Tensor:
        return torch.randn(like.shape, generator=generator).to(like.device)

    gain = normalising_gain(wave)
    z = codec.encode(wave * gain)
    match point:
        case "NQ":
            z = noisy(z, std, draw(z))
        case "BQ":
            z = quantiser.decode(quantiser.encode(noisy(z, std, draw(z))))
        case "AQ, truncated" | "AQ, rounded":
            codes = quantiser.encode(z)
            to_integer = torch.trunc if point == "AQ, truncated" else torch.round
            z = quantiser.decode(noisy_codes(codes, std, draw(codes), to_integer, quantiser.size))
    out = codec.decode(z)
    # A codec that loses the level is given the window's.
    return out / gain if codec.keeps_level else out * (rms(wave) / rms(out).clamp_min(1e-8))


def contaminate(
    codec: Codec, quantiser: Quantiser, point: str, wave: np.ndarray, std: float, segment: float
) -> np.ndarray:
    """A whole track ``(C, T)`` at the codec's rate, window by window; silent windows stay silent, but for Identity."""
    generator = torch.Generator().manual_seed(0)
    if point == "Identity":
        return wave + std * torch.randn(wave.shape, generator=generator, dtype=torch.float64).numpy()
    length = round(segment * codec.sample_rate / codec.hop) * codec.hop
    device = next(codec.encoder.parameters()).device
    out = np.zeros_like(wave)
    for start in range(0, wave.shape[1], length):
        piece = wave[:, start : start + length]
        if np.abs(piece).max() < _SILENCE:
            continue
        padded = np.pad(piece, ((0, 0), (0, -piece.shape[1] % codec.hop)))
        result = through(codec, quantiser, point, torch.from_numpy(padded)[None].to(device), std, generator)
        out[:, start : start + piece.shape[1]] = result[0].cpu().numpy()[:, : piece.shape[1]]
    return out


@torch.no_grad()
def latents(codec: Codec, waves: Sequence[np.ndarray], segment: float) -> Tensor:
    """Frames ``(D, N)`` of all windows that are not silent."""
    length = round(segment * codec.sample_rate / codec.hop) * codec.hop
    device = next(codec.encoder.parameters()).device
    frames = []
    for wave in waves:
        for start in range(0, wave.shape[1] - codec.hop, length):
            piece = wave[:, start : start + length]
            piece = torch.from_numpy(piece[:, : piece.shape[1] // codec.hop * codec.hop])[None].to(device)
            if piece.abs().max() >= _SILENCE:
                frames.append(codec.encode(piece * normalising_gain(piece))[0])
    return torch.cat(frames, 1)


def table(rows: dict[str, list[float]]) -> str:
    """Markdown: measured and published SDR by noise level."""
    lines = [f"| SDR, dB | {' | '.join(f'{std:g}' for std in STDS)} |", "|---" * (len(STDS) + 1) + "|"]
    for name, values in rows.items():
        lines.append(f"| {name} | {' | '.join(f'{v:.2f}' for v in values)} |")
        if name in PUBLISHED:
            lines.append(f"| {name}, published | {' | '.join(f'{v:.2f}' for v in PUBLISHED[name])} |")
    return "\n".join(lines)


def figure(rows: dict[str, list[float]], title: str, path: Path) -> None:
    """SDR against the noise, measured as lines, published as crosses."""
    sheet = Figure(figsize=(7.5, 4.5), layout="constrained")
    axis = sheet.subplots()
    x = range(len(STDS))
    for name, values in rows.items():
        (line,) = axis.plot(x, values, "o-", label=name)
        if name in PUBLISHED:
            axis.plot(x, PUBLISHED[name], "x", color=line.get_color(), alpha=0.6)
    axis.plot([], [], "x", color="grey", label="published (EnCodec)")
    axis.set_xticks(list(x), [f"{std:g}" for std in STDS])
    axis.set_xlabel("noise std (relative to the representation; absolute for Identity)")
    axis.set_ylabel("SDR, dB")
    axis.set_ylim(-25, 45)
    axis.set_title(title)
    axis.grid(alpha=0.3)
    axis.legend(fontsize=8)
    sheet.savefig(path, dpi=110)


def main(arguments: list[str] | None = None) -> None:
    """Parse, measure, print and write."""
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("--vocals", type=Path, required=True, help="true vocals, laid out as for ldm-sep evaluate")
    parser.add_argument("--name", default="open", help="checkpoint or codec folder")
    parser.add_argument("--codec-weights", type=Path, help="the pretrained EnCodec's weight file")
    parser.add_argument("--seconds", type=float, default=math.inf, help="only the beginning of each track")
    parser.add_argument("--segment", type=float, default=12.0, help="seconds coded at a time")
    parser.add_argument("--codebooks", type=int, default=16, help="stages of a fitted quantiser")
    parser.add_argument("--codebook-size", type=int, default=1024)
    parser.add_argument("--device", default="auto")
    parser.add_argument("--out", type=Path, default=Path("results/codec_robustness"))
    options = parser.parse_args(arguments)
    device = choose_device(options.device)
    manifest, codec, _ = load_codec(find_checkpoint(options.name), options.codec_weights)
    codec.encoder.to(device), codec.decoder.to(device)
    waves = []
    for track in match_tracks(options.vocals, {}):
        wave, rate = read(track.reference)
        wave = wave[:, : int(min(options.seconds * rate, wave.shape[1]))]
        wave = resample(wave, rate, codec.sample_rate)
        waves.append(np.repeat(wave, 2, 0) if len(wave) == 1 and codec.channels == 2 else wave)
    own = getattr(codec, "quantizer", None)
    if own is not None:
        quantiser: Quantiser = OwnQuantiser(own, codec.sample_rate / codec.hop)
        about = "its own quantiser"
    else:
        quantiser = fit_quantiser(latents(codec, waves, options.segment), options.codebooks, options.codebook_size)
        about = f"a quantiser fitted here ({options.codebooks} codebooks of {options.codebook_size})"
    rows: dict[str, list[float]] = {}
    for point in ("Identity", "NQ", "BQ", "AQ, truncated", "AQ, rounded"):
        rows[point] = []
        for std in STDS:
            scores = [sdr(w, contaminate(codec, quantiser, point, w, std, options.segment)).value for w in waves]
            rows[point].append(float(np.mean([s for s in scores if s is not None])))
        print(f"{point}: done", flush=True)
    kind = manifest.config.codec.kind
    options.out.mkdir(parents=True, exist_ok=True)
    record = {"codec": kind, "quantiser": about, "tracks": len(waves), "stds": STDS, "sdr": rows}
    (options.out / "codec_robustness.json").write_text(json.dumps(record, indent=2))
    figure(rows, f"{kind}, {about}, {len(waves)} tracks", options.out / "codec_robustness.png")
    print(f"{kind} with {about}, {len(waves)} tracks\n\n{table(rows)}")


if __name__ == "__main__":
    try:
        main()
    except LdmSepError as error:
        sys.exit(f"{Path(__file__).name}: {error}")
