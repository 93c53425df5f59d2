"""One retrieval: find its record, or pick segments for every question and write one."""

from __future__ import annotations

import time
from collections.abc import Callable
from pathlib import Path

import numpy as np
from pydantic import BaseModel, ConfigDict, Field

from fcilib.retrieval import hotpotqa
from fcilib.retrieval.hotpotqa import QuestionSet, Segments
from fcilib.retrieval.retrievers import AnyRetriever
from fcilib.specs.identity import Numerical
from fcilib.storage.files import locked, sweep, write_atomic
from fcilib.storage.sealed import find_sealed, rounded, seal_model
from fcilib.system.machine import provenance

METRICS = ("any_hit", "all_hit", "segment_recall")


class Retrieval(Numerical):
    """Who picks how many segments, for which questions."""

    retriever: AnyRetriever
    questions: str
    """The digest of a `QuestionSet`; its validation split is reported on."""
    segments: int = Field(16, ge=1)
    """Into how many runs of whole sentences a context is cut; the paper's number."""
    picks: int = Field(2, ge=1)
    """The paper's number, too."""
    seed: int = Field(0, ge=0)


class RetrievalRecord(BaseModel):
    """What one retrieval leaves behind."""

    model_config = ConfigDict(extra="forbid", strict=True)

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
    device: str
    finished: str
    """UTC, to the second."""
    versions: dict[str, str]


def retrieve(
    retrieval: Retrieval, folder: Path, questions: Callable[[], QuestionSet]
) -> RetrievalRecord:
    """The retrieval's record in `folder`; made first where there is none.

    Raises:
        RecordError: there is a record, but it can't be trusted.
        StoreError: the folder can't be written.
        ValueError: what `questions()` gives are others than the retrieval names.
    """
    if record := find(retrieval, folder):
        return record
    given = questions()
    if given.digest != retrieval.questions:
        raise ValueError(
            f"questions: {given.name} ({given.digest}) are not those of {retrieval.questions}"
        )
    path = folder / f"{retrieval.identity}.json"
    with locked(folder / ".cache" / "lock"):
        sweep(path)
        if record := find(retrieval, folder):
            return record
        record = _run(retrieval, given)
        write_atomic(path, seal_model(record))
        return record


def find(retrieval: Retrieval, folder: Path) -> RetrievalRecord | None:
    """The retrieval's record, or None. Raises RecordError where it can't be trusted."""
    path = folder / f"{retrieval.identity}.json"
    return find_sealed(path, RetrievalRecord, "retrieval", retrieval)


def _run(retrieval: Retrieval, questions: QuestionSet) -> RetrievalRecord:
    begun = time.perf_counter()
    asked, train = (
        [(q, hotpotqa.segments(q, retrieval.segments)) for q in split]
        for split in (questions.validation, questions.train)
    )
    metrics, train_metrics = (
        _means(
            [
                hotpotqa.score(best(row, retrieval.picks), cut)
                for row, (_, cut) in zip(
                    retrieval.retriever.score(split, train, retrieval.seed), split, strict=True
                )
            ]
        )
        for split in (asked, train)
    )
    chances = [hotpotqa.chance(cut, retrieval.picks) for _, cut in asked]
    variances = [_variance(cut, retrieval.picks) for _, cut in asked]
    measured = {
        "metrics": metrics,
        "train_metrics": train_metrics,
        "chance": _means(chances),
        "chance_error": {
            name: sum(v[name] for v in variances) ** 0.5 / len(asked) for name in METRICS
        },
        "gold": sum(len(cut.gold) for _, cut in asked) / len(asked),
        "cut": sum(len(cut) for _, cut in asked) / len(asked),
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


def best(scores: np.ndarray, picks: int) -> list[int]:
    """The segments with the highest scores; of equal ones those that come first."""
    return np.argsort(-np.asarray(scores), kind="stable")[:picks].tolist()


def _means(rows: list[dict[str, float]]) -> dict[str, float]:
    if not rows:
        return {}
    return {name: sum(row[name] for row in rows) / len(rows) for name in METRICS}


def _variance(cut: Segments, picks: int) -> dict[str, float]:
    """Of each metric of one question, where the segments are picked at random."""
    chance = hotpotqa.chance(cut, picks)
    found = {name: chance[name] * (1 - chance[name]) for name in ("any_hit", "all_hit")}
    # The number of gold segments among the picked is hypergeometric.
    n, g, p = len(cut), len(cut.gold), min(picks, len(cut))
    spread = p * g / n * (1 - g / n) * (n - p) / (n - 1) if n > 1 else 0.0
    return {**found, "segment_recall": spread / g**2}
