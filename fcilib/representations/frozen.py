"""Hidden states of a pretrained language model that is not trained any further (paper, 4.7)."""

from __future__ import annotations

from dataclasses import replace
from typing import Literal

import torch
from pydantic import Field, model_validator
from torch import nn

from fcilib import backbones
from fcilib.backbones import Backbone, Weights
from fcilib.layers.attention import RankOneAttention, SelfAttention, SparseAttention
from fcilib.layers.blocks import Block
from fcilib.representations.base import RepresentationModule, RepresentationSpec
from fcilib.specs.size import Size
from fcilib.tasks import Batch


class Frozen(RepresentationSpec):
    """A frozen backbone, a linear map to width d, and a layer on top where a bridge is asked for.

    The paper adds "one bidirectional attention layer" and gives no more. Here the states are
    normalised, projected, and put through one Transformer block whose attention is the bridge's.
    Tokens of a task become ids of the backbone's own vocabulary by `FrozenBackbone.ids`.
    """

    kind: Literal["frozen"] = "frozen"
    positions: Literal["learned", "none"] = "none"
    """Whether the bridge is told positions besides what the states say of them."""
    backbone: Backbone
    weights: Weights = "pretrained"
    """`"random"`, a control: the same architecture before any training."""
    layer: int = -1
    """Whose output is taken: the last layer's; 0 are the backbone's token embeddings, a control
    that is as wide and as pretrained, and has no context."""
    bridge: Literal["none", "full", "sparse", "rank-one"] = "none"
    heads: int = Field(4, ge=1)

    @model_validator(mode="after")
    def _has_no_embeddings(self) -> Frozen:
        for name in ("embedding_scale", "embeddings", "vectors"):
            if getattr(self, name) != type(self).model_fields[name].default:
                raise ValueError(f"{name}: a frozen backbone brings its own token vectors")
        return self

    def build(self, size: Size) -> RepresentationModule:
        return FrozenStates(size, self)


class FrozenStates(RepresentationModule):
    """`(B, L)` tokens, or the `(B, L, w)` states that `prepare` made of them, to `(B, L, d)`."""

    def __init__(self, size: Size, spec: Frozen) -> None:
        super().__init__()
        self.size, self.spec = size, spec
        wide = backbones.width(spec.backbone)
        self.norm = nn.LayerNorm(wide)
        self.project = nn.Linear(wide, size.width)
        learned = spec.positions == "learned"
        self.position = nn.Embedding(size.length, size.width) if learned else None
        mixers = {
            "full": lambda: SelfAttention(size.width, spec.heads),
            "sparse": lambda: SparseAttention(size, spec.heads),
            "rank-one": lambda: RankOneAttention(size.width, spec.heads),
        }
        mixer = mixers.get(spec.bridge)
        self.bridge = nn.Identity() if mixer is None else Block(size.width, mixer())

    def forward(self, tokens: torch.Tensor) -> torch.Tensor:
        states = tokens if tokens.is_floating_point() else self.states(tokens)
        x = self.project(self.norm(states.to(self.project.weight.dtype)))
        if self.position is not None:
            x = x + self.position.weight[: x.shape[1]]
        return self.bridge(x)

    def states(self, tokens: torch.Tensor) -> torch.Tensor:
        """The backbone's hidden states `(B, L, w)` bf16 of tokens `(B, L)`."""
        spec = self.spec
        backbone = backbones.load(spec.backbone, spec.weights)
        return backbone.states(tokens, self.size.vocabulary, spec.layer)

    def prepare(self, batch: Batch) -> Batch:
        """The batch with hidden states in place of its tokens: computed once, and kept on disk."""
        spec = self.spec
        what = spec.model_dump(mode="json", include={"backbone", "weights", "layer"})
        what["vocabulary"] = self.size.vocabulary
        what["fingerprint"] = backbones.fingerprint(spec.backbone, spec.weights)
        return replace(batch, tokens=backbones.cached(what, batch.tokens, self.states))
