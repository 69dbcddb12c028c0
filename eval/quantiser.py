"""Residual vector quantisers: the one a codec brings along, and one fitted to the latents of a codec without."""

from dataclasses import dataclass

import torch
from torch import Tensor, nn

FIT_FRAMES = 20_000
_LLOYD_ROUNDS = 8


@dataclass(frozen=True)
class ResidualQuantiser:
    """Residual vector quantisation with ``codebooks (Q, K, D)``: each stage codes what the stages before left over."""

    codebooks: Tensor

    @property
    def size(self) -> int:
        """K, the number of indices."""
        return self.codebooks.shape[1]

    @property
    def stages(self) -> int:
        """Q, the number of indices a frame."""
        return len(self.codebooks)

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

    quantizer: nn.Module
    frame_rate: float

    @property
    def size(self) -> int:
        """K, the number of indices."""
        return self.quantizer.bins

    @property
    def stages(self) -> int:
        """Q, the number of indices a frame."""
        return self.quantizer.n_q

    def encode(self, z: Tensor) -> Tensor:
        """``z (B, D, N)`` to indices ``(Q, B, N)``."""
        return self.quantizer.encode(z, self.frame_rate, None)

    def decode(self, codes: Tensor) -> Tensor:
        """Indices ``(Q, B, N)`` to latents ``(B, D, N)``."""
        return self.quantizer.decode(codes)


Quantiser = ResidualQuantiser | OwnQuantiser


def fit_quantiser(z: Tensor, stages: int, size: int, seed: int) -> ResidualQuantiser:
    """Codebooks of ``size`` for frames ``z (D, N)``, stage by stage, each by Lloyd's algorithm from drawn frames.

    At most 20,000 of the frames are used, drawn by ``seed``.
    """
    generator = torch.Generator().manual_seed(seed)
    frames = z.T
    frames = frames[torch.randperm(len(frames), generator=generator)[:FIT_FRAMES].to(frames.device)]
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
