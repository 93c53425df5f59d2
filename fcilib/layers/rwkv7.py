"""RWKV-7's time mixing: a generalised delta rule with a decay per channel (Peng et al., 2025)."""

from __future__ import annotations

import math

import torch
from torch import Tensor, nn
from torch.nn import functional as F

from fcilib.layers.gated_linear import by_head
from fcilib.layers.recurrence import recurrence

LOW_RANK, HEAD_EPSILON = 16, 64e-5
LARGEST_DECAY = math.exp(-0.5)
"""A step keeps at least exp(-exp(-1/2)), 55%, of a channel."""

MIXED = ("receptance", "decay", "key", "value", "rate", "gate")
"""What is computed from a mixture of a token's vector and the one before."""


class Rwkv7Layer(nn.Module):
    """`(B, L, d)` to `(B, L, d)`, as the first layer of a model (arXiv:2503.14456, section 4).

    Later layers of the published model also mix in the first one's values; here none does. The
    output's weights start at random rather than at zero, and shares of the token before at a half.
    """

    def __init__(self, width: int, heads: int) -> None:
        super().__init__()
        if width % heads:
            raise ValueError(f"heads: {heads} does not divide the width {width}")
        self.heads = heads
        self.shares = nn.Parameter(torch.full((len(MIXED), width), 0.5))
        self.receptance, self.key, self.value, self.out = (
            nn.Linear(width, width, bias=False) for _ in range(4)
        )
        self.decay, self.rate, self.gate = (
            nn.Sequential(nn.Linear(width, LOW_RANK, bias=False), f, nn.Linear(LOW_RANK, width))
            for f in (nn.Tanh(), nn.Identity(), nn.Sigmoid())
        )
        self.removed = nn.Parameter(torch.full((width,), 0.7))
        self.replaced = nn.Parameter(torch.ones(width))
        self.bonus = nn.Parameter(torch.zeros(heads, width // heads))
        self.norm = nn.GroupNorm(heads, width, eps=HEAD_EPSILON)

    def forward(self, x: Tensor) -> Tensor:
        before = F.pad(x, (0, 0, 1, -1))
        mixed = dict(zip(MIXED, x + (before - x) * self.shares[:, None, None], strict=True))
        key, rate = self.key(mixed["key"]), self.rate(mixed["rate"]).sigmoid()
        terms = (
            self.receptance(mixed["receptance"]),
            key * (1 + (rate - 1) * self.replaced),
            self.value(mixed["value"]),
            -LARGEST_DECAY * self.decay(mixed["decay"]).sigmoid(),
            rate,
            key * self.removed,
        )
        r, k, v, w, rate, direction = (by_head(term, self.heads) for term in terms)
        direction = F.normalize(direction, dim=3)
        y = recurrence(r, k, v, w, direction * rate, -direction)
        y = self.norm(y.transpose(1, 2).flatten(2).flatten(0, 1)).view_as(x)
        own = (r * k * self.bonus[:, None]).sum(dim=3, keepdim=True) * v
        return self.out((y + own.transpose(1, 2).flatten(2)) * self.gate(mixed["gate"]))
