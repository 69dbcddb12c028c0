"""What stands for Meta's published EnCodec: its network with random weights, in a file of the same format."""

import hashlib
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path

import pytest
import torch

from ldm_sep.codec.encodec_48khz import Encodec48kHz
from ldm_sep.errors import CheckpointError
from ldm_sep.thirdparty import import_encodec


def package_model() -> torch.nn.Module:
    """The package's network with random weights."""
    torch.manual_seed(0)
    model = import_encodec().EncodecModel.encodec_model_48khz(pretrained=False)
    with torch.no_grad():
        for layer in model.quantizer.vq.layers:  # the package starts from empty codebooks
            layer._codebook.embed.normal_()
    return model


def save(value: object, folder: Path, stem: str = "encodec_48khz") -> Path:
    """``value`` as ``stem-XXXXXXXX.th``, named by its own hash."""
    file = folder / "unnamed"
    torch.save(value, file)
    digest = hashlib.sha256(file.read_bytes()).hexdigest()
    return file.rename(folder / f"{stem}-{digest[:8]}.th")


@contextmanager
def refused(*parts: object) -> Iterator[None]:
    """The block raises a ``CheckpointError`` of one line that holds all ``parts``."""
    with pytest.raises(CheckpointError) as caught:
        yield
    message = str(caught.value)
    assert "\n" not in message
    for part in parts:
        assert str(part) in message


def same(codec: Encodec48kHz, model: torch.nn.Module) -> bool:
    ours, theirs = codec.state_dict(), model.state_dict()
    return ours.keys() == theirs.keys() and all(torch.equal(ours[key], theirs[key]) for key in theirs)
