"""Hyena: gates around a long convolution whose filter is a function of distance."""

from __future__ import annotations

import math

import torch
from torch import Tensor, nn

from fcilib.specs.size import Size

TAPS, HIDDEN, FREQUENCIES, SINE = 3, 32, 8, 10.0
"""Of the short convolution; of the network that makes the filter: its width, the number of waves
that it is told a distance by, and the factor in its sines (Poli et al., 2023, appendix)."""


class HyenaLayer(nn.Module):
    """Hyena of order two, `(B, L, d)` to `(B, L, d)`, O(n log n) (arXiv:2302.10866).

    y = out(g * filter(h * v)), with g, h and v short convolutions of projections of x. No two
    tokens are compared: what is written depends on distance and on products at one position.
    """

    def __init__(self, size: Size) -> None:
        super().__init__()
        width = size.width
        self.enter = nn.Linear(width, 3 * width)
        self.short = nn.Conv1d(3 * width, 3 * width, TAPS, groups=3 * width, padding=TAPS - 1)
        self.filter = DistanceFilter(size.length, width)
        self.skip = nn.Parameter(torch.randn(width))
        self.out = nn.Linear(width, width)

    def forward(self, x: Tensor) -> Tensor:
        length = x.shape[1]
        mixed = self.short(self.enter(x).mT)[:, :, :length]
        gate, factor, v = mixed.chunk(3, dim=1)  # each (B, d, L)
        v = v * factor
        y = convolve(v, self.filter(length)) + self.skip[:, None] * v
        return self.out((y * gate).mT)


class DistanceFilter(nn.Module):
    """A filter `(d, L)`: a small network of sines of the distance, under an exponential decay.

    Channels decay at fixed rates, from one that falls to 1% within 30% of the length to one that
    does so over one and a half lengths; or none does.
    """

    def __init__(self, length: int, width: int, decays: bool = True) -> None:
        super().__init__()
        self.length = length
        self.layers = nn.ModuleList(
            [nn.Linear(2 * FREQUENCIES + 1, HIDDEN), nn.Linear(HIDDEN, HIDDEN)]
        )
        self.last = nn.Linear(HIDDEN, width, bias=False)
        rates = torch.linspace(-math.log(0.01) / 1.5, -math.log(0.01) / 0.3, width)
        self.rates = nn.Buffer(rates[:, None] * decays, persistent=False)

    def forward(self, length: int) -> Tensor:
        time = torch.arange(length)[:, None] / self.length
        waves = 2 * math.pi * time * torch.arange(FREQUENCIES)
        x = torch.cat([time, waves.sin(), waves.cos()], dim=1).to(self.last.weight.dtype)
        for layer in self.layers:
            x = torch.sin(SINE * layer(x))
        return self.last(x).mT * torch.exp(-self.rates * time.mT)


def convolve(x: Tensor, taps: Tensor) -> Tensor:
    """Causal convolution along the last axis, by Fourier transform: `(…, L)` with taps `(d, L)`."""
    length = x.shape[-1]
    with torch.autocast(x.device.type, enabled=False):
        waves = torch.fft.rfft(x.float(), 2 * length) * torch.fft.rfft(taps.float(), 2 * length)
        return torch.fft.irfft(waves, 2 * length)[..., :length].to(x.dtype)
