"""The Mamba-2 layer: a recurrence with one decay per head (Dao and Gu, 2024)."""

from __future__ import annotations

import math

import torch
from torch import Tensor, nn
from torch.nn import functional as F

from fcilib.layers.mamba import STEP_FLOOR, STEP_MAX, STEP_MIN
from fcilib.layers.recurrence import recurrence
from fcilib.scan import causal_conv_silu

EPSILON = 1e-5
TAPS, EXPAND = 4, 2
"""Taps of the depthwise convolution, and the inner width as a multiple of d."""


class Mamba2Block(nn.Module):
    """State space duality, `(B, L, d)` to `(B, L, d)`; no norm before it, no residual.

    Names and layouts of the parameters are those of `Mamba2Mixer` in transformers with one group
    and no bias, so either loads the other's state dict.

    Args:
        width: d.
        heads: they share B and C, the keys and queries of the recurrence.
        state: N, the size of keys and queries.

    Raises:
        ValueError: `heads` does not divide the inner width.
    """

    def __init__(self, width: int, heads: int = 4, state: int = 32) -> None:
        super().__init__()
        inner = EXPAND * width
        if inner % heads:
            raise ValueError(f"heads: {heads} does not divide the inner width {inner}")
        self.parts = [inner, inner + 2 * state, heads]
        self.inner, self.state, self.heads = inner, state, heads
        self.in_proj = nn.Linear(width, sum(self.parts), bias=False)
        mixed = inner + 2 * state
        self.conv1d = nn.Conv1d(mixed, mixed, TAPS, groups=mixed, padding=TAPS - 1)
        low, high = math.log(STEP_MIN), math.log(STEP_MAX)
        step = torch.exp(low + (high - low) * torch.rand(heads)).clamp(min=STEP_FLOOR)
        self.dt_bias = nn.Parameter(step + torch.log(-torch.expm1(-step)))  # softplus gives step
        self.A_log = nn.Parameter(torch.arange(1, heads + 1).log())
        self.D = nn.Parameter(torch.ones(heads))
        self.norm = nn.RMSNorm(inner, eps=EPSILON)
        self.out_proj = nn.Linear(inner, width, bias=False)

    def forward(self, x: Tensor) -> Tensor:
        gate, mixed, step = self.in_proj(x).split(self.parts, dim=2)
        mixed = causal_conv_silu(mixed, self.conv1d.weight[:, 0], self.conv1d.bias)
        values, B, C = mixed.split([self.inner, self.state, self.state], dim=2)
        step = F.softplus(step + self.dt_bias).transpose(1, 2).unsqueeze(3)  # (B, H, L, 1)
        decay = -self.A_log.exp()[:, None, None] * step
        values = values.unflatten(2, (self.heads, -1)).transpose(1, 2)
        y = recurrence(
            C.unsqueeze(1).expand(-1, self.heads, -1, -1), B.unsqueeze(1) * step, values, decay
        )
        y = y + self.D[:, None, None] * values
        return self.out_proj(self.norm(y.transpose(1, 2).flatten(2) * F.silu(gate)))
