"""One retrieval: find its record, or pick segments for every question and write one."""

from __future__ import annotations

import time
from collections.abc import Callable, Iterable, Iterator
from pathlib import Path

from fcilib.retrieval.picking import Picking
from fcilib.retrieval.questions import QuestionSet
from fcilib.retrieval.retriever import Pair
from fcilib.retrieval.retrievers import AnyRetriever
from fcilib.retrieval.scoring import METRICS, chance, score, variance
from fcilib.storage.sealed import rounded
from fcilib.storage.store import BaseRecord, Store
from fcilib.system.machine import provenance


class Retrieval(Picking):
    """Who picks how many segments, for which questions."""

    retriever: AnyRetriever


class RetrievalRecord(BaseRecord):
    """What one retrieval leaves behind."""

    subject = "retrieval"

    retrieval: Retrieval
    name: str
    note: str
    """What the questions are."""
    train: int
    validation: int
    metrics: dict[str, float]
    """Means over the validation questions."""
    train_metrics: dict[str, float]
    """Over the train questions: for what is learned, those that it has seen."""
    chance: dict[str, float]
    """The mean over the same questions of each one's exact chance."""
    chance_error: dict[str, float]
    """The standard deviation of such a mean, were every pick made at random."""
    gold: float
    """Gold segments of a question, on average."""
    cut: float
    """Segments of a question, on average."""
    seconds: float


def retrieve(
    retrieval: Retrieval, folder: Path, questions: Callable[[], QuestionSet]
) -> RetrievalRecord:
    """The retrieval's record in `folder`; made first where there is none.

    Raises:
        RecordError: there is a record, but it can't be trusted.
        StoreError: the folder can't be written.
        ValueError: `questions()` returns others than the retrieval names.
    """
    store, lock = Store(folder, RetrievalRecord), folder / ".cache" / "lock"
    return store.find_or_make(retrieval, lambda: _run(retrieval, questions()), lock)


def find(retrieval: Retrieval, folder: Path) -> RetrievalRecord | None:
    """The retrieval's record, or None. Raises RecordError where it can't be trusted."""
    return Store(folder, RetrievalRecord).find(retrieval)


def _run(retrieval: Retrieval, questions: QuestionSet) -> RetrievalRecord:
    begun = time.perf_counter()
    validation, train = retrieval.pairs(questions)
    metrics, train_metrics = (
        _mean(_scored(retrieval, split, train)) for split in (validation, train)
    )
    chances = [chance(cut, retrieval.picks) for _, cut in validation]
    variances = [variance(cut, retrieval.picks) for _, cut in validation]
    measured = {
        "metrics": metrics,
        "train_metrics": train_metrics,
        "chance": _mean(chances),
        "chance_error": {
            name: sum(v[name] for v in variances) ** 0.5 / len(validation) for name in METRICS
        },
        "gold": sum(len(cut.gold) for _, cut in validation) / len(validation),
        "cut": sum(len(cut) for _, cut in validation) / len(validation),
    }
    return RetrievalRecord(
        retrieval=retrieval,
        name=questions.name,
        note=questions.note,
        train=len(questions.train),
        validation=len(questions.validation),
        seconds=round(time.perf_counter() - begun, 1),
        **rounded(measured),
        **provenance(),
    )


def _scored(
    retrieval: Retrieval, split: list[Pair], train: list[Pair]
) -> Iterator[dict[str, float]]:
    """The metrics of each question of a split. Raises ValueError by a question's id."""
    if not split:
        return
    rows = retrieval.retriever.score(split, train, retrieval.seed)
    for row, (question, segments) in zip(rows, split, strict=True):
        try:
            yield score(row, segments, retrieval.picks)
        except ValueError as error:
            raise ValueError(f"question {question.id}: {error}") from error


def _mean(rows: Iterable[dict[str, float]]) -> dict[str, float]:
    """The mean of each metric; empty where there are no rows."""
    rows = list(rows)
    return {name: sum(row[name] for row in rows) / len(rows) for name in METRICS} if rows else {}
