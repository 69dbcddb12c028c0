"""Meta's pretrained 48 kHz stereo EnCodec (arXiv 2210.13438), the paper's codec.

The networks are those of the package ``encodec``, through ``ldm_sep.thirdparty``; `ldm_sep.codec.encodec_weights` finds
their weights.

Legend: B batch, C audio channels, T samples, D latent channels, N latent frames.
"""

from collections.abc import Mapping
from contextlib import nullcontext

import torch
from torch import Tensor, nn

from ldm_sep.codec.base import Codec, all_finite
from ldm_sep.errors import CheckpointError
from ldm_sep.signal.loudness import rms
from ldm_sep.thirdparty import import_encodec

_LEAST_MONO = 0.25
_FLOOR_RMS = 1e-4


class Encodec48kHz(nn.Module, Codec):
    """The encoder and decoder of the 48 kHz EnCodec as a ``codec.base.Codec``; 7.43 M parameters each.

    Latents have 128 channels at 150 frames/s, N = T / 320. They are continuous: the quantiser is no part of
    ``encode`` and ``decode``, and there are no 1-second segments, so that a window is one stream. Latents
    depend on the length of what is encoded: train and infer with the same window.

    A GroupNorm over channels and time ends both networks. Latents therefore have unit variance at any input
    gain, even for silence, and the decoder's RMS is a constant: no latent can carry the level, and
    ``keeps_level`` is False. The latents do depend on the input's level, because convolutions have biases. The
    networks were trained on waves divided by the RMS of their mono mean: ``input_gain`` says how much that is.

    ``quantizer`` is the package's residual vector quantiser (16 codebooks of 1024), for studies of the codec:
    ``quantizer.encode(z, 150, bandwidth)``, the bandwidth in kbit/s and at most 24, and ``quantizer.decode``.

    ``state_dict`` holds the keys of ``encodec.EncodecModel``; None leaves random weights. Raises
    ``CheckpointError`` where keys are missing or unexpected, shapes differ, or a value is not finite.
    """

    def __init__(self, state_dict: Mapping[str, Tensor] | None = None) -> None:
        super().__init__()
        device = torch.get_default_device()
        # Weights that are about to be overwritten need no draw from the caller's random generator.
        with torch.device("meta") if state_dict is not None else nullcontext():
            model = import_encodec().EncodecModel.encodec_model_48khz(pretrained=False)
        self.sample_rate: int = model.sample_rate
        self.channels: int = model.channels
        self.hop = int(model.encoder.hop_length)
        self.latent_channels: int = model.encoder.dimension
        self.keeps_level = False
        self.latent_exponent = 1.0
        self.encoder: nn.Module = model.encoder
        self.decoder: nn.Module = model.decoder
        self.quantizer: nn.Module = model.quantizer
        if state_dict is not None:
            _check_state(state_dict, self.state_dict())
            self.to_empty(device=device)
            self.load_state_dict(state_dict)
        self.eval()

    def input_gain(self, wave: Tensor) -> Tensor:
        """1 / RMS of the mono mean of ``wave (B, 2, T)``, as (B, 1, 1).

        The mean of anti-phase stereo is silent: the RMS counts as at least a quarter (-12 dB) of that of both
        channels, which two unlike channels (-3 dB) stay well above. It also counts as at least -80 dBFS, so that
        silence stays silence.
        """
        mono = wave.mean(1, keepdim=True)
        level = torch.maximum(rms(mono), _LEAST_MONO * rms(wave)).clamp_min(_FLOOR_RMS)
        return (1 / level)[:, None, None]


def _check_state(state: Mapping[str, Tensor], wanted: Mapping[str, Tensor]) -> None:
    """Raise ``CheckpointError`` unless ``state`` fits ``wanted`` in keys and shapes and is finite."""
    problems = {
        "lacks": [key for key in wanted if key not in state],
        "has unexpected": [key for key in state if key not in wanted],
        "has another shape or type for": [
            key
            for key, value in state.items()
            if key in wanted
            and (value.shape != wanted[key].shape or not value.is_floating_point() or value.layout != torch.strided)
        ],
    }
    for problem, keys in problems.items():
        if keys:
            more = f" and {len(keys) - 1} more" if len(keys) > 1 else ""
            raise CheckpointError(f"is not a 48 kHz EnCodec: it {problem} {keys[0]}{more}")
    for key, value in state.items():
        if not all_finite(value):
            raise CheckpointError(f"holds NaN or infinite values in {key}")
