"""The rank-1 router: one number per token (paper, section 4.6)."""

from __future__ import annotations

from typing import Literal

import torch
from torch import nn

from fcilib.routers.router import Candidates, RouterModule, RouterSpec
from fcilib.spec import Size


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
        """The k best positions for one query, in O(n) time and O(n) memory.

        For a query whose fingerprint is positive the best are the k largest fingerprints, else
        the k smallest: no product is formed and nothing is sorted but the k.

        Args:
            x: `(L, d)`.
            query: q.
            k: at most the number of candidates; more raises ValueError.
            candidates: `"others"` leaves q itself out.

        Returns:
            `(k,)` positions, best first.
        """
        number = len(x) - (candidates == "others")
        if not 1 <= k <= number:
            raise ValueError(f"k: {k} picks from {number} candidates")
        if not 0 <= query < len(x):
            raise ValueError(f"query: {query} is not one of {len(x)} positions")
        prints = self.fingerprint(x).squeeze(1)
        largest = bool(prints[query] >= 0)
        if candidates == "others":
            prints[query] = float("-inf") if largest else float("inf")
        found = prints.topk(k, largest=largest, sorted=False).indices
        order = prints[found].argsort(descending=largest)
        return found[order]
