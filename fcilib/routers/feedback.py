"""Routing in rounds, with the Council's feedback between them (paper, section 4.3, "DOL")."""

from __future__ import annotations

from typing import Literal

import torch
from pydantic import Field
from torch import nn

from fcilib.routers.router import RouterModule, RouterSpec
from fcilib.specs.size import Size


class ClosedLoop(RouterSpec):
    """A score per token, tried out: what the Council makes of the picks raises or lowers them.

    The paper's "Decision-Optimal Learning" refines a route over 2-3 rounds "using execution
    feedback from the Council", without a pairwise comparison; it says no more. Here, the first
    round scores each token by itself. After a round the Council's vector for the query is turned
    into one number, and that number is added to the scores of what it had read: picks that led
    nowhere make room for others. With one round nothing is fed back. All of it is learned from the
    routing loss.
    """

    kind: Literal["closed-loop"] = "closed-loop"
    rounds: int = Field(3, ge=1)

    def build(self, size: Size) -> RouterModule:
        return FeedbackScores(size.width, self.rounds)


class FeedbackScores(RouterModule):
    """Two linear maps to a number: of a token, and of what the Council read."""

    def __init__(self, width: int, rounds: int) -> None:
        super().__init__()
        self.rounds = rounds
        self.score = nn.Linear(width, 1)
        self.credit = nn.Linear(width, 1)

    def forward(self, x: torch.Tensor, query: torch.Tensor) -> torch.Tensor:
        return self.score(x).squeeze(2)

    def refine(self, scores: torch.Tensor, picks: torch.Tensor, read: torch.Tensor) -> torch.Tensor:
        # Where there are too few candidates the best is picked again; it is credited once.
        again = (picks == picks[:, :1]) & (torch.arange(picks.shape[1], device=picks.device) > 0)
        credit = self.credit(read).expand_as(picks).masked_fill(again, 0)
        return scores.scatter_add(1, picks, credit)
