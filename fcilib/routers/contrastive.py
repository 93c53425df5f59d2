"""The Investigator with projections that were pretrained to match, and then kept (section 4.4)."""

from __future__ import annotations

from typing import Literal

import torch
from pydantic import Field
from torch.nn import functional as F

from fcilib.routers.investigator import Investigator, PairwiseScores
from fcilib.routers.router import Represent, RouterModule
from fcilib.specs.size import Size
from fcilib.tasks import Batch


class ContrastiveInvestigator(Investigator):
    """Eq. 1 with W_q and W_k from InfoNCE; the routing loss never changes them.

    The paper's contrastive pretraining "only trains projections on unmodified representations".
    This is the reading where those are the router's own: each query, seen through W_q, is to be
    matched with its own evidence, seen through W_k, among the evidence of its batch, by cosine over
    `temperature`. Vectors stay as they were initialised while the projections are pretrained.
    Temperature, optimiser and negatives are ours; the paper gives the loss only.
    """

    kind: Literal["contrastive-investigator"] = "contrastive-investigator"  # type: ignore[assignment]
    epochs: int = Field(5, ge=0)
    """Passes of pretraining over the training sequences."""
    batch: int = Field(32, ge=2)
    learning_rate: float = Field(1e-3, gt=0)
    temperature: float = Field(0.1, gt=0)

    def build(self, size: Size) -> RouterModule:
        return MatchedProjections(size.width, self)


class MatchedProjections(PairwiseScores):
    """W_q and W_k, which `pretrain` alone ever changes."""

    def __init__(self, width: int, spec: ContrastiveInvestigator) -> None:
        super().__init__(width, spec.heads)
        self.spec = spec
        self.requires_grad_(False)

    def pretrain(self, represent: Represent, data: Batch) -> None:
        """Adam on InfoNCE for the spec's epochs, in an order of torch's current random state."""
        self.requires_grad_(True)
        optimizer = torch.optim.Adam(self.parameters(), lr=self.spec.learning_rate)
        for _ in range(self.spec.epochs):
            for index in torch.randperm(len(data)).split(self.spec.batch):
                with torch.no_grad():
                    x = represent(data.tokens[index])
                optimizer.zero_grad()
                self.loss(x, data.query[index], data.evidence[index]).backward()
                optimizer.step()
        self.zero_grad()
        self.requires_grad_(False)

    def loss(self, x: torch.Tensor, query: torch.Tensor, evidence: torch.Tensor) -> torch.Tensor:
        """InfoNCE: cross-entropy of each query's cosines with all evidence of the batch."""
        rows = torch.arange(len(x))
        asking = F.normalize(self.query(x[rows, query]), dim=1)
        matched = F.normalize(self.key(x[rows, evidence]), dim=1)
        return F.cross_entropy(asking @ matched.T / self.spec.temperature, rows)
