"""FCI: embed -> representation -> router -> Council -> prediction (paper, section 3.2)."""

from __future__ import annotations

from dataclasses import dataclass
from typing import Any, Literal

import torch
from torch import nn

from fcilib.model.council import Council
from fcilib.representations.base import RepresentationSpec
from fcilib.routers.router import RouterSpec, pick
from fcilib.specs.size import Size
from fcilib.tasks import Batch

Normalisation = Literal["layer", "none"]


@dataclass(frozen=True)
class Output:
    """What a forward pass of B sequences gives.

    There is a row for each question: where a sequence holds N of them, B below is B N, and those
    of a sequence follow each other.
    """

    logits: torch.Tensor
    """`(B, V)`, the prediction at the query."""
    scores: torch.Tensor | None
    """`(B, C)`, the query's row of routing scores, minus infinity at non-candidates; None without
    a router. C is L, or the number of segments."""
    picks: torch.Tensor | None
    """`(B, P)`, the positions the Council read; where the router's k best begin comes first."""
    granularity: int = 1
    """Tokens in a candidate."""

    def candidate(self, position: torch.Tensor) -> torch.Tensor:
        """The candidate that a position belongs to: itself, or its segment."""
        return position // self.granularity


class FCI(nn.Module):
    """Flow-Council-Investigator, with interchangeable parts.

    The picks are hard: no gradient flows from the prediction into the router, which learns from
    the routing loss alone. Without a router the prediction is read off the query's own vector.
    """

    router_spec: Any
    """A `RouterSpec`, or None without a router; so are the two below."""
    router: Any
    council: Any

    def __init__(
        self,
        size: Size,
        representation: RepresentationSpec,
        router: RouterSpec | None,
        council: Council,
        normalisation: Normalisation = "layer",
    ) -> None:
        super().__init__()
        self.representation = representation.build(size)
        self.norm = nn.LayerNorm(size.width) if normalisation == "layer" else nn.Identity()
        self.router_spec = router
        self.router = router.build(size) if router else None
        self.council = council.build(size, router.picks) if router else None
        self.head_norm = nn.LayerNorm(size.width)
        self.head = nn.Linear(size.width, size.vocabulary)

    def represent(self, tokens: torch.Tensor) -> torch.Tensor:
        """What the router looks at: `(B, L)` tokens to `(B, L, d)`, normalised if asked for."""
        return self.norm(self.representation(tokens))

    def pretrain(self, data: Batch) -> None:
        """What parts do on the training sequences before training: representation, then router."""
        self.representation.pretrain(data)
        if self.router is not None:
            self.router.pretrain(self.represent, data)

    def forward(
        self, tokens: torch.Tensor, query: torch.Tensor, evidence: torch.Tensor | None = None
    ) -> Output:
        """Tokens `(B, L)` int64 and query positions `(B,)` or `(B, N)` to an `Output`.

        A sequence is represented once, however many questions it holds.

        `evidence`, shaped as `query`, is for routers that are told something: the segment it lies
        in (`within`), or, in training, whether what they chose was right (`observe`). It changes
        nothing else.

        Raises ValueError where the router's scores are not one for each candidate.
        """
        x = self.represent(tokens)
        if self.router is None:
            rows = torch.arange(len(x))
            read = x[rows, query] if query.dim() == 1 else x[rows[:, None], query].flatten(0, 1)
            return Output(self.head(self.head_norm(read)), None, None)
        if query.dim() == 2:
            x, tokens = (t.repeat_interleave(query.shape[1], dim=0) for t in (x, tokens))
            query = query.flatten()
            evidence = None if evidence is None else evidence.flatten()
        scores = self.router(tokens if self.router.reads_tokens else x, query)
        scores, picks, read = self._consult(scores, x, query, evidence)
        for _ in range(self.router.rounds - 1):
            scores = self.router.refine(scores, picks[:, : self.router_spec.k], read)
            scores, picks, read = self._consult(scores, x, query, evidence)
        if self.training and evidence is not None:
            self.router.observe(x.detach(), query, scores.detach(), evidence)
        logits = self.head(self.head_norm(read))
        return Output(logits, scores, picks, self.router_spec.granularity)

    def _consult(
        self,
        scores: torch.Tensor,
        x: torch.Tensor,
        query: torch.Tensor,
        evidence: torch.Tensor | None,
    ) -> tuple[torch.Tensor, torch.Tensor, torch.Tensor]:
        """The scores of candidates, the positions picked by them, and what the Council reads."""
        spec = self.router_spec
        expected = (len(query), -(-x.shape[1] // spec.granularity))
        if scores.shape != expected:
            raise ValueError(
                f"router: {spec.kind} has scores {tuple(scores.shape)} for (B, C) = {expected}"
            )
        scores = spec.mask(scores, query, evidence)
        picks = pick(scores.detach(), spec.k, spec.neighbours, spec.granularity, x.shape[1])
        return scores, picks, self.council(x, query, picks)
