"""Which codec to build on: quality of the round trip against its cost, for codecs and for sizes of one codec.

    python eval/codec_sizes.py --data DATA --codec open --codec configs/open_codec.toml [--device cpu,cuda]

``--codec`` is a checkpoint, a codec's folder, or a configuration, whose codec is then taken with fresh weights (for
`spectral`, which starts from an exact transform, that is a codec already). Means over the items of a table: SI-SDR of
vocals and mixtures after encoding and decoding, of vocals with noise of a tenth of each latent channel's standard
deviation on the latents, and LSD on 16-bit waves. Seconds are the median of ``--repeats`` runs after a warm-up. Prints
the table, writes ``codec_sizes.json`` and ``codec_sizes.png``.
"""

import argparse
import json
import statistics
import sys
from collections.abc import Callable, Collection, Mapping, Sequence
from dataclasses import asdict, dataclass
from pathlib import Path

import torch
from clock import warm_seconds
from script import items_digest, run_script

from ldm_sep.build import build_codec
from ldm_sep.checkpoint.names import find_checkpoint
from ldm_sep.checkpoint.reading import load_codec
from ldm_sep.checkpoint.writing import parameter_count
from ldm_sep.codec.base import Codec
from ldm_sep.config import load_config
from ldm_sep.data.items import Item, read_items
from ldm_sep.device import choose_device
from ldm_sep.errors import ConfigError
from ldm_sep.figures import need_matplotlib
from ldm_sep.files import make_folder
from ldm_sep.markdown import markdown_table
from ldm_sep.training.codec import score_codec

_SECONDS = 6.0
COLUMNS = {
    "vocals_si_sdr": "vocals SI-SDR, dB",
    "vocals_si_sdr_noise_0.1": "at latent noise 0.1",
    "vocals_lsd": "vocals LSD",
    "mixture_si_sdr": "mixture SI-SDR, dB",
    "mixture_lsd": "mixture LSD",
}


@dataclass(frozen=True)
class CodecRow:
    """A codec: latents as channels x Hz, parameters, scores as `score_codec` names them, and by device the seconds
    per audio second of encoding and of decoding.
    """

    name: str
    kind: str
    latents: str
    parameters: int
    scores: dict[str, float]
    seconds: dict[str, tuple[float, float]]


def load(name: str) -> tuple[str, str, Codec]:
    """What to call it, its kind, and the codec in evaluation mode; fresh weights are always the same ones."""
    if name.endswith(".toml"):
        config = load_config(name)
        if config.codec.kind != "spectral":
            raise ConfigError(f"{name}: a {config.codec.kind} codec is none before it is trained; name its folder")
        torch.manual_seed(0)
        return f"{config.name}, untrained", config.codec.kind, build_codec(config.codec).eval()
    manifest, codec, _ = load_codec(find_checkpoint(name))
    return manifest.config.name, manifest.config.codec.kind, codec


@torch.no_grad()
def cost(codec: Codec, device: torch.device, repeats: int) -> tuple[float, float]:
    """Seconds per audio second of encoding and of decoding."""
    frames = round(_SECONDS * codec.sample_rate / codec.hop)
    wave = 0.1 * torch.randn(1, codec.channels, frames * codec.hop, device=device)
    z = codec.encode(wave)
    encoding = warm_seconds(lambda: codec.encode(wave), device, repeats)
    decoding = warm_seconds(lambda: codec.decode(z), device, repeats)
    return statistics.median(encoding) / _SECONDS, statistics.median(decoding) / _SECONDS


def measure(
    title: str,
    kind: str,
    codec: Codec,
    items_of: Callable[[int, int], Sequence[Item]],
    devices: Mapping[str, torch.device],
    repeats: int,
) -> CodecRow:
    """The row of a codec; ``items_of(sample_rate, hop)`` gives the items at its rate. Quality is that of the CPU."""
    scores = score_codec(codec, items_of(codec.sample_rate, codec.hop), torch.device("cpu"))
    seconds = {}
    for word, device in devices.items():
        seconds[word] = cost(codec.to(device), device, repeats)
    latents = f"{codec.latent_channels} x {codec.sample_rate / codec.hop:g} Hz"
    return CodecRow(title, kind, latents, parameter_count(codec), scores, seconds)


def table(rows: Sequence[CodecRow], devices: Collection[str]) -> str:
    """Markdown, one line a codec; costs as encoding + decoding."""
    heads = ["codec", "kind", "latents", "parameters", *COLUMNS.values(), *(f"s per audio s, {d}" for d in devices)]
    lines = []
    for row in rows:
        cells = [row.name, row.kind, row.latents, f"{row.parameters:,}", *(f"{row.scores[k]:.2f}" for k in COLUMNS)]
        lines.append([*cells, *(" + ".join(f"{s:.4f}" for s in row.seconds[d]) for d in devices)])
    return "\n".join(markdown_table(heads, lines))


def figure(rows: Sequence[CodecRow], device: str, path: Path) -> None:
    """SI-SDR of vocals, without and with latent noise, against the cost on a device."""
    from matplotlib.figure import Figure

    sheet = Figure(figsize=(7.5, 4.5), layout="constrained")
    axis = sheet.subplots()
    for row in rows:
        x = sum(row.seconds[device])
        clean, noisy = row.scores["vocals_si_sdr"], row.scores["vocals_si_sdr_noise_0.1"]
        (line,) = axis.plot([x, x], [noisy, clean], "-", alpha=0.5)
        axis.plot([x], [clean], "o", color=line.get_color(), label=row.name)
        axis.plot([x], [noisy], "x", color=line.get_color())
    axis.set_xscale("log")
    axis.set_xlabel(f"encoding + decoding, s per audio s ({device})")
    axis.set_ylabel("SI-SDR of vocals, dB (o: clean, x: latent noise 0.1)")
    axis.grid(alpha=0.3)
    axis.legend(fontsize=8)
    sheet.savefig(path, dpi=110)


def main(arguments: list[str] | None = None) -> None:
    """Parse, measure, print and write."""
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("--data", type=Path, required=True, help="the folder the table of items refers to")
    parser.add_argument("--items", type=Path, default=Path("configs/open_valid.csv"))
    parser.add_argument("--codec", action="append", required=True, help="checkpoint, folder or .toml; repeat for more")
    parser.add_argument("--device", default="cpu", help="joined by commas")
    parser.add_argument("--repeats", type=int, default=5)
    parser.add_argument("--out", type=Path, default=Path("results/codec_sizes"))
    options = parser.parse_args(arguments)
    need_matplotlib("the figure")
    if options.repeats < 1:
        raise ConfigError(f"--repeats must be at least 1, not {options.repeats}")
    devices = {word: choose_device(word) for word in options.device.split(",")}
    codecs = [load(name) for name in options.codec]

    def items_of(sample_rate: int, hop: int) -> Sequence[Item]:
        return read_items(options.items, options.data, sample_rate, hop)

    make_folder(options.out)
    rows = []
    for title, kind, codec in codecs:
        rows.append(measure(title, kind, codec, items_of, devices, options.repeats))
        print(f"{rows[-1].name}: done", file=sys.stderr, flush=True)
    digest = items_digest(options.items)
    record = {"table": digest, "rows": [asdict(row) for row in rows]}
    (options.out / "codec_sizes.json").write_text(json.dumps(record, indent=2), encoding="utf-8")
    figure(rows, next(iter(devices)), options.out / "codec_sizes.png")
    print(f"{table(rows, devices)}\n\nItems of the table {digest}.")


if __name__ == "__main__":
    run_script(main, __file__)
