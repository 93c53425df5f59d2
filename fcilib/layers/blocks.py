"""The Transformer's block, and the per-token network in it."""

from __future__ import annotations

import torch
from torch import nn


class FeedForward(nn.Sequential):
    """The Transformer's per-token network, width 4d, GELU: `(…, d)` to `(…, d)`."""

    def __init__(self, width: int) -> None:
        super().__init__(nn.Linear(width, 4 * width), nn.GELU(), nn.Linear(4 * width, width))


class Block(nn.Module):
    """Pre-norm block: x + mix(norm(x)), then x + feed_forward(norm(x)).

    `mix=None` leaves the tokens unmixed. `residual=False` drops the first sum, so that what the
    mixer writes is all that is left of a token. `feed_forward=False` leaves out the second.
    """

    def __init__(
        self,
        width: int,
        mix: nn.Module | None,
        residual: bool = True,
        feed_forward: bool = True,
    ) -> None:
        super().__init__()
        self.mix, self.residual = mix, residual
        self.mix_norm = nn.LayerNorm(width) if mix is not None else None
        self.feed_forward_norm = nn.LayerNorm(width) if feed_forward else None
        self.feed_forward = FeedForward(width) if feed_forward else None

    def forward(self, x: torch.Tensor) -> torch.Tensor:
        if self.mix is not None and self.mix_norm is not None:
            mixed = self.mix(self.mix_norm(x))
            x = x + mixed if self.residual else mixed
        if self.feed_forward is None or self.feed_forward_norm is None:
            return x
        return x + self.feed_forward(self.feed_forward_norm(x))
