"""The frame all representations share: embed the tokens, then mix them, layer by layer."""

from __future__ import annotations

from typing import Literal

import torch
from torch import nn

from fcilib.spec import Size, Spec

Positions = Literal["learned", "none"]


class RepresentationSpec(Spec):
    """Maps tokens `(B, L)` to what the router looks at, `x (B, L, d)`."""

    positions: Positions = "learned"
    """Whether a learned vector per position is added to the token's vector."""

    def build(self, size: Size) -> nn.Module:
        """A module from tokens `(B, L)` int64 to `(B, L, d)`, freshly initialised."""
        raise NotImplementedError


class TokenEmbedding(nn.Module):
    """Token vectors, plus position vectors where asked: `(B, L)` to `(B, L, d)`."""

    def __init__(self, size: Size, positions: Positions) -> None:
        super().__init__()
        self.token = nn.Embedding(size.vocabulary, size.width)
        self.position = nn.Embedding(size.length, size.width) if positions == "learned" else None

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


class FeedForward(nn.Sequential):
    """The Transformer's per-token network, width 4d, GELU: `(…, d)` to `(…, d)`."""

    def __init__(self, width: int) -> None:
        super().__init__(nn.Linear(width, 4 * width), nn.GELU(), nn.Linear(4 * width, width))


class Block(nn.Module):
    """Pre-norm block: x + mix(norm(x)), then x + feed_forward(norm(x)).

    `mix=None` leaves the tokens unmixed. `residual=False` drops the first sum, so that what the
    mixer writes is all that is left of a token.
    """

    def __init__(self, width: int, mix: nn.Module | None, residual: bool = True) -> None:
        super().__init__()
        self.mix, self.residual = mix, residual
        self.mix_norm = nn.LayerNorm(width) if mix is not None else None
        self.feed_forward_norm = nn.LayerNorm(width)
        self.feed_forward = FeedForward(width)

    def forward(self, x: torch.Tensor) -> torch.Tensor:
        if self.mix is not None:
            mixed = self.mix(self.mix_norm(x))
            x = x + mixed if self.residual else mixed
        return x + self.feed_forward(self.feed_forward_norm(x))
