"""The rank-1 router: one number per token (paper, section 4.6)."""

from __future__ import annotations

from typing import Literal

import torch
from torch import nn

from fcilib.routers.router import Candidates, RouterModule, RouterSpec, check_route
from fcilib.specs.size import Size


class RankOne(RouterSpec):
    """A fingerprint s_i = v . h_i for each token; the score of a pair is s_i s_j."""

    kind: Literal["rank-one"] = "rank-one"

    def build(self, size: Size) -> RouterModule:
        return FingerprintScores(size.width)


class FingerprintScores(RouterModule):
    """One learned direction, and the products of what tokens have along it."""

    def __init__(self, width: int) -> None:
        super().__init__()
        self.fingerprint = nn.Linear(width, 1, bias=False)

    def forward(self, x: torch.Tensor, query: torch.Tensor) -> torch.Tensor:
        prints = self.fingerprint(x).squeeze(2)
        return prints * prints.gather(1, query.unsqueeze(1))

    def matrix(self, x: torch.Tensor) -> torch.Tensor:
        """All scores, `(B, L, L)`: for probes, on a few sequences."""
        prints = self.fingerprint(x)
        return prints * prints.transpose(1, 2)

    def form(self) -> torch.Tensor:
        """v v^T, `(d, d)`: s_ij = x_i^T form x_j."""
        return self.fingerprint.weight.T @ self.fingerprint.weight

    @torch.no_grad()
    def route(
        self, x: torch.Tensor, query: int, k: int, candidates: Candidates = "all"
    ) -> torch.Tensor:
        """As `RouterModule.route`, in O(n) time and O(n) memory.

        For a query whose fingerprint is positive the best are the k largest fingerprints, else
        the k smallest: no product is formed and nothing is sorted but the k.
        """
        check_route(len(x), query, k, candidates)
        prints = self.fingerprint(x).squeeze(1)
        largest = bool(prints[query] >= 0)
        if candidates == "others":
            prints[query] = float("-inf") if largest else float("inf")
        found = prints.topk(k, largest=largest, sorted=False).indices
        order = prints[found].argsort(descending=largest)
        return found[order]

    @torch.no_grad()
    def route_all(self, x: torch.Tensor, k: int) -> torch.Tensor:
        """As `RouterModule.route_all`, in O(n k) time and memory.

        There are only two answers: the k largest fingerprints, for every query whose own is
        positive, and the k smallest for the others.
        """
        check_route(len(x), 0, k, "all")
        prints = self.fingerprint(x).squeeze(1)
        ends = torch.stack([prints.topk(k, largest=side).indices for side in (False, True)])
        return ends[(prints >= 0).long()]
