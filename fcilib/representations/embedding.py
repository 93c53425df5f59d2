"""No preprocessing: what a token is, and where it stands."""

from __future__ import annotations

from typing import Literal

import torch
from pydantic import Field, model_validator

from fcilib.layers.blocks import Block
from fcilib.representations.base import Layers, RepresentationSpec, TokenEmbedding
from fcilib.specs.size import Size

LIKENESS = 0.8


class Embedding(RepresentationSpec):
    """Raw embeddings (paper, section 4.1); with `positions="none"` its "content-only" condition.

    `layers` adds blocks without any mixing: depth and parameters, but no context. That control is
    ours, not the paper's.
    """

    kind: Literal["embedding"] = "embedding"
    layers: int = Field(0, ge=0)
    tokens: Literal["learned", "none"] = "learned"
    """`"none"`: positions alone, without a look at any token. What a router reaches on those is
    known beforehand, from where a task puts its evidence."""
    alike: int = Field(1, ge=1)
    """Structured initialisation: runs of that many token ids, from 1, start from vectors whose
    cosine is about `LIKENESS`. The paper's "structured embedding initialization" (section 5) is not
    defined there; this one gives away the classes of a task whose `class_size` is the same."""

    @model_validator(mode="after")
    def _something_is_left(self) -> Embedding:
        if self.tokens == self.positions == "none":
            raise ValueError("tokens: without tokens and without positions nothing is embedded")
        if self.alike > 1 and self.vectors != "drawn":
            raise ValueError("alike: only vectors that are drawn can be drawn alike")
        return self

    def build(self, size: Size) -> Layers:
        embedding = TokenEmbedding(size, self)
        if self.alike > 1:
            liken(embedding.token.weight, self.alike, self.embedding_scale)
        if self.tokens == "none":
            embedding.token.weight.requires_grad_(False).zero_()
        blocks = [Block(size.width, mix=None) for _ in range(self.layers)]
        return Layers(embedding, *blocks)


@torch.no_grad()
def liken(vectors: torch.Tensor, alike: int, scale: float = 1.0) -> None:
    """Pull runs of `alike` rows of `(V, d)`, from row 1, towards a shared vector, in place.

    `scale` is the standard deviation of the rows, before and after.
    """
    shared = (
        scale * torch.randn_like(vectors)[(torch.arange(len(vectors)) - 1).clamp(min=0) // alike]
    )
    vectors[1:] = LIKENESS**0.5 * shared[1:] + (1 - LIKENESS) ** 0.5 * vectors[1:]
