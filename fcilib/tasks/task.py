"""What every task is: sizes, and a draw of examples that the seed alone decides."""

from __future__ import annotations

import torch

from fcilib.specs.spec import Spec
from fcilib.tasks.batch import Batch, Split, generator


class Task(Spec):
    """Draws examples: a sequence, the position that asks, and the one a router should pick.

    A task gives `kind`, `length` and `vocabulary` its own defaults and bounds, refuses an
    impossible layout with a `ValueError` that names the field, and writes `examples`.
    """

    kind: str
    length: int
    """L, tokens in a sequence."""
    vocabulary: int
    """V, number of token ids, markers included: every token and every label is in [0, V)."""

    @property
    def classes(self) -> int:
        """Number of labels a prediction head must tell apart."""
        return self.vocabulary

    def draw(self, count: int, seed: int, split: Split = "train") -> Batch:
        """Draw `count` examples; the same arguments give the same bytes, whatever ran before.

        Args:
            count: number of sequences, B.
            seed: any integer from 0 on.
            split: `"train"` and `"test"` are independent streams of the same seed.

        Returns:
            Batch: tokens `(B, L)` int64; query, evidence and label `(B,)`, or `(B, N)` where a
            sequence holds N questions; and the positions of look-alikes where the task has some,
            the evidence first.
        """
        return self.examples(count, generator(seed, split))

    def examples(self, count: int, rng: torch.Generator) -> Batch:
        """Draw `count` examples; all that is random comes from `rng`."""
        raise NotImplementedError
