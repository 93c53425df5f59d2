"""The chance level, through the same code as everything else."""

from __future__ import annotations

from typing import Literal

import torch

from fcilib.routers.router import RouterModule, RouterSpec
from fcilib.spec import Size


class RandomRouter(RouterSpec):
    """Every candidate gets an independent uniform score; nothing is learned."""

    kind: Literal["random"] = "random"

    def build(self, size: Size) -> RouterModule:
        return RandomScores()


class RandomScores(RouterModule):
    """No parameters; draws from torch's current random state."""

    def forward(self, x: torch.Tensor, query: torch.Tensor) -> torch.Tensor:
        return torch.rand(x.shape[:2], device=x.device)
