"""Linear attention with a decay per key channel: gated linear attention, and HGRN2."""

from __future__ import annotations

import torch
from torch import Tensor, nn
from torch.nn import functional as F

from fcilib.layers.recurrence import STRONGEST, recurrence

LOW_RANK, SLOWNESS, EPSILON = 16, 16, 1e-5
"""Rank of the gate's projection, and what its log sigmoid is divided by (Yang et al., 2024)."""


class GatedLinearLayer(nn.Module):
    """Gated linear attention, `(B, L, d)` to `(B, L, d)` (Yang et al., 2024, arXiv:2312.06635).

    Keys and queries have half the width. Each head's output is normalised and gated.
    """

    def __init__(self, width: int, heads: int) -> None:
        super().__init__()
        if width % (2 * heads):
            raise ValueError(f"heads: {heads} does not divide half the width {width}")
        self.heads = heads
        self.query = nn.Linear(width, width // 2, bias=False)
        self.key = nn.Linear(width, width // 2, bias=False)
        self.value = nn.Linear(width, width, bias=False)
        self.forget = nn.Sequential(
            nn.Linear(width, LOW_RANK, bias=False), nn.Linear(LOW_RANK, width // 2)
        )
        self.gate = nn.Linear(width, width, bias=False)
        self.norm = nn.RMSNorm(width // heads, eps=EPSILON)
        self.out = nn.Linear(width, width, bias=False)

    def forward(self, x: Tensor) -> Tensor:
        q, k, v = (by_head(part(x), self.heads) for part in (self.query, self.key, self.value))
        decay = by_head(F.logsigmoid(self.forget(x)), self.heads) / SLOWNESS
        y = self.norm(recurrence(q * q.shape[3] ** -0.5, k, v, decay))
        return self.out(y.transpose(1, 2).flatten(2) * F.silu(self.gate(x)))


class Hgrn2Layer(nn.Module):
    """HGRN2, `(B, L, d)` to `(B, L, d)` (Qin et al., 2024, arXiv:2404.07904).

    What a channel forgets is what it takes in: the keys are one less the decays. The lower bound
    of the decays, which rises with a model's depth, is the one of its first layer, zero.
    """

    def __init__(self, width: int, heads: int) -> None:
        super().__init__()
        if width % heads:
            raise ValueError(f"heads: {heads} does not divide the width {width}")
        self.heads = heads
        self.query = nn.Linear(width, width, bias=False)
        self.forget = nn.Linear(width, width, bias=False)
        self.value = nn.Linear(width, width, bias=False)
        self.norm = nn.RMSNorm(width, eps=EPSILON)
        self.out = nn.Linear(width, width, bias=False)

    def forward(self, x: Tensor) -> Tensor:
        q = by_head(F.silu(self.query(x)), self.heads)
        decay = by_head(F.logsigmoid(self.forget(x)), self.heads).clamp(min=STRONGEST)
        v = by_head(self.value(x), self.heads)
        y = recurrence(q * q.shape[3] ** -0.5, -torch.expm1(decay), v, decay)
        return self.out(self.norm(y.transpose(1, 2).flatten(2)))


def by_head(x: Tensor, heads: int) -> Tensor:
    """`(B, L, d)` to `(B, H, L, d / H)`."""
    return x.unflatten(2, (heads, -1)).transpose(1, 2)
