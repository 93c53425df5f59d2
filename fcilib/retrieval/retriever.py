"""What every retriever is: a description that scores the segments of a question's context."""

from __future__ import annotations

from collections.abc import Sequence

import numpy as np
import torch

from fcilib.retrieval.questions import Question
from fcilib.retrieval.segments import Segments
from fcilib.specs.spec import Spec

Pair = tuple[Question, Segments]
"""A question and its context, cut."""


class Retriever(Spec):
    """Scores the segments of each question's context; the best are picked."""

    @property
    def draws(self) -> bool:
        """True if the result depends on the seed."""
        return False

    def score(
        self,
        pairs: Sequence[Pair],
        train: Sequence[Pair],
        seed: int,
    ) -> list[np.ndarray]:
        """For each question `(n,)` scores of its n segments.

        Args:
            pairs: the questions that are reported on, each with its segments.
            train: others, for what is learned.
            seed: of whatever is drawn.
        """
        raise NotImplementedError


def gold_loss(scores: torch.Tensor, present: torch.Tensor, gold: torch.Tensor) -> torch.Tensor:
    """How little of the softmax lies on gold segments: a mean over questions, in nats.

    Args:
        scores: `(B, n)`.
        present: `(B, n)` bool; False where a question has fewer segments than n.
        gold: `(B, n)` bool; some of each question.
    """
    shares = scores.masked_fill(~present, float("-inf")).log_softmax(dim=1)
    return -shares.masked_fill(~gold, float("-inf")).logsumexp(dim=1).mean()
