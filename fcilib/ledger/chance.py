"""The chance level of a claim's metric by counting, at the size measured and at the paper's."""

from __future__ import annotations

from functools import cache

from fcilib.ledger.agreement import Level
from fcilib.ledger.catalogue import Decider, catalogue
from fcilib.ledger.claims import Claim
from fcilib.retrieval import RetrievalRecord
from fcilib.study.profiles import PROFILES
from fcilib.training.experiment import Experiment
from fcilib.training.records import Record

PRECISIONS = (
    "precision",
    "precision_tie_lost",
    "precision_tie_won",
    "random_form_precision",
    "best_precision",
    "largest_rise",
)
"""Metrics that are one in the number of candidates where picks are random. The last is the rise
from zero to that level, in the first epoch."""

COUNTS_AS = {"random_form_precision": "precision"}
"""Metrics that a random router's run does not have, and which of its metrics is their chance."""


def level(
    claim: Claim, run: Record | RetrievalRecord | Experiment, paper: Decider | None = None
) -> Level | None:
    """Chance at a run's size and at the paper's; None if the claim says that it has none.

    Args:
        claim: what the level is for.
        run: a run of any condition that is held against the claim.
        paper: the same condition at the paper's sizes; that of the claim's first if left out.

    Raises:
        ValueError: the claim's metric has no chance that is known, and the claim does not say so.
    """
    if not claim.chance or claim.statistic == "sd":
        return None
    if isinstance(run, RetrievalRecord):  # exact, of its own questions
        return Level(run.chance[claim.metric], run.chance[claim.metric])
    experiment = run if isinstance(run, Experiment) else run.experiment
    if not isinstance(paper, Experiment):
        paper = _at_papers_size(claim.decided_by[0])
    return Level(counted(experiment, claim.metric), counted(paper, claim.metric))


def counted(experiment: Experiment, metric: str) -> float:
    """What picks or answers at random give of a metric. Raises ValueError if that is not known."""
    if metric == "accuracy":
        return 1 / experiment.task.classes
    router = experiment.router
    if router is None:
        raise ValueError(f"metric: {metric} has no chance without a router")
    candidates = -(-(router.within or experiment.task.length) // router.granularity)
    if router.candidates == "others" and router.granularity == 1 and not router.within:
        candidates -= 1  # the query itself
    if metric in PRECISIONS:
        return 1 / candidates
    if metric == "precision_at_k":
        return min(router.k / candidates, 1.0)
    if metric == "largest_fall":
        return 0.0
    if metric == "place":
        return (candidates + 1) / 2
    raise ValueError(f"metric: the chance of {metric} is not known")


@cache
def _at_papers_size(name: str) -> Experiment:
    """A training of the catalogue at the paper's sizes."""
    decider = next(iter(catalogue(PROFILES["paper"])[name].under.values()))
    if not isinstance(decider, Experiment):
        raise TypeError(f"name: {name!r} is no training")
    return decider
