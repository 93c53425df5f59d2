"""Comparison by angle alone (a control, ours)."""

from __future__ import annotations

from typing import Literal

import torch
from torch.nn import functional as F

from fcilib.routers.investigator import dots
from fcilib.routers.router import RouterModule, RouterSpec
from fcilib.specs.size import Size


class Cosine(RouterSpec):
    """s_ij = cos(x_i, x_j): a pairwise comparison in which nothing is learned.

    What it finds, the vectors say of themselves. Among all candidates the query itself is always
    the best.
    """

    kind: Literal["cosine"] = "cosine"

    def build(self, size: Size) -> RouterModule:
        return CosineScores()


class CosineScores(RouterModule):
    """Scores `(B, L)` between -1 and 1; no parameters."""

    def forward(self, x: torch.Tensor, query: torch.Tensor) -> torch.Tensor:
        unit = F.normalize(x, dim=2)
        return dots(unit, unit[torch.arange(len(x)), query])

    def matrix(self, x: torch.Tensor) -> torch.Tensor:
        """All scores, `(B, L, L)`: for probes, on a few sequences."""
        unit = F.normalize(x, dim=2)
        return unit @ unit.mT
