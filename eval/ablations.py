"""What each dial of the sampler, and each choice in training, buys: one row a setting, on the same held-out items.

    python eval/ablations.py --data DATA [--name open] [--against NAME=DIR ...] [--items configs/open_valid.csv]

The checkpoint's presets, steps T, eta, K averaged samples, a start from the posterior mean, the speed at which the
predictor hears, the parts of the checkpoint (diffusion, codec residual, texture from the mixture), what the mixture can
lend its result (phase, Wiener mask), and samples around the posterior mean as wide as the truth says (an oracle: more
than any sampler can know), each alone, and where a name says T = 1 from one step; then every checkpoint named by
``--against`` as it is, such as one for each choice in training. Scores are means over the items of a group, on 16-bit
waves; ``voiceless`` is the level of what is taken for vocals in the accompaniment alone, in dB under it, and ``lost``
that of what is missing of the voice when it sings alone. Prints the table and writes ``ablations.json`` and
``ablations.png`` (scores against T).
"""

import argparse
import json
import time
from collections.abc import Mapping, Sequence
from dataclasses import asdict, dataclass, field, replace
from pathlib import Path

import numpy as np
import torch
from script import items_digest, level_under, run_script
from torch import Tensor, nn
from torch.nn import functional as F

from ldm_sep.data.items import Item, read_items
from ldm_sep.errors import ConfigError
from ldm_sep.evaluate import parse_metrics
from ldm_sep.figures import need_matplotlib
from ldm_sep.files import make_folder
from ldm_sep.markdown import markdown_table
from ldm_sep.method.level import normalising_gain
from ldm_sep.metrics import measure
from ldm_sep.separation.separator import Options, Separator
from ldm_sep.signal.noise import noise_field

METRICS = ("si_sdr", "lsd", "mr_stft", "pesq", "log_f0_rmse")
STEPS = (1, 2, 4, 8, 16, 50)
SPEEDS = (1.0, 1.25, 1.5, 1.75)
SPREADS = (0.25, 0.5, 1.0)
_WINDOW = 2048
# Neighbouring channels and frames over which the true error is averaged to a spread.
_NEIGHBOURS = (5, 9)


@dataclass(frozen=True)
class Setting:
    """A row: how the sampler is set, which attributes of the `LatentSeparator` are others, and, for an
    oracle, how many times the true spread the sample is away from the posterior mean.
    """

    name: str
    options: Options
    parts: Mapping[str, object] = field(default_factory=dict)
    spread: float | None = None


@dataclass
class Result:
    """Means by ``group/metric``, ``si_sdr_gain`` among them, and seconds per audio second."""

    name: str
    scores: dict[str, float] = field(default_factory=dict)
    seconds: float = 0.0


class Nothing(nn.Module):
    """A U-Net that returns zero, as a new one does: the posterior mean is then the anchor, untouched."""

    def __init__(self, channels: int) -> None:
        super().__init__()
        self.channels = channels

    def forward(self, z_t: Tensor, t: Tensor, cond: Tensor) -> Tensor:
        """``z_t (B, D, N)`` to zeros (B, channels, N)."""
        return z_t.new_zeros(len(z_t), self.channels, z_t.shape[2])


class FromMixture(nn.Module):
    """The vocals made of the mixture's STFT: their own magnitude with its ``phase``, or its bins under their
    ``wiener`` mask |V|^2 / (|V|^2 + |M - V|^2).
    """

    def __init__(self, kind: str) -> None:
        super().__init__()
        self.kind = kind

    def forward(self, vocals: Tensor, mixture: Tensor) -> Tensor:
        """``vocals, mixture (B, C, T)`` to vocals (B, C, T)."""
        window = torch.hann_window(_WINDOW, device=vocals.device)
        own, whole = (
            torch.stft(wave.flatten(0, 1), _WINDOW, window=window, return_complex=True) for wave in (vocals, mixture)
        )
        if self.kind == "phase":
            spectrum = torch.polar(own.abs(), whole.angle())
        else:
            power, rest = own.abs().square(), (whole - own).abs().square()
            spectrum = whole * power / (power + rest + 1e-20)
        return torch.istft(spectrum, _WINDOW, window=window, length=vocals.shape[2]).unflatten(0, vocals.shape[:2])


def settings(base: Options, separator: Separator) -> list[Setting]:
    """The rows, in the order of the table; those of parts only where the separator's model has them."""
    model = separator.model
    rows = [Setting(f"preset {name}", replace(base, preset=name)) for name in separator.presets]
    rows += [Setting(f"T = {steps}", replace(base, steps=steps)) for steps in STEPS]
    rows += [Setting(f"T = 8, eta = {eta}", replace(base, steps=8, eta=eta)) for eta in (0.4, 1.0)]
    rows += [Setting(f"T = 4, K = {k}", replace(base, steps=4, averages=k)) for k in (2, 4, 8)]
    rows.append(Setting("T = 1, K = 4", replace(base, steps=1, averages=4)))
    rows += [Setting(f"start {t}, T = 2", replace(base, steps=2, start=t)) for t in (0.2, 0.4, 0.6, 0.8)]
    once = replace(base, steps=1)
    if model.predictor is not None:
        rows += [Setting(f"T = 1, speed {speed}", replace(once, speeds=(speed,))) for speed in SPEEDS]
    if model.predictor is not None and model.gated_anchor:
        # A conditioner that was trained codes the estimate in its own way.
        untouched = {"unet": Nothing(model.unet.sizes.returned), "conditioner": model.codec.encoder}
        rows.append(Setting("predictor alone", once, untouched))
    if model.codec_residual:
        rows.append(Setting("T = 1, no codec residual", once, {"codec_residual": False}))
    if model.refiner is not None:
        rows.append(Setting("T = 1, no texture from the mixture", once, {"refiner": None}))
    rows.append(Setting("T = 1, phase of the mixture", once, {"refiner": FromMixture("phase")}))
    rows.append(Setting("T = 1, Wiener mask on the mixture", once, {"refiner": FromMixture("wiener")}))
    return rows + [Setting(f"oracle, {spread} of the true spread", once, spread=spread) for spread in SPREADS]


@torch.no_grad()
def sample_of_true_spread(
    separator: Separator, mixture: np.ndarray, vocals: np.ndarray, options: Options, spread: float
) -> np.ndarray:
    """A Gaussian sample of the vocals (C, T) around the posterior mean of their latents, all as one window.

    Its standard deviation is ``spread`` times the root mean square of the mean's true error around each latent.
    """
    model, device = separator.model, separator.device
    x, wanted = (torch.from_numpy(wave)[None].to(device) for wave in (mixture, vocals))
    gain = normalising_gain(x)
    cond, estimate = model.condition(x * gain, separator.plan(options).speeds)
    codec = model.codec
    noise = noise_field(options.seed, codec.latent_channels, 0, x.shape[2] // codec.hop)[None].to(device)
    mean = model.sample(cond, noise, 1)
    error = (model.encode(wanted * gain) - mean).square()
    padding = tuple(size // 2 for size in _NEIGHBOURS)
    std = F.avg_pool2d(error, _NEIGHBOURS, 1, padding, count_include_pad=False).sqrt()
    return (model.render(mean + spread * std * noise, cond, estimate, x * gain) / gain)[0].cpu().numpy()


def score(separator: Separator, items: Sequence[Item], setting: Setting, metrics: Sequence[str] = METRICS) -> Result:
    """Separate every item with the setting and average its scores by group."""
    model, rate = separator.model, separator.model.codec.sample_rate
    before_row = {name: getattr(model, name) for name in setting.parts}
    for name, part in setting.parts.items():
        setattr(model, name, part)
    values: dict[str, list[float]] = {}
    seconds = audio = 0.0

    def separate(mixture: np.ndarray, vocals: np.ndarray) -> np.ndarray:
        if setting.spread is None:
            return separator.separate(mixture, rate, setting.options).vocals
        return sample_of_true_spread(separator, mixture, vocals, setting.options, setting.spread)

    try:
        for item in items:
            started = time.perf_counter()
            estimate = separate(item.mixture, item.vocals)
            seconds += time.perf_counter() - started
            audio += item.mixture.shape[1] / rate
            alone = separate(item.accompaniment, np.zeros_like(item.vocals))
            if item.accompaniment.any():
                values.setdefault(f"{item.group}/voiceless", []).append(level_under(alone, item.accompaniment))
            if item.vocals.any():
                missing = item.vocals - separate(item.vocals, item.vocals)
                values.setdefault(f"{item.group}/lost", []).append(level_under(missing, item.vocals))
            scores = measure(item.vocals, estimate, rate, item.mixture, metrics)
            before = measure(item.vocals, item.mixture, rate, item.mixture, ("si_sdr",))["si_sdr"]
            gain = scores["si_sdr"]
            if gain.value is not None and before.value is not None:
                values.setdefault(f"{item.group}/si_sdr_gain", []).append(gain.value - before.value)
            for key, value in scores.items():
                if value.value is not None:
                    values.setdefault(f"{item.group}/{key}", []).append(value.value)
    finally:
        for name, part in before_row.items():
            setattr(model, name, part)
    return Result(setting.name, {key: float(np.mean(row)) for key, row in values.items()}, seconds / audio)


def table(results: Sequence[Result], groups: Sequence[str], metrics: Sequence[str]) -> str:
    """Markdown, one row a setting; groups joined by slashes."""
    shown = ("si_sdr_gain", *(m for m in metrics if m != "si_sdr"), "voiceless", "lost")
    rows = []
    for result in results:
        cells = []
        for metric in shown:
            numbers = [result.scores.get(f"{group}/{metric}") for group in groups]
            cells.append(" / ".join("-" if n is None else f"{n:.2f}" for n in numbers))
        rows.append([result.name, *cells, f"{result.seconds:.3f}"])
    return "\n".join(markdown_table(["setting", *shown, "s per audio s"], rows))


def figure(results: Sequence[Result], groups: Sequence[str], path: Path) -> None:
    """SI-SDR gain and LSD against the number of steps."""
    from matplotlib.figure import Figure

    rows = [r for r in results if r.name.removeprefix("T = ").isdigit()]
    steps = [int(r.name.removeprefix("T = ")) for r in rows]
    sheet = Figure(figsize=(9, 3.5), layout="constrained")
    for axis, metric, label in zip(
        sheet.subplots(1, 2), ("si_sdr_gain", "lsd"), ("SI-SDR over the mixture, dB", "LSD"), strict=True
    ):
        for group in groups:
            axis.plot(steps, [r.scores.get(f"{group}/{metric}", np.nan) for r in rows], "o-", label=group)
        axis.set_xscale("log", base=2)
        axis.set_xticks(steps, [str(s) for s in steps])
        axis.set_xlabel("steps T")
        axis.set_ylabel(label)
        axis.grid(alpha=0.3)
    axis.legend()
    sheet.savefig(path, dpi=110)


def main(arguments: list[str] | None = None) -> None:
    """Parse, run every row, print and write."""
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("--data", type=Path, required=True, help="the folder the table of items refers to")
    parser.add_argument("--items", type=Path, default=Path("configs/open_valid.csv"))
    parser.add_argument("--name", default="open", help="checkpoint: a name or a folder")
    parser.add_argument("--against", action="append", default=[], help="another checkpoint: NAME=DIR; repeat for more")
    parser.add_argument("--metrics", default=",".join(METRICS))
    parser.add_argument("--only", help="only rows whose name begins with this")
    parser.add_argument("--device", default="auto")
    parser.add_argument("--out", type=Path, default=Path("results/ablations"))
    options = parser.parse_args(arguments)
    need_matplotlib("the figure")
    separator = Separator.load(options.name, device=options.device)
    rate = separator.model.codec.sample_rate
    items = read_items(options.items, options.data, rate, separator.model.codec.hop)
    groups = list(dict.fromkeys(item.group for item in items))
    metrics = tuple(dict.fromkeys(("si_sdr", *parse_metrics(options.metrics))))
    # Hours of rows are not to be lost to a mistake in the last one.
    others = {}
    for argument in options.against:
        name, _, folder = argument.partition("=")
        if not folder or name in others:
            raise ConfigError(f"--against {argument}: write NAME=DIR, every name once")
        others[name] = Separator.load(folder, device=options.device)
    wanted = [(separator, row) for row in settings(Options(), separator)]
    wanted += [(other, Setting(name, Options())) for name, other in others.items()]
    if options.only is not None:
        wanted = [(model, row) for model, row in wanted if row.name.startswith(options.only) or model is not separator]
    if not wanted:
        raise ConfigError(f"--only {options.only}: no row begins so")
    make_folder(options.out)
    results = []
    by_grid = {(rate, separator.model.codec.hop): items}
    for model, row in wanted:
        grid = model.model.codec.sample_rate, model.model.codec.hop
        if grid not in by_grid:
            by_grid[grid] = read_items(options.items, options.data, *grid)
        results.append(score(model, by_grid[grid], row, metrics))
        print(f"{row.name}: done, {results[-1].seconds:.3f} s per audio second", flush=True)
    rows = [asdict(result) for result in results]
    digest = items_digest(options.items)
    record = {"checkpoint": str(options.name), "groups": groups, "items": len(items), "table": digest, "rows": rows}
    (options.out / "ablations.json").write_text(json.dumps(record, indent=2))
    figure(results, groups, options.out / "ablations.png")
    note = f"n = {len(items)} items, table {digest}; groups: {' / '.join(groups)}"
    print(f"{note}\n\n{table(results, groups, metrics)}")


if __name__ == "__main__":
    run_script(main, __file__)
