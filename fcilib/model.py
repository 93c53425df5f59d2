"""FCI: embed -> representation -> router -> Council -> prediction (paper, section 3.2)."""

from __future__ import annotations

from dataclasses import dataclass

import torch
from torch import nn

from fcilib.council import Council
from fcilib.representations.blocks import RepresentationSpec
from fcilib.routers import mask_candidates, pick
from fcilib.routers.router import RouterSpec
from fcilib.spec import Size


@dataclass(frozen=True)
class Output:
    """What a forward pass of B sequences gives."""

    logits: torch.Tensor
    """`(B, V)`, the prediction at the query."""
    scores: torch.Tensor | None
    """`(B, L)`, the query's row of routing scores, minus infinity at non-candidates; None without
    a router."""
    picks: torch.Tensor | None
    """`(B, P)`, the positions the Council read, the router's k best first."""


class FCI(nn.Module):
    """Flow-Council-Investigator, with interchangeable parts.

    The picks are hard: no gradient flows from the prediction into the router, which learns from
    the routing loss alone. Without a router the prediction is read off the query's own vector.
    """

    def __init__(
        self,
        size: Size,
        representation: RepresentationSpec,
        router: RouterSpec | None,
        council: Council,
    ) -> None:
        super().__init__()
        self.representation = representation.build(size)
        self.norm = nn.LayerNorm(size.width)
        self.spec = router
        self.router = router.build(size) if router else None
        self.council = council.build(size, router.picks) if router else None
        self.head_norm = nn.LayerNorm(size.width)
        self.head = nn.Linear(size.width, size.vocabulary)

    def represent(self, tokens: torch.Tensor) -> torch.Tensor:
        """What the router looks at: `(B, L)` tokens to `(B, L, d)`, normalised."""
        return self.norm(self.representation(tokens))

    def forward(self, tokens: torch.Tensor, query: torch.Tensor) -> Output:
        """Tokens `(B, L)` int64 and query positions `(B,)` to an `Output`."""
        x = self.represent(tokens)
        if self.router is None:
            read = x[torch.arange(len(x)), query]
            return Output(self.head(self.head_norm(read)), None, None)
        scores = mask_candidates(self.router(x, query), query, self.spec.candidates)
        picks = pick(scores.detach(), self.spec.k, self.spec.neighbours)
        read = self.council(x, query, picks)
        return Output(self.head(self.head_norm(read)), scores, picks)
