"""BM25 over segments, the segments of a sequence being its collection (paper, section 4.3)."""

from __future__ import annotations

from typing import Literal

import torch
from pydantic import Field
from rank_bm25 import BM25Okapi

from fcilib.routers.router import RouterModule, SegmentSpec
from fcilib.routers.segment import cut
from fcilib.specs.size import Size


class BM25Index(SegmentSpec):
    """Robertson's BM25 as rank-bm25 computes it, with its defaults; the query is one token.

    Segments that do not hold the token score 0. Those that do score above it only if the token's
    weight is positive: ln((n - m + 1/2) / (m + 1/2)) for m of n segments, or `epsilon` times the
    mean weight of all tokens where that is negative. Few segments make it zero or negative, which
    would rank the right segment last. Hence `build` raises a ValueError below five segments (three
    where the query is left out), and `forward` raises one at a token with a negative weight.
    """

    kind: Literal["bm25"] = "bm25"
    k1: float = Field(1.5, gt=0)
    b: float = Field(0.75, ge=0, le=1)
    epsilon: float = Field(0.25, ge=0)
    """Weight of a token that most segments hold, as a multiple of the mean weight."""

    def build(self, size: Size) -> RouterModule:
        number, least = -(-size.length // self.segment), 5 if self.candidates == "all" else 3
        if number < least:
            raise ValueError(
                f"segment: {size.length} tokens are {number} segments of {self.segment}; BM25 "
                f"needs {least} for the token's weight to be positive, so make them shorter"
            )
        return BM25Scores(self)


class BM25Scores(RouterModule):
    """An index is built for each sequence, asked once and dropped."""

    reads_tokens = True

    def __init__(self, spec: BM25Index) -> None:
        super().__init__()
        self.spec = spec

    def forward(self, tokens: torch.Tensor, query: torch.Tensor) -> torch.Tensor:
        spec = self.spec
        parts, held = cut(tokens, query, spec.segment, spec.candidates)
        asked = tokens[torch.arange(len(tokens)), query].tolist()
        scores = torch.empty(parts.shape[:2], device="cpu")
        rows = zip(scores, parts.tolist(), held.tolist(), asked, strict=True)
        for row, segments, counted, token in rows:
            collection = [
                [t for t, counts in zip(*pair, strict=True) if counts]
                for pair in zip(segments, counted, strict=True)
            ]
            index = BM25Okapi(collection, k1=spec.k1, b=spec.b, epsilon=spec.epsilon)
            if index.idf.get(token, 0.0) < 0:
                raise ValueError(
                    f"segment: most tokens stand in most of the {len(collection)} segments, so "
                    f"that BM25 gives a negative weight to token {token}; make them shorter"
                )
            row.copy_(torch.from_numpy(index.get_scores([token])))
        return scores.to(tokens.device).masked_fill(~held.any(dim=2), float("-inf"))
