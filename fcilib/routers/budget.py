"""Pairwise comparison for a part of the positions only (paper, section 4.3, "MF-OFUL")."""

from __future__ import annotations

import math
from typing import Literal

import torch
from pydantic import Field, model_validator

from fcilib.routers.bandits import LinearRewards, with_constant
from fcilib.routers.investigator import PairwiseScores
from fcilib.routers.router import RouterModule, RouterSpec
from fcilib.specs.size import Size

ROUNDING = 1e-9
"""0.07 of 100 positions are 7, though the product of the two floats is a little more."""


class Budgeted(RouterSpec):
    """The Investigator on a fraction of the positions; a bandit says which.

    The paper names "Multi-Fidelity Optimistic Fulfillment Under Linear bandits" and does not define
    it. Here, the low fidelity is OFUL's optimistic estimate, from a token's own vector, that the
    token is the evidence; the positions where it is largest get the high fidelity, Eq. 1. In
    training each position that was compared is a round, with reward 1 if it was the evidence.
    `controller="random"` draws the positions instead: what a budget reaches without any choice.

    A sequence whose evidence got no comparison has no routing loss. `fraction=1` is the
    Investigator.
    """

    kind: Literal["budgeted"] = "budgeted"
    fraction: float = Field(0.5, gt=0, le=1)
    """Share of the positions that the query is compared with, rounded up."""
    controller: Literal["oful", "random"] = "oful"
    heads: int = Field(4, ge=1)
    ridge: float = Field(1.0, gt=0)
    delta: float = Field(0.05, gt=0, lt=1)
    bound: float = Field(1.0, gt=0)
    """As in `OFUL`."""

    @model_validator(mode="after")
    def _no_segment_is_known(self) -> Budgeted:
        if self.within is not None:
            raise ValueError("within: a budget is spent before the segment is known; leave it out")
        return self

    def build(self, size: Size) -> RouterModule:
        return BudgetedScores(size.width, self)


class BudgetedScores(RouterModule):
    """Scores `(B, L)`, minus infinity where nothing was compared."""

    def __init__(self, width: int, spec: Budgeted) -> None:
        super().__init__()
        self.spec = spec
        self.pairwise = PairwiseScores(width, spec.heads)
        self.rewards = LinearRewards(width + 1, spec.ridge)

    def forward(self, x: torch.Tensor, query: torch.Tensor) -> torch.Tensor:
        number = math.ceil(self.spec.fraction * x.shape[1] - ROUNDING)
        if number == x.shape[1]:
            return self.pairwise(x, query)
        where = self.promise(x.detach()).topk(number, dim=1).indices
        compared = x.gather(1, where.unsqueeze(2).expand(-1, -1, x.shape[2]))
        found = self.pairwise.compare(x[torch.arange(len(x)), query], compared)
        nothing = found.new_full(x.shape[:2], float("-inf"))
        return nothing.scatter(1, where, found)

    @torch.no_grad()
    def promise(self, x: torch.Tensor) -> torch.Tensor:
        """What the controller expects of each position, `(B, L)`; in training, at best."""
        if self.spec.controller == "random":
            return torch.rand(x.shape[:2], device=x.device)
        phi = with_constant(x)
        expected = phi @ self.rewards.estimate
        if not self.training:
            return expected
        radius = self.rewards.radius(self.spec.delta, self.spec.bound)
        return expected + radius * self.rewards.width(phi)

    def observe(
        self, x: torch.Tensor, query: torch.Tensor, scores: torch.Tensor, evidence: torch.Tensor
    ) -> None:
        if self.spec.controller == "oful":
            compared = scores.isfinite()
            right = torch.zeros_like(scores).scatter(1, evidence.unsqueeze(1), 1.0)
            self.rewards.learn(with_constant(x[compared]), right[compared])
