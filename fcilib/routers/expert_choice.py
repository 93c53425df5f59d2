"""Heads that choose their tokens before anyone asks, as in mixture of sparse attention (ours)."""

from __future__ import annotations

import math
from typing import Literal

import torch
from pydantic import Field
from torch import nn

from fcilib.routers.router import RouterModule, RouterSpec
from fcilib.specs.size import Size


class ExpertChoice(RouterSpec):
    """Each head takes the tokens that it rates highest, and compares the query with those.

    After Piękos et al., 2025 (arXiv:2505.00315). A head rates a token by its own vector, whoever
    asks; its rating, a sigmoid, multiplies the scores that it gives, so that it learns. A token's
    score is the sum over the heads that took it; one that no head took gets minus infinity. There,
    heads take their queries in the same way; here, every head hears the one query.
    """

    kind: Literal["expert-choice"] = "expert-choice"
    heads: int = Field(4, ge=1)
    share: float = Field(0.25, gt=0, le=1)
    """Of the tokens that a head takes, rounded up."""

    def build(self, size: Size) -> RouterModule:
        return ChosenScores(size.width, self)


class ChosenScores(RouterModule):
    """Scores `(B, L)`, minus infinity where no head took the token."""

    def __init__(self, width: int, spec: ExpertChoice) -> None:
        super().__init__()
        if width % spec.heads:
            raise ValueError(f"heads: {spec.heads} does not divide the width {width}")
        self.heads, self.share = spec.heads, spec.share
        self.rate = nn.Linear(width, spec.heads)
        self.query = nn.Linear(width, width, bias=False)
        self.key = nn.Linear(width, width, bias=False)

    def forward(self, x: torch.Tensor, query: torch.Tensor) -> torch.Tensor:
        ratings = self.rate(x).sigmoid()  # (B, L, H)
        number = math.ceil(self.share * x.shape[1])
        best = ratings.detach().topk(number, dim=1).indices
        taken = torch.zeros_like(ratings, dtype=torch.bool).scatter(1, best, True)
        asking = self.query(x[torch.arange(len(x)), query]).unflatten(1, (self.heads, -1))
        keys = self.key(x).unflatten(2, (self.heads, -1))
        products = torch.einsum("bhc,blhc->blh", asking, keys) / keys.shape[3] ** 0.5
        scores = (ratings * products * taken).sum(dim=2)
        return scores.masked_fill(~taken.any(dim=2), float("-inf"))
