"""One direction or both: a mixer that reads from left to right, and one from right to left."""

from __future__ import annotations

from collections.abc import Callable

import torch
from torch import nn


class Directions(nn.Module):
    """`(B, L, d)` to `(B, L, d)`; with both directions the sum of two mixers of their own weights.

    `make` makes a causal mixer. The second one is given the sequence backwards.
    """

    def __init__(self, make: Callable[[], nn.Module], both: bool) -> None:
        super().__init__()
        self.forwards = make()
        self.backwards = make() if both else None

    def forward(self, x: torch.Tensor) -> torch.Tensor:
        y = self.forwards(x)
        if self.backwards is None:
            return y
        return y + self.backwards(x.flip(1)).flip(1)
