"""What runs lack to be a fair trial: the paper's sizes, its steps; and if their curves rest."""

from __future__ import annotations

import statistics
from collections.abc import Sequence

from fcilib.retrieval import Retrieval, RetrievalRecord
from fcilib.training.experiment import Experiment
from fcilib.training.records import Record

DERIVED = dict.fromkeys(("largest_rise", "largest_fall", "best_precision"), "precision")
"""Metrics that are read off another's curve, which then has to be at rest."""

RESTS_AS = {**DERIVED, "most_gain": "precision"}
"""The curve that has to be at rest for a metric that has none of its own."""

VALIDATION = 7405
"""Questions of HotpotQA's validation split."""


def shortfalls(
    runs: Sequence[Record | RetrievalRecord], paper: Experiment | Retrieval
) -> tuple[str, ...]:
    """What a condition's runs lack, each as what is missing and what there is.

    Args:
        runs: one record for each seed.
        paper: the same condition at the paper's sizes.
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
    wanted, made = paper.training.steps, ours.training.steps
    lacking = [f"the paper’s sizes: {', '.join(sizes)}"] if sizes else []
    if made < wanted:
        lacking.append(f"{wanted:,} training steps (here {made:,})")
    return tuple(lacking)


def drift(curve: Sequence[float]) -> float:
    """How far apart the means of the last tenth and the tenth before lie; 0 if it is too short.

    A curve that falls is no more at rest than one that rises.
    """
    tenth = max(1, len(curve) // 10)
    if len(curve) < 2 * tenth:
        return 0.0
    return abs(statistics.fmean(curve[-tenth:]) - statistics.fmean(curve[-2 * tenth : -tenth]))


def largest_drift(runs: Sequence[Record | RetrievalRecord], metric: str) -> float:
    """The drift of the seed that drifts most, of a metric or of the one that it is read off.

    0 for what has no curve.
    """
    trained = [run for run in runs if isinstance(run, Record)]
    curves = (run.curve.get(RESTS_AS.get(metric, metric), ()) for run in trained)
    return max(map(drift, curves), default=0.0)
