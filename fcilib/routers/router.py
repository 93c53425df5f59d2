"""What every router is: scores over the candidates, and the picking of k of them."""

from __future__ import annotations

from typing import Literal

import torch
from pydantic import Field
from torch import nn

from fcilib.spec import Size, Spec

Candidates = Literal["all", "others"]


class RouterSpec(Spec):
    """Scores the candidates for the query and picks the best k."""

    candidates: Candidates = "all"
    """Positions that may be picked: all (the paper's text, q itself included), or all but q."""
    k: int = Field(8, ge=1)
    """Picks before neighbours are added."""
    neighbours: int = Field(1, ge=0)
    """Picking j also picks j + 1 … j + neighbours, since values stand right after their keys."""

    def build(self, size: Size) -> RouterModule:
        """The scoring module, freshly initialised."""
        raise NotImplementedError

    @property
    def picks(self) -> int:
        """Positions handed to the Council, repeats included."""
        return self.k * (1 + self.neighbours)


class RouterModule(nn.Module):
    """A router's parameters and its scores."""

    def forward(self, x: torch.Tensor, query: torch.Tensor) -> torch.Tensor:
        """The query's row of scores, `(B, L)`, from `x (B, L, d)` and `query (B,)`."""
        raise NotImplementedError

    @torch.no_grad()
    def route(
        self, x: torch.Tensor, query: int, k: int, candidates: Candidates = "all"
    ) -> torch.Tensor:
        """The k best positions for one query of one sequence, as at inference.

        Args:
            x: `(L, d)`.
            query: q.
            k: at most the number of candidates.
            candidates: `"others"` leaves q itself out.

        Returns:
            `(k,)` positions, best first.

        Raises:
            ValueError: q is not a position, or there are fewer than k candidates.
        """
        check_route(len(x), query, k, candidates)
        asking = torch.tensor([query], device=x.device)
        return pick(mask_candidates(self(x[None], asking), asking, candidates), k, 0)[0]

    @torch.no_grad()
    def route_all(self, x: torch.Tensor, k: int) -> torch.Tensor:
        """The k best positions for every position of one sequence as the query.

        Args:
            x: `(L, d)`.
            k: at most L; more raises ValueError.

        Returns:
            `(L, k)` positions, best first in each row.
        """
        check_route(len(x), 0, k, "all")
        return self.matrix(x[None])[0].topk(k, dim=1).indices


def check_route(length: int, query: int, k: int, candidates: Candidates) -> None:
    """Raises ValueError where one query of a sequence of that length can't be routed."""
    number = length - (candidates == "others")
    if not 1 <= k <= number:
        raise ValueError(f"k: {k} picks from {number} candidates")
    if not 0 <= query < length:
        raise ValueError(f"query: {query} is not one of {length} positions")


def mask_candidates(
    scores: torch.Tensor, query: torch.Tensor, candidates: Candidates
) -> torch.Tensor:
    """Scores `(B, L)` with minus infinity where a position is no candidate."""
    if candidates == "all":
        return scores
    return scores.scatter(1, query.unsqueeze(1), float("-inf"))


def pick(scores: torch.Tensor, k: int, neighbours: int) -> torch.Tensor:
    """The k best positions and the ones right after each, `(B, k * (1 + neighbours))`.

    The k best come first, by falling score. A neighbour beyond the last position is the last.
    Raises ValueError where there are fewer than k positions.
    """
    length = scores.shape[1]
    if k > length:
        raise ValueError(f"k: {k} picks from {length} positions")
    best = scores.topk(k, dim=1).indices
    reached = [best + step for step in range(neighbours + 1)]
    return torch.cat(reached, dim=1).clamp_(max=length - 1)
