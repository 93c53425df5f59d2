"""Mixing without any comparison: the mean of all tokens, and the Fourier transform."""

from __future__ import annotations

from typing import Literal

import torch
from torch import nn

from fcilib.layers.blocks import Block
from fcilib.representations.base import StackSpec
from fcilib.specs.size import Size


class GlobalMean(StackSpec):
    """The mean of all tokens, broadcast to each (paper, section 4.6).

    Without `residual` every token gets the same vector, as the paper's explanation of its failure
    has it ("collapses all tokens into a single vector"); with it, token identity survives.
    """

    kind: Literal["global-mean"] = "global-mean"
    residual: bool = False

    def layer(self, size: Size) -> nn.Module:
        return Block(size.width, MeanMixing(size.width), self.residual)


class Fourier(StackSpec):
    """FNet's mixing: the real part of a transform over positions and width (paper, section 4.6).

    Source: Lee-Thorp et al., FNet, 2022. Without `residual` a token's own vector is lost in the
    sum; FNet itself keeps it, next to a transform whose entries are sums of L d terms.
    `orthonormal` divides the transform by sqrt(L d), so that it has the size of what it transforms.
    """

    kind: Literal["fourier"] = "fourier"
    residual: bool = False
    orthonormal: bool = False

    def layer(self, size: Size) -> nn.Module:
        return Block(size.width, FourierMixing(self.orthonormal), self.residual)


class MeanMixing(nn.Module):
    """A projection of the mean over positions, at every position: `(B, L, d)` to `(B, L, d)`."""

    def __init__(self, width: int) -> None:
        super().__init__()
        self.project = nn.Linear(width, width)

    def forward(self, x: torch.Tensor) -> torch.Tensor:
        return self.project(x.mean(dim=1, keepdim=True)).expand_as(x)


class FourierMixing(nn.Module):
    """Re(FFT over positions of FFT over width): `(B, L, d)` to `(B, L, d)`, no parameters."""

    def __init__(self, orthonormal: bool) -> None:
        super().__init__()
        self.norm = "ortho" if orthonormal else "backward"

    def forward(self, x: torch.Tensor) -> torch.Tensor:
        return torch.fft.fft2(x.float(), dim=(1, 2), norm=self.norm).real.to(x.dtype)
