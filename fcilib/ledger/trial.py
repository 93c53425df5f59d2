"""What runs lack to be a fair trial: the paper's sizes, its steps, a curve at rest."""

from __future__ import annotations

import math
import statistics
from collections.abc import Sequence

from fcilib.retrieval import Retrieval, RetrievalRecord
from fcilib.training.experiment import Experiment
from fcilib.training.records import Record

AT_REST = 0.01
"""A curve is at rest if its last tenth lies no more than a point above the tenth before it."""

DERIVED = dict.fromkeys(("largest_rise", "largest_fall", "best_precision"), "precision")
"""Metrics that are read off another's curve, which then has to be at rest."""

VALIDATION = 7405
"""Questions of HotpotQA's validation split."""


def shortfalls(
    runs: Sequence[Record | RetrievalRecord], paper: Experiment | Retrieval, metric: str
) -> tuple[str, ...]:
    """What a condition's runs lack, each as what is missing and what there is.

    Args:
        runs: one record for each seed.
        paper: the same condition at the paper's sizes.
        metric: what is claimed; where the curve has it, it must be at rest.
    """
    trained = [run for run in runs if isinstance(run, Record)]
    if not isinstance(paper, Experiment) or not trained:
        asked = min(run.validation for run in runs if isinstance(run, RetrievalRecord))
        return (f"{VALIDATION:,} questions (here {asked:,})",) if asked < VALIDATION else ()
    ours = trained[0].experiment
    sizes = [
        f"{name.replace('_', ' ')} {value} (here {here})"
        for name, value in dict(paper.task).items()
        if type(value) is int and value != (here := getattr(ours.task, name))
    ]
    if paper.width != ours.width:
        sizes.append(f"width {paper.width} (here {ours.width})")
    wanted, made = steps(paper), steps(ours)
    lacking = [f"the paper’s sizes: {', '.join(sizes)}"] if sizes else []
    if made < wanted:
        lacking.append(f"{wanted:,} training steps (here {made:,})")
    curves = [run.curve.get(DERIVED.get(metric, metric), ()) for run in trained]
    rise = max(map(still_rising, curves))
    if rise > AT_REST:
        lacking.append(f"a curve at rest (the last tenth rose by {100 * rise:.1f} points)")
    return tuple(lacking)


def steps(experiment: Experiment) -> int:
    """Optimiser steps of a whole training."""
    training = experiment.training
    return training.epochs * math.ceil(training.sequences / training.batch)


def still_rising(curve: Sequence[float]) -> float:
    """How far the mean of the last tenth lies above that of the tenth before it; 0 if too short."""
    tenth = max(1, len(curve) // 10)
    if len(curve) < 2 * tenth:
        return 0.0
    return statistics.fmean(curve[-tenth:]) - statistics.fmean(curve[-2 * tenth : -tenth])
