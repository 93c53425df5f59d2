"""From segments to answers: a reader answers from what a retriever picked.

    question   -> retriever -> two of sixteen segments -> reader -> answer
                               is the answer in them?              is it right?

Whether the answer stands in what was picked is counted over all validation questions; the reader,
which takes a second for each, is given some of them, always the same.
"""

from __future__ import annotations

import time
from collections.abc import Callable, Iterable, Sequence
from pathlib import Path
from statistics import fmean
from typing import Literal

import numpy as np
import torch
from pydantic import Field

from fcilib.retrieval import answers, scoring
from fcilib.retrieval.picking import Picking
from fcilib.retrieval.questions import QuestionSet
from fcilib.retrieval.reader import AnyReader, LanguageModel
from fcilib.retrieval.retriever import Pair
from fcilib.retrieval.retrievers import AnyRetriever
from fcilib.retrieval.segments import Segments
from fcilib.routers.router import TIE
from fcilib.storage.sealed import rounded
from fcilib.storage.store import BaseRecord, Store
from fcilib.system.machine import provenance

Source = AnyRetriever | Literal["gold", "nothing"]
"""Where the reader's segments come from: who picks them, all that are gold, or none at all."""


class Reading(Picking):
    """Who picks segments, and who answers from them, for which questions."""

    source: Source
    reader: AnyReader = LanguageModel()
    read: int = Field(300, ge=0)
    """Questions that the reader answers; of fewer, all. With 0 nobody reads."""

    @property
    def draws(self) -> bool:
        """True if the result depends on the seed; ties are too few to count."""
        return not isinstance(self.source, str) and self.source.draws


class ReadingRecord(BaseRecord):
    """What one reading leaves behind, question by question."""

    subject = "reading"

    reading: Reading
    name: str
    note: str
    """What the questions are."""
    validation: int
    held: str
    """A character for each validation question: "1", its answer stands in a picked segment; "0", it
    does not; "-", its answer is yes or no, and need not stand anywhere."""
    held_chance: float
    """The share of "1" among "1" and "0" that random picks reach, by counting."""
    closed: str
    """A character for each question read: "1" where its answer is yes or no, else "0"."""
    exact: str
    """A character for each question read: "1" where the reader's answer is the right one."""
    f1: list[float]
    """Of each question read."""
    first: list[str]
    """The reader's first answers."""
    seconds: float


FIRST = 20
"""Answers that a record keeps as text."""


def read(reading: Reading, folder: Path, questions: Callable[[], QuestionSet]) -> ReadingRecord:
    """The reading's record in `folder`; made first where there is none.

    Raises:
        RecordError: there is a record, but it can't be trusted.
        StoreError: the folder can't be written.
        BackboneError: the reader or the retriever needs a package that is missing.
        ValueError: `questions()` returns others than the reading names.
    """
    lock = folder / ".cache" / f"{reading.identity}.lock"  # of its own: it takes minutes
    return Store(folder, ReadingRecord).find_or_make(
        reading, lambda: _run(reading, questions()), lock
    )


def find_reading(reading: Reading, folder: Path) -> ReadingRecord | None:
    """The reading's record, or None. Raises RecordError where it can't be trusted."""
    return Store(folder, ReadingRecord).find(reading)


def chosen(validation: int, read: int) -> list[int]:
    """Which of so many validation questions a reader answers, by index: always the same ones."""
    rng = torch.Generator().manual_seed(0)
    return sorted(torch.randperm(validation, generator=rng)[:read].tolist())


def picked(scores: np.ndarray, pick: int, rng: torch.Generator) -> list[int]:
    """The `pick` segments of highest score, in the order of the text; ties are drawn for.

    Scores tie as they do in `scoring.score`. All segments where there are fewer.
    """
    pick = min(pick, len(scores))
    last, slack = np.sort(scores)[-pick], TIE * np.abs(scores).max()
    sure = np.flatnonzero(scores > last + slack)
    tied = np.flatnonzero(np.abs(scores - last) <= slack)
    drawn = torch.randperm(len(tied), generator=rng)[: pick - len(sure)]
    return sorted([*sure.tolist(), *tied[drawn.numpy()].tolist()])


def _run(reading: Reading, questions: QuestionSet) -> ReadingRecord:
    begun = time.perf_counter()
    validation, train = reading.pairs(questions)
    handed = _handed(reading, validation, train)
    closed = [answers.is_closed(q.answer) for q, _ in validation]
    held = [
        any(answers.holds(cut.texts[at], q.answer) for at in picks)
        for (q, cut), picks in zip(validation, handed, strict=True)
    ]
    chances = [
        scoring.chance(_holding(pair), reading.picks)["any_hit"]
        for pair, is_closed in zip(validation, closed, strict=True)
        if not is_closed
    ]
    asked = chosen(len(validation), reading.read)
    replies = reading.reader.answers(
        [
            (question.question, [cut.texts[at] for at in handed[number]])
            for number, (question, cut) in ((number, validation[number]) for number in asked)
        ]
    )
    pairs = [(reply, validation[n][0].answer) for reply, n in zip(replies, asked, strict=True)]
    return ReadingRecord(
        reading=reading,
        name=questions.name,
        note=questions.note,
        validation=len(validation),
        held="".join("-" if c else str(int(h)) for h, c in zip(held, closed, strict=True)),
        held_chance=rounded(fmean(chances or [0.0])),
        closed=_bits(closed[number] for number in asked),
        exact=_bits(answers.exact_match(*pair) for pair in pairs),
        f1=[round(answers.f1(*pair), 4) for pair in pairs],
        first=replies[:FIRST],
        seconds=round(time.perf_counter() - begun, 1),
        **provenance(),
    )


def _handed(reading: Reading, pairs: Sequence[Pair], train: Sequence[Pair]) -> list[list[int]]:
    """Which segments of each question the reader is handed, in the order of the text."""
    if reading.source == "nothing":
        return [[] for _ in pairs]
    if reading.source == "gold":
        return [sorted(cut.gold) for _, cut in pairs]
    rng = torch.Generator().manual_seed(reading.seed)
    scores = reading.source.score(pairs, train, reading.seed)
    return [picked(np.asarray(row, dtype=float), reading.picks, rng) for row in scores]


def _holding(pair: Pair) -> Segments:
    """The same segments, gold where they hold the answer."""
    question, cut = pair
    holding = (n for n, text in enumerate(cut.texts) if answers.holds(text, question.answer))
    return Segments(cut.texts, frozenset(holding))


def _bits(values: Iterable[bool]) -> str:
    return "".join(str(int(value)) for value in values)
