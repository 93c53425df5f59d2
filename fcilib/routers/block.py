"""Comparison within a few blocks, chosen by compressed keys, as in MoBA and NSA (ours)."""

from __future__ import annotations

from typing import Literal

import torch
from pydantic import Field
from torch import nn

from fcilib.routers.investigator import PairwiseScores
from fcilib.routers.router import RouterModule, RouterSpec
from fcilib.routers.segment import cut
from fcilib.specs.size import Size


class BlockRouter(RouterSpec):
    """Eq. 1 on the tokens of the `blocks` best blocks, the query's own among them.

    A block is chosen by Eq. 1 as well, with a compressed key for the whole block. With
    `compression="mean"` that is the mean of its vectors, as in mixture of block attention (Lu et
    al., 2025): the choice itself passes no gradient. With `"learned"` it is what a small network
    makes of them in their order, as in native sparse attention (Yuan et al., 2025); the block's
    score is then added to those of its tokens, so that the network learns. All other tokens get
    minus infinity.
    """

    kind: Literal["block"] = "block"
    block: int = Field(8, ge=1)
    """Tokens in a block; the last one may be shorter."""
    blocks: int = Field(3, ge=1)
    """Blocks whose tokens are compared; all of them, if there are fewer."""
    compression: Literal["mean", "learned"] = "mean"
    heads: int = Field(4, ge=1)

    def build(self, size: Size) -> RouterModule:
        return BlockScores(size.width, self)


class BlockScores(RouterModule):
    """Scores `(B, L)`, minus infinity outside the chosen blocks."""

    def __init__(self, width: int, spec: BlockRouter) -> None:
        super().__init__()
        self.block, self.blocks = spec.block, spec.blocks
        self.pairwise = PairwiseScores(width, spec.heads)
        self.compress = None
        if spec.compression == "learned":
            self.places = nn.Parameter(torch.randn(spec.block, width) / width**0.5)
            self.compress = nn.Sequential(
                nn.Linear(spec.block * width, 2 * width), nn.GELU(), nn.Linear(2 * width, width)
            )

    def forward(self, x: torch.Tensor, query: torch.Tensor) -> torch.Tensor:
        asking = x[torch.arange(len(x)), query]
        parts, held = cut(x, query, self.block, "all")
        gate = self.pairwise.compare(asking, self.summaries(parts, held))
        own = (query // self.block).unsqueeze(1)
        number = min(self.blocks, gate.shape[1])
        best = gate.detach().scatter(1, own, float("inf")).topk(number, dim=1).indices
        chosen = torch.zeros_like(gate, dtype=torch.bool).scatter(1, best, True)
        scores = self.pairwise.compare(asking, x)
        if self.compress is not None:
            scores = scores + self._by_token(gate, x.shape[1])
        return scores.masked_fill(~self._by_token(chosen, x.shape[1]), float("-inf"))

    def summaries(self, parts: torch.Tensor, held: torch.Tensor) -> torch.Tensor:
        """A vector for each block, `(B, n, d)`, of its vectors `(B, n, block, d)`."""
        if self.compress is not None:
            return self.compress((parts + self.places).flatten(2))
        return parts.sum(dim=2) / held.sum(dim=2, keepdim=True)

    def _by_token(self, of_blocks: torch.Tensor, length: int) -> torch.Tensor:
        """`(B, n)` to `(B, L)`: what holds of a block, of each of its tokens."""
        return of_blocks.repeat_interleave(self.block, dim=1)[:, :length]
