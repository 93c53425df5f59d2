"""What a sweep at the paper's sizes would cost: arithmetic on the times of a smaller one.

    python -m fcilib.study.extrapolation

measures, one run after another and on one thread, how far the arithmetic is right.
"""

from __future__ import annotations

import heapq
from collections.abc import Iterable
from itertools import chain

import torch

from fcilib.representations import Attention, Embedding, Flow, Perceiver
from fcilib.routers import Investigator
from fcilib.storage.places import default_records
from fcilib.study.profiles import PROFILES, Profile
from fcilib.tasks import Task
from fcilib.training.experiment import Experiment, Training
from fcilib.training.records import Records
from fcilib.training.run import run_one

MEASURED, EXTRAPOLATED = PROFILES["quick"], PROFILES["paper"]

PAIRWISE = ("ablated-attention", "attention", "frozen", "hybrid")
"""Representations in which tokens may meet in pairs."""

GPU_SPEEDUP = 20.0
"""Assumed, not measured: how many times as fast as a core a GPU would be."""


MACHINES = {"2 CPU cores": (2, 1.0), "64 CPU cores": (64, 1.0), "8 GPUs": (8, GPU_SPEEDUP)}
"""Where a sweep might run: runs at a time, and how many times as fast as a measured core."""

CHECKED = {
    "raw embeddings": Embedding(),
    "attention, two layers": Attention(layers=2),
    "Perceiver": Perceiver(),
    "bidirectional Mamba": Flow(bidirectional=True),
}
"""Representations whose times are measured at both sizes, in short runs."""

SHORT = {"quick": 3200, "paper": 1280}
"""Sequences of such a run."""

REPEATS = 3
"""Times that each is measured; the fastest counts."""


def has_sizes(experiment: Experiment) -> bool:
    """Whether the profiles have a size for its task; they have none for a reader's own."""
    tasks = (getattr(p, experiment.task.kind, None) for p in (MEASURED, EXTRAPOLATED))
    return all(isinstance(task, Task) for task in tasks)


def factors(experiment: Experiment) -> tuple[float, float]:
    """How many times as long a run should take at the paper's sizes: a low and a high estimate.

    Steps grow as sequences x epochs. For the low one, a step grows as L x d; for the high one as
    L x d², or where tokens meet in pairs as L² x d if that is more. With a frozen backbone the low
    one is a single pass through it, sequences x L: its width is its own, and what it says is kept
    for all epochs. Only for what `has_sizes`.
    """
    (steps, length, width), (steps_0, length_0, width_0) = (
        _sizes(experiment, profile) for profile in (EXTRAPOLATED, MEASURED)
    )
    more, longer, wider = steps / steps_0, length / length_0, width / width_0
    low, high = more * longer * wider, more * longer * wider**2
    if experiment.representation.kind in PAIRWISE:
        high = max(high, more * longer**2 * wider)
    if experiment.representation.kind == "frozen":
        passed, passed_0 = (_training(experiment, p).sequences for p in (EXTRAPOLATED, MEASURED))
        low = passed / passed_0 * longer
    return low, high


def _training(experiment: Experiment, profile: Profile) -> Training:
    """Such an experiment's training under a profile."""
    if experiment.representation.kind == "frozen":
        long = experiment.training.sequences == MEASURED.bridged.sequences
        return profile.bridged if long else profile.frozen
    return profile.climbing if experiment.task.kind == "ladder" else profile.training


def _sizes(experiment: Experiment, profile: Profile) -> tuple[int, int, int]:
    """Sequences x epochs, L and d of such an experiment under a profile."""
    training = _training(experiment, profile)
    length = getattr(profile, experiment.task.kind).length
    return training.sequences * training.epochs, length, profile.width


def makespan(seconds: Iterable[float], places: int) -> float:
    """When the last of some runs is finished, if each starts as soon as there is a place for it.

    The longest go first.
    """
    free = [0.0] * places
    for run in sorted(seconds, reverse=True):
        heapq.heapreplace(free, free[0] + run)
    return max(free)


def checks(name: str, profile: str) -> list[Experiment]:
    """The short runs of one representation at one size, one for each repetition."""
    sizes, sequences = PROFILES[profile], SHORT[profile]
    return [
        Experiment(
            task=sizes.evidence,
            width=sizes.width,
            representation=CHECKED[name],
            router=Investigator(),
            training=Training(sequences=sequences, epochs=1, held_out=sequences // 8),
            seed=seed,
        )
        for seed in range(REPEATS)
    ]


def seconds_a_sequence(records: Records, name: str, profile: str) -> float | None:
    """The fastest of the repetitions; None where one is missing."""
    runs = [records.find(experiment) for experiment in checks(name, profile)]
    seconds = [run.seconds for run in runs if run is not None]
    return min(seconds) / SHORT[profile] if len(seconds) == len(runs) else None


if __name__ == "__main__":
    torch.set_num_threads(1)
    scaling = Records(default_records() / "scaling")
    for pairs in (zip(*(checks(name, p) for p in SHORT), strict=True) for name in CHECKED):
        for experiment in chain.from_iterable(pairs):
            run_one(experiment, scaling)
