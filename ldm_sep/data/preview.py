"""What a configuration's training items sound and look like, before anything is trained on them."""

from pathlib import Path

import numpy as np
import torch

from ldm_sep.audio import AudioWriter
from ldm_sep.data.mixer import Mixer
from ldm_sep.figures import need_matplotlib
from ldm_sep.metrics import spectrogram

_WINDOW_SECONDS = 0.046
_HIGHEST_HZ = 10000
_RANGE_DB = 80


def preview(mixer: Mixer, count: int, batch_size: int, seed: int, out: Path) -> list[Path]:
    """Write the first ``count`` items of a training with ``batch_size`` and ``seed``.

    They are ``NN-mixture.wav``, ``NN-vocals.wav`` and, of their spectrograms, ``sheet.png`` in ``out``. Returns what
    was written. DependencyError without matplotlib.
    """
    need_matplotlib("the spectrogram sheet")
    from matplotlib.figure import Figure

    # Whole batches, as in training, because an item depends on its batch.
    batches = [mixer.batch(batch_size, seed, step) for step in range(-(-count // batch_size))]
    mixtures, vocals = (torch.cat([getattr(b, name) for b in batches])[:count] for name in ("mixture", "vocals"))
    rate = mixer.decoded.sample_rate
    written = []
    figure = Figure(figsize=(12, 2.2 * count), layout="constrained")
    axes = figure.subplots(count, 2, squeeze=False, sharex=True, sharey=True)
    for number, row in enumerate(axes):
        waves = {"mixture": mixtures[number], "vocals": vocals[number]}
        loudest = None
        for axis, (name, wave) in zip(row, waves.items(), strict=True):
            path = out / f"{number:02d}-{name}.wav"
            with AudioWriter(path, rate, wave.shape[0]) as writer:
                writer.write(wave.cpu().numpy())
            written.append(path)
            hop = rate // 100
            level = 20 * np.log10(spectrogram(wave.mean(0).cpu().numpy(), round(_WINDOW_SECONDS * rate), hop) + 1e-7)
            # Both are drawn on the mixture's scale, so that missing vocals look dark.
            loudest = level.max() if loudest is None else loudest
            axis.imshow(
                level.T,
                origin="lower",
                aspect="auto",
                cmap="magma",
                vmin=loudest - _RANGE_DB,
                vmax=loudest,
                extent=(0, wave.shape[1] / rate, 0, rate / 2000),
            )
            axis.set_ylim(0, min(_HIGHEST_HZ, rate / 2) / 1000)
            axis.set_title(f"{number:02d} {name}", fontsize=9)
        row[0].set_ylabel("kHz")
    for axis in axes[-1]:
        axis.set_xlabel("s")
    sheet = out / "sheet.png"
    figure.savefig(sheet, dpi=80)
    return [*written, sheet]
