"""AdamW under a OneCycle schedule."""

from __future__ import annotations

from collections.abc import Iterable
from typing import Any

from torch import nn
from torch.optim import AdamW
from torch.optim.lr_scheduler import OneCycleLR


def one_cycle(
    parameters: Iterable[nn.Parameter], learning_rate: float, steps: int, **options: Any
) -> tuple[AdamW, OneCycleLR]:
    """AdamW with its `options`, and a schedule of `steps` that rises to `learning_rate`."""
    optimizer = AdamW(parameters, learning_rate, **options)
    return optimizer, OneCycleLR(optimizer, learning_rate, total_steps=steps)
