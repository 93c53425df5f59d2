"""What the records of a profile say of a claim: one finding for each condition and reading."""

from __future__ import annotations

import math
import statistics
from collections.abc import Iterator, Mapping
from dataclasses import dataclass

from fcilib import retrieval
from fcilib.backbones import HubModel
from fcilib.ledger.agreement import Level
from fcilib.ledger.catalogue import Condition, Decider, chance_of
from fcilib.ledger.chance import COUNTS_AS, level
from fcilib.ledger.claims import Claim
from fcilib.ledger.intervals import Interval, interval, spread_interval
from fcilib.ledger.trial import DERIVED, largest_drift, shortfalls
from fcilib.representations import Frozen
from fcilib.retrieval import RetrievalRecord
from fcilib.study.results import numbers
from fcilib.training.experiment import Experiment
from fcilib.training.records import Record, Records

AnyRecord = Record | RetrievalRecord

OF_EXAMPLES = (*DERIVED, "random_form_precision")
"""What is a share of held-out examples, beside a run's metrics."""


@dataclass(frozen=True)
class Finding:
    """What one condition under one reading of the protocol says of a claim."""

    experiment: str
    """The condition's name in the catalogue."""
    protocol: str
    mean: float
    sd: float
    """Over seeds; NaN for one."""
    n: int
    """Seeds."""
    chance: float | None
    """The mean of the same metric where picks are random; None where that has no meaning, or no
    record."""
    agrees: bool
    """By the chapters' rule, `Claim.agrees`."""
    interval: Interval
    """Of what the claim is about: the mean, or the standard deviation."""
    level: Level | None
    """Chance by counting, at this size and at the paper's; None where the claim has none."""
    lacking: tuple[str, ...] = ()
    """What the runs lack to be a fair trial, but for seeds and rest."""
    drift: float = 0.0
    """How far their curve still moves, as `trial.drift` has it; the largest of all seeds."""
    draws: bool = True
    """False if every seed gives the same, so that one is enough."""
    records: tuple[str, ...] = ()
    """Files of the records, one a seed, in the folder of all profiles' records."""
    curve: tuple[float, ...] = ()
    """The metric by epoch, the mean over seeds; empty where it has none."""


OF_PAPERS_SIZES = ("rise_epoch", "most_gain")
"""What is held against the paper only at its sizes: an epoch is one of so many, and the largest
factor depends on chance."""


class Reader:
    """Reads each record once, whatever the number of claims it decides."""

    def __init__(
        self, records: Records, named: Mapping[str, Condition], paper: Mapping[str, Condition]
    ) -> None:
        self.records, self.named, self.paper = records, named, paper
        self.runs: dict[Decider, dict[str, AnyRecord]] = {}

    def needs_hub(self, claim: Claim) -> bool:
        """True if a condition of the claim stands on a model of the hub."""
        deciders = [d for name in claim.decided_by for d in self.named[name].under.values()]
        return any(
            isinstance(d, Experiment)
            and isinstance(d.representation, Frozen)
            and isinstance(d.representation.backbone, HubModel)
            for d in deciders
        )

    def findings(self, claim: Claim) -> Iterator[Finding]:
        """Of every condition of the claim, under every protocol and further reading."""
        for name in claim.decided_by:
            for protocol in self.named[name].under:
                yield from self._finding(claim, name, protocol, protocol)
            for title, reading in claim.readings.items():
                other = claim.model_copy(update={"metric": reading.metric})
                yield from self._finding(other, name, reading.protocol, title)

    def _finding(self, claim: Claim, name: str, protocol: str, title: str) -> Iterator[Finding]:
        decider, paper = self.named[name].under[protocol], self.paper[name].under[protocol]
        files = self._seeds(decider)
        runs = list(files.values())
        lacking = shortfalls(runs, paper) if runs else ()
        if lacking and claim.metric in OF_PAPERS_SIZES:
            return
        values = _values(runs, claim)
        if len(values) < max(len(runs), 2 if claim.statistic == "sd" else 1):
            return
        mean = statistics.fmean(values)
        sd = statistics.stdev(values) if len(values) > 1 else math.nan
        chance = level(claim, runs[0], paper)
        of_mean = claim.statistic == "mean"
        examples = _examples(runs[0], claim.metric)
        trained = [run for run in runs if isinstance(run, Record)]
        curves = [run.curve[claim.metric] for run in trained if claim.metric in run.curve]
        yield Finding(
            experiment=name,
            protocol=title,
            mean=mean,
            sd=sd,
            n=len(values),
            chance=self._chance(claim, decider, runs),
            agrees=claim.agrees(mean, sd, chance),
            interval=interval(values, examples) if of_mean else spread_interval(values),
            level=chance,
            lacking=lacking,
            drift=largest_drift(runs, claim.metric),
            draws=isinstance(decider, Experiment) or decider.retriever.draws,
            records=tuple(files),
            curve=tuple(statistics.fmean(epoch) for epoch in zip(*curves, strict=True)),
        )

    def _chance(self, claim: Claim, decider: Decider, runs: list[AnyRecord]) -> float | None:
        if isinstance(runs[0], RetrievalRecord):
            return runs[0].chance[claim.metric]
        if claim.statistic == "sd" or not claim.chance or not isinstance(decider, Experiment):
            return None
        random = list(self._seeds(chance_of(decider)).values())
        metric = COUNTS_AS.get(claim.metric, claim.metric)
        values = _values(random, claim.model_copy(update={"metric": metric}))
        return statistics.fmean(values) if values and len(values) == len(random) else None

    def _seeds(self, decider: Decider) -> dict[str, AnyRecord]:
        """By file, the records of seed 0, 1, … up to the first that has none."""
        if decider not in self.runs:
            runs: dict[str, AnyRecord] = {}
            while record := self._find(decider.with_seed(len(runs))):
                folder = "" if isinstance(record, Record) else "retrievals/"
                run = record.experiment if isinstance(record, Record) else record.retrieval
                runs[f"{self.records.folder.name}/{folder}{run.identity}.json"] = record
            self.runs[decider] = runs
        return self.runs[decider]

    def _find(self, decider: Decider) -> AnyRecord | None:
        if isinstance(decider, Experiment):
            return self.records.find(decider)
        return retrieval.find(decider, self.records.folder / "retrievals")


def _values(runs: list[AnyRecord], claim: Claim) -> list[float]:
    """The number that a claim is about, of every run that measured it."""
    return [value for run in runs if (value := _value(run, claim)) is not None]


def _value(record: Record | RetrievalRecord, claim: Claim) -> float | None:
    """The number that a claim is about, of one run; None where the run did not measure it."""
    if isinstance(record, RetrievalRecord):
        return record.metrics[claim.metric]
    if claim.progress < 1:
        curve = record.curve[claim.metric]
        return curve[math.ceil(claim.progress * len(curve)) - 1]
    value = numbers(record).get(claim.metric, math.nan)
    return None if math.isnan(value) else value


def _examples(record: Record | RetrievalRecord, metric: str) -> int | None:
    """Over how many held-out examples a metric is counted; None if it is no share of examples."""
    if isinstance(record, RetrievalRecord):
        return record.validation
    counted = metric in record.metrics or metric in OF_EXAMPLES
    return record.experiment.training.held_out if counted else None
