"""A study: a profile, seeds and a place for the records; what a chapter works with."""

from __future__ import annotations

import os
import textwrap
from collections.abc import Callable, Mapping
from dataclasses import dataclass
from functools import partial
from itertools import count
from pathlib import Path
from typing import Any, TypeVar

from fcilib import retrieval
from fcilib.cost import Bench, Cost, find_cost, measure_cost
from fcilib.execution.executors import execute
from fcilib.execution.progress import Progress, running
from fcilib.retrieval import (
    Reading,
    ReadingRecord,
    Retrieval,
    RetrievalRecord,
    hotpotqa,
)
from fcilib.retrieval.questions import QuestionSet
from fcilib.retrieval.reader import LanguageModel, OpeningWords
from fcilib.retrieval.reading import Source
from fcilib.retrieval.retrievers import AnyRetriever
from fcilib.storage.places import WEIGHTS_VARIABLE, records_folder
from fcilib.study.parameters import DEFAULTS, demand_parameters, demand_values, seed_numbers
from fcilib.study.profiles import Profile, profile
from fcilib.study.results import Readings, Results, Retrievals
from fcilib.system.device import check_device
from fcilib.training.experiment import Experiment
from fcilib.training.records import Record, Records


@dataclass(frozen=True)
class Study:
    """Where a chapter's experiments get their sizes, and where their records are kept."""

    profile: str
    chosen: tuple[int, ...]
    """The seeds."""
    executor: str
    """`inline`, `process`, `ray` or `ray:ADDRESS`; see `fcilib.execution.executors.execute`."""
    records: Records
    device: str = DEFAULTS["device"]
    """`cpu`, `cuda`, `cuda:N` or `auto`: where what is not recorded is trained."""

    @classmethod
    def from_parameters(cls, namespace: Mapping[str, Any]) -> Study:
        """The study that a chapter's parameters ask for, from the notebook's `globals()`.

        A chapter calls it right after its parameters cell, so that any other plain variable is a
        mistyped parameter. papermill only warns of those; here they stop the chapter. In a kernel
        that already has a `study` the cells ran before, and their names are let pass.

        Where other records than the repository's are named, weights of our own pretrained models
        are kept beside them as well: `$FCI_BACKBONES` is set, unless it is, for this process and
        those it starts.

        Raises:
            TypeError: an unknown parameter, a missing one, or one of another type.
            ValueError: a profile, seeds, an executor or a device that can't be.
        """
        demand_parameters(namespace, again=isinstance(namespace.get("study"), cls))
        demand_values(namespace)
        size, seeds = namespace["profile"], seed_numbers(namespace["seeds"])
        device = check_device(namespace.get("device", DEFAULTS["device"]))
        folder = records_folder(namespace["records"])
        if namespace["records"]:
            os.environ.setdefault(WEIGHTS_VARIABLE, str(folder.resolve() / "backbones"))
        return cls(size, seeds, namespace["executor"], Records(folder / size), device)

    @property
    def seeds(self) -> int:
        """The number of seeds."""
        return len(self.chosen)

    @property
    def as_published(self) -> bool:
        """Whether profile and seeds are among those of the book, whose prose a chapter checks."""
        return self.profile == "quick" and self.chosen == tuple(range(self.seeds))

    @property
    def sizes(self) -> Profile:
        """The sizes of this study's profile."""
        return profile(self.profile)

    def __str__(self) -> str:
        """Profile, seeds and every size, for the head of a chapter."""
        sizes = self.sizes
        counted = self.chosen == tuple(range(self.seeds))
        seeds = self.seeds if counted else list(self.chosen)
        lines = [f"profile {self.profile}: width={sizes.width}, seeds={seeds}"]
        if self.profile == "smoke":
            lines.append("smoke shows that all works; its numbers and conclusions mean nothing")
        for name, part in ("evidence", sizes.evidence), ("training", sizes.training):
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
            ValueError: `seeds` is less than one.
            RecordError: a record can't be trusted.
            RunsFailed: some runs failed, as when a loss is not finite; all others are recorded.
            StoreError: the records can't be written.
            ModuleNotFoundError, ConnectionError: the executor is Ray, which is not installed, or
                no cluster answers.
        """
        if seeds is not None and seeds < 1:
            raise ValueError(f"seeds: {seeds} is less than one")
        runs = {
            (name, seed): experiment.with_seed(seed)
            for name, experiment in conditions.items()
            for seed in self.chosen[:seeds]
        }
        records = self._recorded(runs)
        missing = {key: e for key, e in runs.items() if key not in records}
        if missing:
            names = {f"{name} (seed {seed})": e for (name, seed), e in missing.items()}
            with Progress(len(names), partial(running, names, self.records)) as progress:
                unique = list(dict.fromkeys(missing.values()))
                execute(unique, self.records, self.executor, progress.show, self.device)
            records |= self._recorded(missing)
        return Results({key: records[key] for key in runs})

    def _recorded(
        self, runs: Mapping[tuple[str, int], Experiment]
    ) -> dict[tuple[str, int], Record]:
        """The records of those runs that have one."""
        return {key: record for key, e in runs.items() if (record := self.records.find(e))}

    def measure(self, bench: Bench) -> list[Cost]:
        """The bench, once for each seed; what is recorded is read, what is not is measured.

        One after another in this process whatever the executor, so that nothing else is timed.
        """
        folder = self.records.folder / "costs"
        repetitions = {seed: bench.with_seed(seed) for seed in self.chosen}
        costs = {seed: c for seed, b in repetitions.items() if (c := find_cost(b, folder))}
        missing = {seed: b for seed, b in repetitions.items() if seed not in costs}
        if missing:
            total = len(missing) * len(bench.workloads) * len(bench.lengths)
            with Progress(total, unit="measurement") as progress:
                steps = count()
                for seed, b in missing.items():
                    costs[seed] = measure_cost(b, folder, lambda _: progress.show(next(steps)))
        return [costs[seed] for seed in self.chosen]

    def retrieve(self, retrievers: Mapping[str, AnyRetriever], picks: int = 2) -> Retrievals:
        """Every retriever on HotpotQA, under every seed if it draws, else once.

        Args:
            retrievers: by the name that tables and figures show them under.
            picks: segments, of a question's sixteen.

        The questions are those that `$FCI_HOTPOTQA` leads to; else, at profile smoke, the stand-in;
        else those that the records of this profile were made from, where all are recorded; else
        what `hotpotqa.load` finds.
        """
        folder = self.records.folder / "retrievals"
        runs = {
            (name, seed): Retrieval(
                retriever=retriever, questions=hotpotqa.SAMPLE.digest, picks=picks, seed=seed
            )
            for name, retriever in retrievers.items()
            for seed in (self.chosen if retriever.draws else (0,))
        }
        find, make = retrieval.find, retrieval.retrieve
        return Retrievals(_asked(self.profile, "retrieval", runs, folder, find, make))

    def read(self, sources: Mapping[str, Source], questions: int = 300) -> Readings:
        """What a reader answers from the segments of each source, under the first seed.

        The questions are found as in `retrieve`. At profile smoke a stand-in reads.

        Args:
            sources: by the name that tables and figures show them under.
            questions: how many are read; 0 where only what the segments hold is asked.
        """
        reader = OpeningWords() if self.profile == "smoke" else LanguageModel()
        runs = {
            name: Reading(
                source=source, reader=reader, questions=hotpotqa.SAMPLE.digest, read=questions
            )
            for name, source in sources.items()
        }
        first = self.chosen[0]
        runs = {name: run.with_seed(first) if run.draws else run for name, run in runs.items()}
        folder = self.records.folder / "readings"
        find, make = retrieval.find_reading, retrieval.read
        return Readings(_asked(self.profile, "reading", runs, folder, find, make))

    def has(self, experiment: Experiment) -> bool:
        """Whether an experiment is recorded, under every seed of this study."""
        return all(self.records.find(experiment.with_seed(seed)) for seed in self.chosen)

    def run_protocols(
        self, protocols: Mapping[str, Mapping[str, Experiment]]
    ) -> dict[str, Results]:
        """As `run`, for conditions under several protocols, in one go that keeps all cores busy.

        Raises ValueError where two pairs of a condition and its protocol read alike: "a, b" under
        "c", and "a" under "b, c".
        """
        joint = {
            f"{name}, {protocol}": experiment
            for protocol, conditions in protocols.items()
            for name, experiment in conditions.items()
        }
        if len(joint) < sum(map(len, protocols.values())):
            raise ValueError(f"names of conditions and protocols read alike: {', '.join(joint)}")
        together = self.run(joint).records
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


Run = TypeVar("Run", Retrieval, Reading)
Kept = TypeVar("Kept", RetrievalRecord, ReadingRecord)
Key = TypeVar("Key")


def _asked(
    size: str,
    unit: str,
    runs: Mapping[Key, Run],
    folder: Path,
    find: Callable[[Run, Path], Kept | None],
    make: Callable[[Run, Path, Callable[[], QuestionSet]], Kept],
) -> dict[Key, Kept]:
    """Records of runs over questions: those of the sample where all of them are found, else made.

    `Study.retrieve` says which questions they are made from; `unit` is what a run is called.
    """
    if os.environ.get(hotpotqa.VARIABLE):
        questions = hotpotqa.load()
    elif size == "smoke":
        questions = hotpotqa.standin()
    else:
        known = {key: record for key, run in runs.items() if (record := find(run, folder))}
        if len(known) == len(runs):
            return known
        questions = hotpotqa.load()
    records: dict[Key, Kept] = {}
    with Progress(len(runs), unit=unit) as progress:
        for key, run in runs.items():
            progress.show(len(records))
            named = run.model_copy(update={"questions": questions.digest})
            records[key] = make(named, folder, lambda: questions)
    return records
