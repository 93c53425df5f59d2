"""What every router is: scores over the candidates, and the picking of k of them."""

from __future__ import annotations

from collections.abc import Callable
from typing import Literal

import torch
from pydantic import Field, model_validator
from torch import nn

from fcilib.specs.size import Size
from fcilib.specs.spec import Spec
from fcilib.tasks import Batch

Candidates = Literal["all", "others"]

Represent = Callable[[torch.Tensor], torch.Tensor]
"""What a router is given of tokens `(B, L)`: their vectors `(B, L, d)`, normalised."""

TIE = 1e-5
"""Scores closer than this, relative to the largest in size, are one score: below it the order is
the rounding's, not the router's."""

SMALLEST = 1e-30
"""A share below it counts as this much where a score is its log: the log of a share that was
rounded to zero would say "no candidate", and has no gradient."""


class RouterSpec(Spec):
    """Scores the candidates for the query and picks the best k."""

    kind: str
    candidates: Candidates = "all"
    """Positions that may be picked: all (the paper's Eq. 1, q itself included), or all but q."""
    k: int = Field(8, ge=1)
    """Picks before neighbours are added."""
    neighbours: int = Field(1, ge=0)
    """Picking j also picks j + 1 … j + neighbours, since values stand right after their keys."""
    within: int | None = Field(None, ge=1)
    """The segment that holds the evidence is given: of sequences cut into segments of that many
    tokens, only its tokens are candidates. None: nothing is given."""

    def build(self, size: Size) -> RouterModule:
        """The scoring module, freshly initialised."""
        raise NotImplementedError

    @model_validator(mode="after")
    def _segments_nest(self) -> RouterSpec:
        if self.within is not None and self.within % self.granularity:
            raise ValueError(f"within: {self.within} tokens are no segments of {self.granularity}")
        return self

    @property
    def granularity(self) -> int:
        """Tokens in a candidate: 1, or the length of a segment."""
        return 1

    @property
    def picks(self) -> int:
        """Positions handed to the Council, repeats included."""
        return self.k * (self.granularity + self.neighbours)

    def mask(
        self, scores: torch.Tensor, query: torch.Tensor, evidence: torch.Tensor | None = None
    ) -> torch.Tensor:
        """Scores `(B, C)` with minus infinity where something is no candidate.

        Raises ValueError where `within` gives a segment away and the evidence is not told.
        """
        if self.granularity == 1:
            scores = mask_candidates(scores, query, self.candidates)
        if self.within is None:
            return scores
        if evidence is None:
            raise ValueError("within: which segment is given follows from the evidence; pass it")
        given = (evidence // self.within).unsqueeze(1)
        first = torch.arange(scores.shape[1], device=scores.device) * self.granularity
        place = first // self.within
        return scores.masked_fill(place != given, float("-inf"))


class SegmentSpec(RouterSpec):
    """A router whose candidates are segments: runs of tokens, the last one possibly shorter.

    With `candidates="others"` the query's token is left out of its segment; a segment that is then
    empty is no candidate. Segments of one token are thus tokens.
    """

    segment: int = Field(32, ge=1)
    """Tokens in a segment; the paper's are 32, a sixteenth of its sequences."""
    k: int = Field(4, ge=1)
    """Segments that are picked; the paper does not say how many."""

    @property
    def granularity(self) -> int:
        return self.segment


class RouterModule(nn.Module):
    """A router's parameters and its scores."""

    reads_tokens = False
    """Whether `forward` is given the tokens `(B, L)` in place of their vectors x."""
    rounds = 1
    """How often the Council is asked; after each time but the last, `refine` has its say."""

    def forward(self, x: torch.Tensor, query: torch.Tensor) -> torch.Tensor:
        """The query's row of scores, `(B, C)`, from `x (B, L, d)` and `query (B,)`.

        C is L, or the number of segments. Minus infinity says that something is no candidate.
        """
        raise NotImplementedError

    def refine(self, scores: torch.Tensor, picks: torch.Tensor, read: torch.Tensor) -> torch.Tensor:
        """New scores `(B, C)`, after the Council made `read (B, d)` of `picks (B, k)`."""
        raise NotImplementedError

    def matrix(self, x: torch.Tensor) -> torch.Tensor:
        """The scores of every query, `(B, L, C)`: for probes, on a few sequences."""
        rows = [self(x, torch.full((len(x),), q, device=x.device)) for q in range(x.shape[1])]
        return torch.stack(rows, dim=1)

    def form(self) -> torch.Tensor | None:
        """The matrix `(d, d)` of a bilinear score, s_ij proportional to x_i^T form x_j.

        None where the scores are no such product.
        """
        return None

    def random_factors(
        self, generator: torch.Generator
    ) -> tuple[torch.Tensor, torch.Tensor] | None:
        """Gaussian matrices A and B, `(r, d)` each, in place of those of the form A^T B.

        They have the shapes and Frobenius norms of the router's two parameters; a router with one
        parameter gets one matrix for both. None without a form. A router whose form has other
        factors overrides this.
        """
        if self.form() is None:
            return None
        factors = []
        for parameter in self.parameters():
            drawn = torch.randn(parameter.shape, generator=generator)
            factors.append(drawn * (parameter.detach().norm() / drawn.norm()))
        return factors[0], factors[-1]

    def pretrain(self, represent: Represent, data: Batch) -> None:
        """Train on the prepared training sequences alone, before the model is trained."""

    def observe(
        self, x: torch.Tensor, query: torch.Tensor, scores: torch.Tensor, evidence: torch.Tensor
    ) -> None:
        """Learn from the outcome of a training step, in whatever way that is not by gradient."""

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
            ValueError: q is not a position, there are fewer than k candidates, or the router picks
                segments, needs the Council between rounds, or scored fewer than k positions.
        """
        check_route(len(x), query, k, candidates)
        asking = torch.tensor([query], device=x.device)
        return self._best(mask_candidates(self(x[None], asking), asking, candidates), k, len(x))[0]

    @torch.no_grad()
    def route_all(self, x: torch.Tensor, k: int) -> torch.Tensor:
        """The k best positions for every position of one sequence as the query.

        Args:
            x: `(L, d)`.
            k: at most L.

        Returns:
            `(L, k)` positions, best first in each row.

        Raises:
            ValueError: as `route`.
        """
        check_route(len(x), 0, k, "all")
        return self._best(self.matrix(x[None])[0], k, len(x))

    def _best(self, scores: torch.Tensor, k: int, length: int) -> torch.Tensor:
        """The k best of each row of scores, `(n, k)`, where these are the router's last word."""
        if self.rounds > 1:
            raise ValueError("rounds: the second needs the Council's answer; ask the model")
        if scores.shape[1] != length:
            raise ValueError(f"x: {length} positions are no candidates of a router of segments")
        values, best = scores.topk(k, dim=1)
        if values.isneginf().any():
            raise ValueError(f"k: {k} picks, but the router has scored fewer candidates")
        return best


def check_route(length: int, query: int, k: int, candidates: Candidates) -> None:
    """Raises ValueError where one query of a sequence of that length can't be routed."""
    if candidates not in ("all", "others"):
        raise ValueError(f'candidates: {candidates!r} is neither "all" nor "others"')
    number = length - (candidates == "others")
    if not 1 <= k <= number:
        raise ValueError(f"k: {k} picks from {number} candidates")
    if not 0 <= query < length:
        raise ValueError(f"query: {query} is not one of {length} positions")


def mask_candidates(
    scores: torch.Tensor, query: torch.Tensor, candidates: Candidates
) -> torch.Tensor:
    """Scores `(B, L)` with minus infinity where a position is no candidate.

    Raises ValueError where there is not one query for each row of scores.
    """
    if len(query) != len(scores):
        raise ValueError(f"query: {len(query)} positions for {len(scores)} sequences")
    if candidates == "all":
        return scores
    return scores.scatter(1, query.unsqueeze(1), float("-inf"))


def pick(
    scores: torch.Tensor,
    k: int,
    neighbours: int,
    granularity: int = 1,
    length: int | None = None,
) -> torch.Tensor:
    """The k best candidates and what follows them, `(B, k * (granularity + neighbours))` positions.

    The first positions of the k best come first, by falling score; then their other tokens and the
    neighbours after them. What would lie beyond the last of `length` positions (as many as
    candidates, if left out) is the last. Where fewer than k have a score above minus infinity, the
    best stands again in place of the others: what is no candidate is never picked. Raises
    ValueError where there are fewer than k columns.
    """
    number = scores.shape[1]
    if k > number:
        raise ValueError(f"k: {k} picks from {number} candidates")
    values, best = scores.topk(k, dim=1)
    best = torch.where(values.isneginf(), best[:, :1], best) * granularity
    reached = [best + step for step in range(granularity + neighbours)]
    return torch.cat(reached, dim=1).clamp_(max=(length or number) - 1)
