"""A study: a profile, seeds and a place for the records; what a chapter works with."""

from __future__ import annotations

import math
import os
import textwrap
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from functools import partial
from itertools import count
from pathlib import Path
from types import ModuleType
from typing import Any

import pandas as pd

from fcilib import retrieval
from fcilib.cost import Bench, Cost, find, measure
from fcilib.execution.executors import execute, parse
from fcilib.execution.progress import Progress, running
from fcilib.retrieval import METRICS, Retrieval, RetrievalRecord, Retriever, hotpotqa
from fcilib.storage.places import default_records
from fcilib.study.profiles import Profile, profile
from fcilib.training.experiment import Experiment
from fcilib.training.records import Record, Records

PARAMETERS = {"profile": (str,), "seeds": (int, list), "executor": (str,), "records": (str,)}
"""What a chapter's parameters cell sets, and of which types."""


@dataclass(frozen=True)
class Study:
    """Where a chapter's experiments get their sizes, and where their records are kept."""

    profile: str
    seeds: int
    """How many."""
    executor: str
    """`inline`, `process`, `ray` or `ray:ADDRESS`; see `fcilib.execution.executors.execute`."""
    records: Records
    chosen: tuple[int, ...] = ()
    """Which; as many as `seeds`, from 0 on, if left out."""

    def __post_init__(self) -> None:
        if not self.chosen:
            object.__setattr__(self, "chosen", tuple(range(self.seeds)))
        if len(self.chosen) != self.seeds:
            raise ValueError(f"seeds: {self.seeds}, and chosen are {self.chosen}")

    @classmethod
    def from_parameters(cls, namespace: Mapping[str, Any]) -> Study:
        """The study that a chapter's parameters ask for, from the notebook's `globals()`.

        To be called right after the parameters cell: any other plain variable is then a parameter
        that was mistyped. papermill only warns of those; here they stop the chapter.

        Raises:
            TypeError: an unknown parameter, a missing one, or one of another type.
            ValueError: a profile, seeds or an executor that can't be.
        """
        unknown = sorted(n for n, v in namespace.items() if _is_parameter(n, v))
        if unknown:
            raise TypeError(
                f"unknown parameter {', '.join(unknown)}; a chapter takes {', '.join(PARAMETERS)}"
            )
        for name, kinds in PARAMETERS.items():
            value = namespace.get(name)
            if type(value) not in kinds:
                wanted = " or ".join(kind.__name__ for kind in kinds)
                raise TypeError(f"parameter {name}: {value!r} is not of type {wanted}")
        chosen, size = _chosen(namespace["seeds"]), namespace["profile"]
        profile(size)
        parse(namespace["executor"])
        folder = Path(namespace["records"]) if namespace["records"] else default_records()
        return cls(size, len(chosen), namespace["executor"], Records(folder / size), chosen)

    @property
    def sizes(self) -> Profile:
        """The sizes of this study's profile."""
        return profile(self.profile)

    def __str__(self) -> str:
        """Profile, seeds and every size, for the head of a chapter."""
        sizes = self.sizes
        parts = {"evidence": sizes.evidence, "training": sizes.training}
        counted = self.chosen == tuple(range(self.seeds))
        seeds = self.seeds if counted else list(self.chosen)
        lines = [f"profile {self.profile}: width={sizes.width}, seeds={seeds}"]
        for name, part in parts.items():
            fields = ", ".join(f"{k}={v!r}" for k, v in part if k != "kind")
            lines += textwrap.wrap(f"{name}: {fields}", 76, subsequent_indent="    ")
        return "\n".join(lines)

    def experiment(self, **parts: Any) -> Experiment:
        """An experiment of this profile's sizes; `parts` are fields of `Experiment`.

        The task is the profile's Distant Evidence Retrieval unless another is given.
        """
        sizes = self.sizes
        start = {"task": sizes.evidence, "width": sizes.width, "training": sizes.training}
        return Experiment(**{**start, **parts})

    def run(self, conditions: Mapping[str, Experiment], seeds: int | None = None) -> Results:
        """Every condition under every seed: what is recorded is read, what is not is computed.

        Args:
            conditions: experiments by the name that tables and figures show them under.
            seeds: only so many of the study's seeds, the first ones, for what takes long.

        Raises:
            RecordError: a record can't be trusted.
            RunsFailed: some runs failed, as when a loss is not finite; all others are recorded.
            StoreError: the records can't be written.
            ModuleNotFoundError, ConnectionError: the executor is Ray, which is not installed, or
                no cluster answers.
        """
        runs = {
            (name, seed): experiment.with_seed(seed)
            for name, experiment in conditions.items()
            for seed in self.chosen[:seeds]
        }
        found = {key: self.records.find(e) for key, e in runs.items()}
        missing = {key: e for key, e in runs.items() if found[key] is None}
        if missing:
            names = {f"{name} (seed {seed})": e for (name, seed), e in missing.items()}
            with Progress(len(names), partial(running, names, self.records)) as progress:
                unique = list(dict.fromkeys(missing.values()))
                execute(unique, self.records, self.executor, progress.show)
            found |= {key: self.records.find(e) for key, e in missing.items()}
        return Results(found)

    def measure(self, bench: Bench) -> list[Cost]:
        """The bench, once for each seed; what is recorded is read, what is not is measured.

        One after another in this process whatever the executor, so that nothing else is timed.
        """
        folder = self.records.folder / "costs"
        repetitions = [bench.with_seed(seed) for seed in self.chosen]
        found = {b: find(b, folder) for b in repetitions}
        missing = [b for b, cost in found.items() if cost is None]
        if missing:
            total = len(missing) * len(bench.workloads) * len(bench.lengths)
            with Progress(total, unit="measurement") as progress:
                steps = count()
                for b in missing:
                    found[b] = measure(b, folder, lambda _: progress.show(next(steps)))
        return list(found.values())

    def retrieve(self, retrievers: Mapping[str, Retriever], picks: int = 2) -> Retrievals:
        """Every retriever on HotpotQA, under every seed if it draws, else once.

        Args:
            retrievers: by the name that tables and figures show them under.
            picks: segments, of a question's sixteen.

        The questions are those that `$FCI_HOTPOTQA` leads to; else those that the records of this
        profile were made from, where all are recorded; else what `hotpotqa.load` finds.
        """
        if self.profile == "smoke":
            return self._retrieve(retrievers, picks, hotpotqa.standin())
        if not os.environ.get(hotpotqa.VARIABLE):
            try:
                return self._retrieve(retrievers, picks, hotpotqa.SAMPLE)
            except LookupError:
                pass
        return self._retrieve(retrievers, picks, hotpotqa.load())

    def _retrieve(
        self,
        retrievers: Mapping[str, Retriever],
        picks: int,
        questions: hotpotqa.QuestionSet | hotpotqa.Known,
    ) -> Retrievals:
        folder, digest = self.records.folder / "retrievals", questions.digest
        runs = {
            (name, seed): Retrieval(retriever=retriever, questions=digest, picks=picks, seed=seed)
            for name, retriever in retrievers.items()
            for seed in (self.chosen if retriever.draws else (0,))
        }
        if isinstance(questions, hotpotqa.Known):
            found = {key: retrieval.find(run, folder) for key, run in runs.items()}
            if None in found.values():
                raise LookupError(f"{questions.name}: not all is recorded")
            return Retrievals(found)
        with Progress(len(runs), unit="retrieval") as progress:
            found = {}
            for key, run in runs.items():
                progress.show(len(found))
                found[key] = retrieval.retrieve(run, folder, lambda: questions)
        return Retrievals(found)

    def has(self, experiment: Experiment) -> bool:
        """Whether an experiment is recorded, under every seed of this study."""
        return all(self.records.find(experiment.with_seed(seed)) for seed in self.chosen)

    def run_protocols(
        self, protocols: Mapping[str, Mapping[str, Experiment]]
    ) -> dict[str, Results]:
        """As `run`, for conditions under several protocols, in one go that keeps all cores busy."""
        together = self.run(
            {
                f"{name}, {protocol}": experiment
                for protocol, conditions in protocols.items()
                for name, experiment in conditions.items()
            }
        ).records
        return {
            protocol: Results(
                {
                    (name, seed): together[f"{name}, {protocol}", seed]
                    for name in conditions
                    for seed in self.chosen
                }
            )
            for protocol, conditions in protocols.items()
        }


class Summarised:
    """Numbers by condition and seed."""

    @property
    def frame(self) -> pd.DataFrame:
        """One row per condition and seed, with whatever was measured in columns."""
        raise NotImplementedError

    def summary(self, metric: str) -> pd.DataFrame:
        """Mean, standard deviation over seeds (NaN for one seed) and n, by condition, in order."""
        grouped = self.frame.groupby("condition", sort=False)[metric]
        return grouped.agg(mean="mean", sd="std", n="count")


@dataclass(frozen=True)
class Retrievals(Summarised):
    """Finished retrievals by (condition, seed)."""

    records: Mapping[tuple[str, int], RetrievalRecord]

    @property
    def frame(self) -> pd.DataFrame:
        """One row per retrieval: condition, seed, every metric, also on what it was trained on
        (`…_train`), the exact chance of each (`…_chance`), and how far chance scatters
        (`…_chance_error`).
        """
        kinds = {
            "": "metrics",
            "_train": "train_metrics",
            "_chance": "chance",
            "_chance_error": "chance_error",
        }
        return pd.DataFrame(
            {
                "condition": name,
                "seed": seed,
                **{
                    f"{metric}{end}": getattr(record, kind).get(metric, math.nan)
                    for end, kind in kinds.items()
                    for metric in METRICS
                },
            }
            for (name, seed), record in self.records.items()
        )

    @property
    def questions(self) -> RetrievalRecord:
        """A record, for what all of them say of the questions alike."""
        return next(iter(self.records.values()))


@dataclass(frozen=True)
class Results(Summarised):
    """Finished runs by (condition, seed)."""

    records: Mapping[tuple[str, int], Record]

    def __or__(self, other: Results) -> Results:
        """The runs of both."""
        return Results({**self.records, **other.records})

    @property
    def frame(self) -> pd.DataFrame:
        """One row per run: condition, seed, and its `numbers`."""
        rows = [
            {"condition": name, "seed": seed, **numbers(record)}
            for (name, seed), record in self.records.items()
        ]
        return pd.DataFrame(rows)

    @property
    def curves(self) -> pd.DataFrame:
        """One row per run and epoch (from 1): condition, seed, epoch, every metric, the loss."""
        parts = []
        for (name, seed), record in self.records.items():
            part = pd.DataFrame(record.curve)
            part.insert(0, "epoch", range(1, len(part) + 1))
            part.insert(0, "seed", seed)
            part.insert(0, "condition", name)
            parts.append(part)
        return pd.concat(parts, ignore_index=True)

    def probe(self, name: str) -> pd.DataFrame:
        """One row per run and entry of a probe that is a list: condition, seed, index from 1."""
        rows = [
            {"condition": condition, "seed": seed, "index": index, name: value}
            for (condition, seed), record in self.records.items()
            for index, value in enumerate(record.probes.get(name, ()), start=1)
        ]
        return pd.DataFrame(rows, columns=["condition", "seed", "index", name])


def numbers(record: Record) -> dict[str, float]:
    """Every number of a run: its metrics, its probes of one number, what it cost.

    `rank_share` is the probe `rank_90` as a share of the width. Of the precision by epoch:
    `largest_rise` and `largest_fall` from one epoch to the next, the first from zero, and
    `best_precision`.
    """
    curve = record.curve.get("precision", [])
    steps = [after - before for before, after in zip([0.0, *curve], curve, strict=False)]
    return {
        **record.metrics,
        **{n: v for n, v in record.probes.items() if not isinstance(v, list)},
        "rank_share": record.probes.get("rank_90", math.nan) / record.experiment.width,
        "largest_rise": max(steps, default=math.nan),
        "largest_fall": max((-step for step in steps), default=math.nan),
        "best_precision": max(curve, default=math.nan),
        "parameters": record.parameters,
        "seconds": record.seconds,
    }


def _chosen(seeds: int | Sequence[int]) -> tuple[int, ...]:
    """The seeds that the parameter names: so many, from 0 on, or a list of them."""
    if isinstance(seeds, int):
        if seeds < 1:
            raise ValueError(f"parameter seeds: {seeds} is less than one")
        return tuple(range(seeds))
    if not seeds or any(type(seed) is not int or seed < 0 for seed in seeds):
        raise ValueError(f"parameter seeds: {seeds} is no list of whole numbers from 0 up")
    if len(set(seeds)) < len(seeds):
        raise ValueError(f"parameter seeds: {seeds} names one more than once")
    return tuple(seeds)


def _is_parameter(name: str, value: Any) -> bool:
    """Whether a notebook's global looks like an unknown parameter."""
    shell = name.startswith("_") or name in ("In", "Out", "exit", "quit", "get_ipython", "open")
    defined = isinstance(value, (type, ModuleType)) or callable(value)
    return not (shell or defined or name in PARAMETERS)
