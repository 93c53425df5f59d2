"""A bank of slots between the query and the tokens (paper, section 4.3)."""

from __future__ import annotations

from typing import Literal

import torch
from pydantic import Field
from torch import nn

from fcilib.routers.router import SMALLEST, RouterModule, RouterSpec
from fcilib.specs.size import Size


class MemoryBank(RouterSpec):
    """Tokens write to a fixed number of slots, the query reads the slots; no token meets another.

    A read is traced back to who wrote: a token's score is the log of its share in what was read.
    The paper says "memory banks" and their 12%; write, read and trace are ours, after the content
    addressing of neural Turing machines (Graves et al., 2014).
    """

    kind: Literal["memory"] = "memory"
    slots: int = Field(16, ge=1)

    def build(self, size: Size) -> RouterModule:
        return MemoryScores(size.width, self.slots)


class MemoryScores(RouterModule):
    """Scores `(B, L)`, logs of numbers that sum to one: S slots, O(S n)."""

    def __init__(self, width: int, slots: int) -> None:
        super().__init__()
        self.address = nn.Linear(width, slots)
        self.value = nn.Linear(width, width)
        self.query = nn.Linear(width, width)

    def forward(self, x: torch.Tensor, query: torch.Tensor) -> torch.Tensor:
        written = self.address(x).log_softmax(dim=2)  # each token writes one part in all
        share = written.softmax(dim=1)  # (B, L, S): how much of a slot is each token's
        bank = share.transpose(1, 2) @ self.value(x)  # (B, S, d)
        asking = self.query(x[torch.arange(len(x)), query]).unsqueeze(2)
        read = (bank @ asking / x.shape[2] ** 0.5).softmax(dim=1)  # (B, S, 1)
        return (share @ read).squeeze(2).clamp(min=SMALLEST).log()
