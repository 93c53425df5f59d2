"""RWKV-4's time mixing: an average of the past whose weights decay, channel by channel."""

from __future__ import annotations

import math
from typing import Any

import torch
from torch import Tensor, nn
from torch.nn import functional as F

from fcilib.scan import selective_scan

SMALLEST = -60.0
"""The log of the smallest weight, beside the largest of a channel: a float's lie above e^-87."""


class Rwkv4Layer(nn.Module):
    """`(B, L, d)` to `(B, L, d)`, causal, O(n) (Peng et al., 2023, section 3; arXiv:2305.13048).

    Decays start as in the first layer of a published model, from a token to some 150 of them, and
    the shares of the token before at a half.
    """

    def __init__(self, width: int) -> None:
        super().__init__()
        self.shares = nn.Parameter(torch.full((3, width), 0.5))
        self.key, self.value, self.receptance, self.out = (
            nn.Linear(width, width, bias=False) for _ in range(4)
        )
        self.decay = nn.Parameter(-5 + 8 * torch.linspace(0, 1, width) ** 0.7)
        self.bonus = nn.Parameter(torch.full((width,), math.log(0.3)))

    def forward(self, x: Tensor) -> Tensor:
        before = F.pad(x, (0, 0, 1, -1))
        k, v, r = before + (x - before) * self.shares[:, None, None]
        y = weighted_past(self.key(k), self.value(v), self.decay.exp(), self.bonus)
        return self.out(self.receptance(r).sigmoid() * y)


def weighted_past(k: Tensor, v: Tensor, decay: Tensor, bonus: Tensor) -> Tensor:
    """Of each position the weighted mean of the values up to it, `(B, L, d)`.

    Position j < i has the log weight k_j - (i - 1 - j) decay, position i itself k_i + bonus. Above
    and below the line of the fraction is a scan with one state per channel.

    Args:
        k: log weights, `(B, L, d)`.
        v: values, `(B, L, d)`.
        decay: not negative, `(d,)`.
        bonus: `(d,)`.
    """
    weights = (k - k.detach().amax(dim=1, keepdim=True)).clamp(min=SMALLEST).exp()
    terms = torch.cat([weights * v, weights], dim=2)
    one = torch.ones_like(terms[:, :, :1])
    scan: Any = selective_scan(terms, torch.ones_like(terms), -decay.repeat(2)[:, None], one, one)
    above, below = (F.pad(scan, (0, 0, 1, -1)) + bonus.exp().repeat(2) * terms).chunk(2, dim=2)
    return above / below
