"""A learned hash: tokens meet where they address the same slots of a product-key table (ours)."""

from __future__ import annotations

from typing import Literal

import torch
from pydantic import Field
from torch import nn

from fcilib.routers.router import SMALLEST, RouterModule, RouterSpec
from fcilib.specs.size import Size


class ProductKey(RouterSpec):
    """Product keys (Lample et al., 2019) in a hash's place: no token is compared with another.

    A token's address is split in two halves; each half is compared with `keys` learned keys, and a
    slot is a pair of keys, one from either side. A token divides itself among all keys^2 slots by a
    softmax. The query looks into the `reads` slots that it matches best, and a token's score is
    the log of its share in them. The paper leaves open "whether learned hashing can eliminate
    pairwise computation entirely" (section 5).
    """

    kind: Literal["product-key"] = "product-key"
    keys: int = Field(16, ge=1)
    """To each side: the table has as many slots as its square."""
    reads: int = Field(8, ge=1)

    def build(self, size: Size) -> RouterModule:
        return SlotScores(size.width, self)


class SlotScores(RouterModule):
    """Scores `(B, L)`, logs of shares in the slots that the query reads."""

    def __init__(self, width: int, spec: ProductKey) -> None:
        super().__init__()
        if width % 2:
            raise ValueError(f"width: {width} has no halves")
        self.reads = min(spec.reads, spec.keys**2)
        self.address = nn.Linear(width, width, bias=False)
        self.keys = nn.Parameter(torch.randn(2, spec.keys, width // 2) / (width // 2) ** 0.5)

    def forward(self, x: torch.Tensor, query: torch.Tensor) -> torch.Tensor:
        rows = torch.arange(len(x))
        halves = self.halves(x)  # (B, L, 2, K)
        slots, weights = self.best(halves[rows, query])
        shares = halves.softmax(dim=3)
        first, second = slots // halves.shape[3], slots % halves.shape[3]
        length = x.shape[1]
        of_first = shares[:, :, 0].gather(2, first.unsqueeze(1).expand(-1, length, -1))
        of_second = shares[:, :, 1].gather(2, second.unsqueeze(1).expand(-1, length, -1))
        met = (of_first * of_second * weights.unsqueeze(1)).sum(dim=2)
        return met.clamp(min=SMALLEST).log()

    def halves(self, x: torch.Tensor) -> torch.Tensor:
        """How well either half of each address matches each key: `(…, d)` to `(…, 2, K)`."""
        address = self.address(x).unflatten(-1, (2, -1))
        return torch.einsum("...sc,skc->...sk", address, self.keys)

    def best(self, halves: torch.Tensor) -> tuple[torch.Tensor, torch.Tensor]:
        """The best slots of `halves (B, 2, K)` and their softmax weights, each `(B, reads)`.

        A slot among the best has both keys among the best of their sides, so that `reads` keys of
        each side are all that has to be looked at.
        """
        number = halves.shape[2]
        values, keys = halves.topk(min(self.reads, number), dim=2)
        sums = (values[:, 0, :, None] + values[:, 1, None]).flatten(1)
        slots = (keys[:, 0, :, None] * number + keys[:, 1, None]).flatten(1)
        best = sums.topk(self.reads, dim=1)
        return slots.gather(1, best.indices), best.values.softmax(dim=1)
