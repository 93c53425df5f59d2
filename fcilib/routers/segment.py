"""Routing to segments: the query against a summary of each (paper, section 4.3)."""

from __future__ import annotations

from typing import Literal

import torch
from pydantic import Field
from torch.nn import functional as F

from fcilib.routers.investigator import PairwiseScores
from fcilib.routers.router import SMALLEST, Candidates, RouterModule, SegmentSpec
from fcilib.specs.size import Size


class SegmentRouter(SegmentSpec):
    """Scores a summary of each segment in place of its tokens; the paper's are mean and max pools.

    `score="dot"` is Eq. 1 with summaries for keys. With `"linear-attention"` the softmax of the
    scores is the weights of linear attention (Katharopoulos et al., 2020), as s_j is the log of
    phi(q) phi(k_j) with phi = elu + 1. The paper names the four and gives no equation.
    """

    kind: Literal["segment"] = "segment"
    summary: Literal["mean", "max"] = "mean"
    score: Literal["dot", "linear-attention"] = "dot"
    heads: int = Field(4, ge=1)

    def build(self, size: Size) -> RouterModule:
        return SegmentScores(size.width, self)


class SegmentScores(RouterModule):
    """Scores `(B, n)` of the n segments of a sequence."""

    def __init__(self, width: int, spec: SegmentRouter) -> None:
        super().__init__()
        self.segment, self.candidates = spec.segment, spec.candidates
        self.summary, self.score = spec.summary, spec.score
        self.pairwise = PairwiseScores(width, spec.heads)

    def forward(self, x: torch.Tensor, query: torch.Tensor) -> torch.Tensor:
        summaries, full = self.summarise(x, query, self.candidates)
        asking = x[torch.arange(len(x)), query]
        if self.score == "dot":
            scores = self.pairwise.compare(asking, summaries)
        else:
            q = F.elu(self.pairwise.query(asking)) + 1
            k = F.elu(self.pairwise.key(summaries)) + 1
            scores = torch.bmm(k, q.unsqueeze(2)).squeeze(2).clamp(min=SMALLEST).log()
        return scores.masked_fill(~full, float("-inf"))

    def summarise(
        self, x: torch.Tensor, query: torch.Tensor, candidates: Candidates
    ) -> tuple[torch.Tensor, torch.Tensor]:
        """One vector per segment, `(B, n, d)`, and whether it holds any token, `(B, n)`."""
        parts, held = cut(x, query, self.segment, candidates)
        held = held.unsqueeze(3)
        full = held.any(dim=2)
        if self.summary == "mean":
            summaries = (parts * held).sum(dim=2) / held.sum(dim=2).clamp(min=1)
        else:
            summaries = parts.masked_fill(~held, float("-inf")).amax(dim=2)
            summaries = summaries.masked_fill(~full, 0)
        return summaries, full.squeeze(2)


def cut(
    x: torch.Tensor, query: torch.Tensor, segment: int, candidates: Candidates
) -> tuple[torch.Tensor, torch.Tensor]:
    """A sequence cut into n segments.

    Args:
        x: `(B, L, …)`, vectors or tokens.
        query: `(B,)`.
        segment: tokens in a segment; the last one is filled up with zeros.
        candidates: `"others"` leaves q out of its segment.

    Returns:
        `(B, n, segment, …)`, and which entries are tokens that count, `(B, n, segment)` bool.
    """
    batch, length = x.shape[:2]
    number = -(-length // segment)
    held = torch.arange(number * segment, device=x.device).expand(batch, -1) < length
    if candidates == "others":
        held = held.scatter(1, query.unsqueeze(1), False)
    padded = x.new_zeros(batch, number * segment, *x.shape[2:])
    padded[:, :length] = x
    return padded.unflatten(1, (number, segment)), held.unflatten(1, (number, segment))
