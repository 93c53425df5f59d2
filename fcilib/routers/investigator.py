"""The Investigator: multi-head dot products between all pairs of positions (paper, Eq. 1)."""

from __future__ import annotations

from typing import Literal

import torch
from pydantic import Field
from torch import nn
from torch.autograd.function import once_differentiable

from fcilib.routers.router import RouterModule, RouterSpec
from fcilib.specs.size import Size


class Investigator(RouterSpec):
    """s_ij = 1/H sum_h (W_q^h x_i) . (W_k^h x_j) / sqrt(d / H)."""

    kind: Literal["investigator"] = "investigator"
    heads: int = Field(4, ge=1)

    def build(self, size: Size) -> RouterModule:
        return PairwiseScores(size.width, self.heads)


class PairwiseScores(RouterModule):
    """Eq. 1. The mean over heads of per-head products is one product over all of d, rescaled."""

    def __init__(self, width: int, heads: int) -> None:
        super().__init__()
        if width % heads:
            raise ValueError(f"heads: {heads} does not divide the width {width}")
        self.scale = 1 / (heads * (width / heads) ** 0.5)
        self.query = nn.Linear(width, width, bias=False)
        self.key = nn.Linear(width, width, bias=False)

    def forward(self, x: torch.Tensor, query: torch.Tensor) -> torch.Tensor:
        return self.compare(x[torch.arange(len(x)), query], x)

    def compare(self, asking: torch.Tensor, x: torch.Tensor) -> torch.Tensor:
        """Scores `(B, n)` of the vectors `x (B, n, d)` for one that asks, `(B, d)`."""
        # (W_q x_q) . (W_k x_j) = (W_k^T W_q x_q) . x_j: the keys need no projection of their own.
        return dots(x, self.query(asking) @ self.key.weight) * self.scale

    def matrix(self, x: torch.Tensor) -> torch.Tensor:
        """All scores, `(B, L, L)`: for probes, on a few sequences."""
        return self.query(x) @ self.key(x).transpose(1, 2) * self.scale

    def form(self) -> torch.Tensor:
        """W_q W_k^T in the paper's notation, `(d, d)`: s_ij is proportional to x_i^T form x_j."""
        return self.query.weight.T @ self.key.weight


def dots(x: torch.Tensor, v: torch.Tensor) -> torch.Tensor:
    """Products of the rows of each `x (B, n, d)` with its vector `v (B, d)`, `(B, n)`.

    What `torch.bmm` gives, to the last bit, gradients included; but for those autograd would call
    matrix multiplications of width one, which take many times as long as reading x does.
    """
    kind = x.device.type
    if torch.is_autocast_enabled(kind):  # here, so that the gradients are widened again
        x, v = (tensor.to(torch.get_autocast_dtype(kind)) for tensor in (x, v))
    return _Dots.apply(x, v)


class _Dots(torch.autograd.Function):
    @staticmethod
    def forward(ctx, x, v):
        ctx.save_for_backward(x, v)
        return torch.bmm(x, v.unsqueeze(2)).squeeze(2)

    @staticmethod
    @once_differentiable
    def backward(ctx, gradient):
        x, v = ctx.saved_tensors
        dx = gradient.unsqueeze(2) * v.unsqueeze(1)
        return dx, torch.bmm(gradient.unsqueeze(1), x).squeeze(1)
