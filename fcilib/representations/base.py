"""The frame all representations share: embed the tokens, then mix them, layer by layer."""

from __future__ import annotations

from typing import Any, Literal

import torch
from pydantic import Field
from torch import nn

from fcilib.backbones import near_synonyms
from fcilib.layers.blocks import Block
from fcilib.specs.size import Size
from fcilib.specs.spec import Spec
from fcilib.tasks import Batch

Positions = Literal["learned", "sinusoidal", "none"]


class RepresentationSpec(Spec):
    """Maps tokens `(B, L)` to what the router looks at, `x (B, L, d)`."""

    kind: str
    positions: Positions = "learned"
    """What is added to a token's vector: a learned vector per position, the sines and cosines of
    Vaswani et al. (2017), which are not learned, or nothing."""
    embedding_scale: float = Field(1.0, gt=0)
    """Standard deviation of the vectors of tokens and positions before training."""
    embeddings: Literal["trained", "frozen"] = "trained"
    """`"frozen"`: the vectors of tokens and positions stay as they were drawn."""
    vectors: Literal["drawn", "minilm"] = "drawn"
    """Token vectors before training: drawn at random, or MiniLM's of words that form classes of
    four near-synonyms (`fcilib.backbones.near_synonyms`), the marker's alone drawn."""

    @property
    def depth(self) -> int:
        """Layers that mix tokens: how much there is to compute, before any of it is built."""
        return getattr(self, "layers", 1)

    def build(self, size: Size) -> RepresentationModule:
        """A module from tokens `(B, L)` int64 to `(B, L, d)`, freshly initialised."""
        raise NotImplementedError


class StackSpec(RepresentationSpec):
    """A representation that is a stack of like layers above the token vectors."""

    layers: int = Field(1, ge=0)

    def layer(self, size: Size) -> nn.Module:
        """One layer, `(B, L, d)` to `(B, L, d)`, freshly initialised."""
        raise NotImplementedError

    def build(self, size: Size) -> RepresentationModule:
        # The layers draw their weights before the embedding does; recorded runs depend on it.
        layers = [self.layer(size) for _ in range(self.layers)]
        return Layers(TokenEmbedding(size, self), *layers)


class BlockSpec(StackSpec):
    """A stack of Transformer blocks, with something else in the place of attention."""

    feed_forward: bool = True
    """Whether a block ends with its per-token network; Zoology's models have none."""

    def mixers(self, size: Size) -> tuple[nn.Module, ...]:
        """What mixes tokens in a layer, `(B, L, d)` to `(B, L, d)`, freshly drawn: a block each."""
        raise NotImplementedError

    def layer(self, size: Size) -> nn.Module:
        mixers = self.mixers(size)
        blocks = [Block(size.width, mixer, feed_forward=self.feed_forward) for mixer in mixers]
        return blocks[0] if len(blocks) == 1 else nn.Sequential(*blocks)


class RepresentationModule(nn.Module):
    """A representation's parameters, and what it does before a model is trained on it."""

    def prepare(self, batch: Batch) -> Batch:
        """The batch as `forward` will be given it: what can be computed once is put in place."""
        return batch

    def pretrain(self, data: Batch) -> None:
        """Train on the prepared training sequences alone, before router and Council are there."""


class Layers(nn.Sequential, RepresentationModule):
    """A representation that is its layers, one after the other: the embedding first."""


class TokenEmbedding(nn.Module):
    """Token vectors, plus position vectors where asked: `(B, L)` to `(B, L, d)`."""

    def __init__(self, size: Size, spec: RepresentationSpec) -> None:
        super().__init__()
        self.token = nn.Embedding(size.vocabulary, size.width)
        self.position: Any = None  # vectors of positions, where they are asked for
        if spec.positions != "none":
            self.position = nn.Embedding(size.length, size.width)
        with torch.no_grad():
            if spec.positions == "sinusoidal":
                self.position.weight.copy_(sinusoids(size.length, size.width))
            if spec.vectors == "minilm":
                self.token.weight[1:] = near_synonyms.vectors(size.vocabulary, size.width)
            for vectors in self.parameters():
                vectors.mul_(spec.embedding_scale)
        self.requires_grad_(spec.embeddings == "trained")
        if spec.positions == "sinusoidal":
            self.position.requires_grad_(False)

    def forward(self, tokens: torch.Tensor) -> torch.Tensor:
        x = self.token(tokens)
        if self.position is None:
            return x
        if tokens.shape[1] > self.position.num_embeddings:
            raise ValueError(
                f"tokens: {tokens.shape[1]} positions, but only "
                f"{self.position.num_embeddings} have a learned vector"
            )
        return x + self.position.weight[: tokens.shape[1]]


def sinusoids(length: int, width: int) -> torch.Tensor:
    """Sines and cosines of every position, `(L, d)`, in geometrically spaced frequencies.

    A shift by one position is the same rotation of these vectors wherever it happens. They are
    scaled to a mean square of one, that of freshly drawn token vectors.
    """
    half = -(-width // 2)
    angles = torch.arange(length)[:, None] / 10000 ** (torch.arange(half) / half)
    waves = torch.cat([angles.sin(), angles.cos()], dim=1)[:, :width]
    return 2**0.5 * waves
