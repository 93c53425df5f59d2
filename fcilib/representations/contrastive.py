"""Embeddings pretrained to match, without ever being mixed (paper, section 4.4)."""

from __future__ import annotations

from typing import Literal

import torch
from pydantic import Field, model_validator
from torch import nn
from torch.nn import functional as F

from fcilib.representations.base import RepresentationModule, RepresentationSpec, TokenEmbedding
from fcilib.specs.size import Size
from fcilib.tasks import Batch


class Contrastive(RepresentationSpec):
    """Projected embeddings, pretrained with InfoNCE on (query, evidence) pairs.

    Each query is to be matched with its own evidence among those of its batch, by cosine over
    `temperature` (van den Oord et al., 2018). Then the router is trained on top: with `frozen` the
    representation stays as pretrained, else it is fine-tuned by both losses. Temperature,
    projection and negatives are ours; the paper gives the loss only. Before pretraining the
    projection is the identity, so that nothing a raw embedding knows is lost beforehand.
    """

    kind: Literal["contrastive"] = "contrastive"
    frozen: bool = True
    epochs: int = Field(5, ge=0)
    """Passes of pretraining over the training sequences."""
    batch: int = Field(32, ge=2)
    learning_rate: float = Field(1e-3, gt=0)
    temperature: float = Field(0.1, gt=0)

    @model_validator(mode="after")
    def _pretraining_trains(self) -> Contrastive:
        if self.embeddings == "frozen":
            raise ValueError("embeddings: pretraining trains them; `frozen` keeps them afterwards")
        return self

    def build(self, size: Size) -> RepresentationModule:
        return MatchedEmbedding(size, self)


class MatchedEmbedding(RepresentationModule):
    """`(B, L)` to `(B, L, d)`: a linear map of each token's own vector."""

    def __init__(self, size: Size, spec: Contrastive) -> None:
        super().__init__()
        self.spec = spec
        self.embedding = TokenEmbedding(size, spec)
        self.project = nn.Linear(size.width, size.width, bias=False)
        nn.init.eye_(self.project.weight)
        self._learnable = [p for p in self.parameters() if p.requires_grad]
        self._train(not spec.frozen)

    def forward(self, tokens: torch.Tensor) -> torch.Tensor:
        return self.project(self.embedding(tokens))

    def pretrain(self, data: Batch) -> None:
        """Adam on InfoNCE for the spec's epochs, in an order of torch's current random state."""
        self._train(True)
        optimizer = torch.optim.Adam(self._learnable, lr=self.spec.learning_rate)
        for _ in range(self.spec.epochs):
            for index in torch.randperm(len(data)).split(self.spec.batch):
                optimizer.zero_grad()
                self.loss(data[index]).backward()
                optimizer.step()
        self._train(not self.spec.frozen)
        self.zero_grad()

    def _train(self, wanted: bool) -> None:
        """Ask for gradients, or not, of all but what is never learned: fixed position vectors."""
        for parameter in self._learnable:
            parameter.requires_grad_(wanted)

    def loss(self, batch: Batch) -> torch.Tensor:
        """InfoNCE: cross-entropy of each query's cosines with all evidence of the batch."""
        x = F.normalize(self(batch.tokens), dim=2)
        rows = torch.arange(len(batch))
        cosines = x[rows, batch.query] @ x[rows, batch.evidence].T
        return F.cross_entropy(cosines / self.spec.temperature, rows)
