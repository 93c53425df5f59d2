"""BaseConv: a convolution times a projection, the least that mixes tokens and multiplies them."""

from __future__ import annotations

from torch import Tensor, nn

from fcilib.layers.hyena import TAPS, DistanceFilter, convolve
from fcilib.specs.size import Size


class BaseConvLayer(nn.Module):
    """`(B, L, d)` to `(B, L, d)`, causal: x + (W x + b) * convolution(x) (Arora et al., 2024).

    The published form of Zoology's section 4, with its own residual. A short convolution has three
    taps; a long one has a filter that is a function of distance, without a decay, and is added to
    its input.
    """

    def __init__(self, size: Size, long: bool) -> None:
        super().__init__()
        width = size.width
        self.projection = nn.Linear(width, width)
        self.filter = DistanceFilter(size.length, width, decays=False) if long else None
        self.short = None
        if not long:
            self.short = nn.Conv1d(width, width, TAPS, groups=width, padding=TAPS - 1)

    def forward(self, x: Tensor) -> Tensor:
        return x + self.projection(x) * self.convolution(x)

    def convolution(self, x: Tensor) -> Tensor:
        length = x.shape[1]
        if self.short is not None:
            return self.short(x.mT)[:, :, :length].mT
        assert self.filter is not None
        return x + convolve(x.mT, self.filter(length)).mT
