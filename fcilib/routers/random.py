"""The chance level, through the same code as everything else."""

from __future__ import annotations

from typing import Literal

import torch
from pydantic import Field

from fcilib.routers.router import RouterModule, RouterSpec
from fcilib.specs.size import Size


class RandomRouter(RouterSpec):
    """Every candidate gets an independent uniform score; nothing is learned."""

    kind: Literal["random"] = "random"
    segment: int = Field(1, ge=1)
    """Tokens in a candidate: the chance level of a router of segments has segments to pick from."""

    @property
    def granularity(self) -> int:
        return self.segment

    def build(self, size: Size) -> RouterModule:
        return RandomScores(self.segment)


class RandomScores(RouterModule):
    """No parameters; draws from torch's current random state."""

    def __init__(self, segment: int = 1) -> None:
        super().__init__()
        self.segment = segment

    def forward(self, x: torch.Tensor, query: torch.Tensor) -> torch.Tensor:
        return torch.rand(len(x), -(-x.shape[1] // self.segment), device=x.device)
