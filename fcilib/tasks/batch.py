"""What a task hands to a model, and how tasks draw at random."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass, fields, replace
from typing import Any, Literal

import torch

Split = Literal["train", "test"]


@dataclass(frozen=True)
class Batch:
    """B examples of a routing task."""

    tokens: torch.Tensor
    """`(B, L)` int64 token ids."""
    query: torch.Tensor
    """`(B,)` int64, q: the position that asks; `(B, N)` where each sequence holds N questions."""
    evidence: torch.Tensor
    """As `query`, a: the position a router should pick."""
    label: torch.Tensor
    """As `query`, the token to predict at q."""
    lookalikes: torch.Tensor | None = None
    """`(B, n)` int64, the positions that a glance could take for the evidence, itself among them;
    None where the task has no such positions."""

    def __len__(self) -> int:
        return len(self.label)

    def __getitem__(self, index: torch.Tensor | slice) -> Batch:
        return self._each(lambda part: part[index])

    @property
    def first(self) -> Batch:
        """The same sequences with one question each, the first of those they hold."""
        if self.query.dim() == 1:
            return self
        query, evidence, label = (t[:, 0] for t in (self.query, self.evidence, self.label))
        return replace(self, query=query, evidence=evidence, label=label)

    def to(self, device: torch.device) -> Batch:
        """The same examples on another device."""
        return self._each(lambda part: part.to(device))

    def copy_(self, other: Batch) -> None:
        """Take over the examples of a batch of the same shapes, wherever they are."""
        for field in fields(self):
            part = getattr(self, field.name)
            if part is not None:
                part.copy_(getattr(other, field.name))

    def _each(self, change: Callable[[torch.Tensor], torch.Tensor]) -> Batch:
        parts = (getattr(self, field.name) for field in fields(self))
        changed: Any = (None if part is None else change(part) for part in parts)
        return Batch(*changed)


def generator(seed: int, split: Split) -> torch.Generator:
    """A generator of its own for one stream of one seed.

    Raises ValueError on a negative seed, and on a split that is neither "train" nor "test".
    """
    if split not in ("train", "test"):
        raise ValueError(f'split: {split!r} is neither "train" nor "test"')
    if seed < 0:
        raise ValueError(f"seed: {seed} is negative")
    return torch.Generator().manual_seed(2 * seed + (split == "test"))
