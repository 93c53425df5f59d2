"""Questions over a text of sentences, some of which are needed for the answer."""

from __future__ import annotations

import hashlib
import json
from dataclasses import dataclass
from functools import cached_property

SPLITS = ("train", "validation")


@dataclass(frozen=True)
class Question:
    """A question and its context. Raises ValueError unless `supporting` names some sentences."""

    id: str
    question: str
    answer: str
    sentences: tuple[str, ...]
    """Of all paragraphs, in order, as the source has them: some are empty or only white space."""
    supporting: frozenset[int]
    """Which of `sentences` are needed to answer, by index."""

    def __post_init__(self) -> None:
        if not self.supporting or not self.supporting <= set(range(len(self.sentences))):
            raise ValueError(
                f"{self.id}: supporting: {sorted(self.supporting)} are not one or more of its "
                f"{len(self.sentences)} sentences"
            )


@dataclass(frozen=True)
class QuestionSet:
    """Questions to train on and to report on, and what they are."""

    name: str
    train: tuple[Question, ...]
    validation: tuple[Question, ...]
    note: str
    """A sentence to be put beside every figure measured on them."""
    dropped: int = 0
    """Questions left out because a supporting fact does not name one sentence of their context."""

    @cached_property
    def digest(self) -> str:
        """16 hexadecimal digits for the questions and how many were left out, whatever the source.

        What is left of a set is not that set: its figures have records of their own.
        """
        sha = hashlib.sha256()
        for split in SPLITS:
            for q in getattr(self, split):
                row = [split, q.id, q.question, q.answer, q.sentences, sorted(q.supporting)]
                sha.update((json.dumps(row, separators=(",", ":")) + "\n").encode())
        if self.dropped:
            sha.update(f"dropped {self.dropped}\n".encode())
        return sha.hexdigest()[:16]
