"""The delta rule: a write replaces what the state held under its key, with and without a decay."""

from __future__ import annotations

import torch
from torch import Tensor, nn
from torch.nn import functional as F

from fcilib.layers.gated_linear import by_head
from fcilib.layers.recurrence import recurrence
from fcilib.scan import causal_conv_silu

EPSILON = 1e-6
TAPS = 4
"""Of the depthwise convolution of queries, keys and values."""


class DeltaLayer(nn.Module):
    """DeltaNet, or Gated DeltaNet: `(B, L, d)` to `(B, L, d)`.

    Sources: Yang et al., 2024 (arXiv:2406.06484), and with `gated`, which adds a decay per head
    and a gate on the output, Yang et al., 2025 (arXiv:2412.06464). Names and layouts of the gated
    layer's parameters are those of `Qwen3NextGatedDeltaNet` in transformers with as many heads of
    keys as of values, so either loads the other's state dict.

    Args:
        width: d.
        heads: must divide the width.
        gated: with a decay and an output gate.
    """

    def __init__(self, width: int, heads: int, gated: bool) -> None:
        super().__init__()
        if width % heads:
            raise ValueError(f"heads: {heads} does not divide the width {width}")
        self.heads, self.gated = heads, gated
        self.conv1d = nn.Conv1d(
            3 * width, 3 * width, TAPS, groups=3 * width, padding=TAPS - 1, bias=False
        )
        self.in_proj_qkvz = nn.Linear(width, (4 if gated else 3) * width, bias=False)
        self.in_proj_ba = nn.Linear(width, (2 if gated else 1) * heads, bias=False)
        if gated:
            self.dt_bias = nn.Parameter(torch.ones(heads))
            self.A_log = nn.Parameter(torch.empty(heads).uniform_(0.01, 16).log())
        self.norm = nn.RMSNorm(width // heads, eps=EPSILON)
        self.out_proj = nn.Linear(width, width, bias=False)

    def forward(self, x: Tensor) -> Tensor:
        # The projection's rows are ordered by head, and there by query, key, value and gate.
        parts = self.in_proj_qkvz(x).unflatten(2, (self.heads, -1, x.shape[2] // self.heads))
        mixed = parts[:, :, :, :3].transpose(2, 3).flatten(2)
        q, k, v = causal_conv_silu(mixed, self.conv1d.weight[:, 0]).chunk(3, dim=2)
        q, k, v = (by_head(part, self.heads) for part in (q, k, v))
        q, k = unit(q) * q.shape[3] ** -0.5, unit(k)
        rates = self.in_proj_ba(x).unflatten(2, (self.heads, -1)).transpose(1, 2)
        beta = rates[:, :, :, :1].sigmoid()
        decay = torch.zeros_like(beta)
        if self.gated:
            step = F.softplus(rates[:, :, :, 1:] + self.dt_bias[:, None, None])
            decay = -self.A_log.exp()[:, None, None] * step
        y = self.norm(recurrence(q, beta * k, v, decay, -decay.exp() * beta * k, k))
        y = y.transpose(1, 2)
        if self.gated:
            y = y * F.silu(parts[:, :, :, 3])
        return self.out_proj(y.flatten(2))


def unit(x: Tensor) -> Tensor:
    """Vectors `(…, d)` at length one."""
    return x * torch.rsqrt(x.square().sum(dim=-1, keepdim=True) + EPSILON)
