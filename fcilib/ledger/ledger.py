"""The ledger: every claim of the paper and the verdict that the records give it."""

from __future__ import annotations

import math
import statistics
from collections import Counter
from collections.abc import Iterator, Mapping
from dataclasses import asdict, dataclass
from functools import cached_property
from pathlib import Path
from typing import Any

from fcilib import retrieval
from fcilib.backbones import HubModel
from fcilib.ledger.agreement import verdict
from fcilib.ledger.catalogue import Condition, Decider, catalogue, chance_of
from fcilib.ledger.claims import Claim, claims
from fcilib.ledger.intervals import Interval, interval
from fcilib.ledger.trial import shortfalls
from fcilib.ledger.verdict import NOT_HERE, STANDARD, VERDICTS, Finding, Judgement, Rule, judge
from fcilib.representations import Frozen
from fcilib.retrieval import RetrievalRecord
from fcilib.study.notation import finite
from fcilib.study.profiles import PROFILES, Profile
from fcilib.study.results import numbers
from fcilib.training.experiment import Experiment
from fcilib.training.records import Record, Records

PAPER = "paper"
"""The profile of the paper's sizes, whose records decide."""

BOOK = "quick"
"""The profile that the book is executed at."""

HUB = "FCI_HUB=1 .venv/bin/fci run 07 --profile paper"
"""Runs what stands on models of the hub."""

OF_EXAMPLES = ("largest_rise", "largest_fall", "best_precision", "random_form_precision")
"""What is a share of held-out examples, beside a run's metrics."""


@dataclass(frozen=True)
class Entry:
    """A claim, what the records of one profile say of it, and the verdict."""

    name: str
    claim: Claim
    findings: tuple[Finding, ...]
    needs_hub: bool = False
    """True if what decides it stands on a model of the hub."""

    @property
    def by_protocol(self) -> dict[str, list[Finding]]:
        """The findings under each reading of the protocol, in order."""
        protocols = dict.fromkeys(f.protocol for f in self.findings)
        return {p: [f for f in self.findings if f.protocol == p] for p in protocols}

    def judged(self, rule: Rule = STANDARD) -> Judgement:
        """The verdict under a rule, with what is missing and what decides."""
        if self.needs_hub and not self.findings:
            return Judgement(NOT_HERE, (HUB,), tuple(self.claim.decided_by))
        return judge(self.claim, self.by_protocol, rule)

    @cached_property
    def judgement(self) -> Judgement:
        """The verdict under the ledger's own rule."""
        return self.judged()

    @property
    def whole(self) -> dict[str, list[Finding]]:
        """The findings under each protocol that every condition of the claim has records of."""
        return {
            protocol: part
            for protocol, part in self.by_protocol.items()
            if len(part) == len(self.claim.decided_by) and protocol not in self.claim.readings
        }

    @property
    def at_this_size(self) -> str:
        """Under which protocols the numbers of this profile agree, by the chapters' rule."""
        return verdict({p: all(f.agrees for f in part) for p, part in self.whole.items()})

    @property
    def reason(self) -> str | None:
        """Why no protocol is whole; None where one is."""
        return None if self.whole else self.claim.untested or "no record at this profile"

    def plain(self) -> dict[str, Any]:
        """The entry as JSON has it, with null for what is not a number."""
        findings = []
        for finding in self.findings:
            fields = asdict(finding) | asdict(finding.interval)
            del fields["interval"], fields["curve"]
            findings.append({name: finite(value) for name, value in fields.items()})
        return {
            "name": self.name,
            **self.claim.model_dump(mode="json"),
            "findings": findings,
            "verdict": self.judgement.verdict,
            "missing": self.judgement.missing,
            "deciding": self.judgement.deciding,
            "at_this_size": self.at_this_size,
            "reason": self.reason,
        }


def ledger(records: Records, sizes: Profile) -> dict[str, Entry]:
    """Every claim's entry, from the records of one profile alone; nothing is trained.

    Args:
        records: the profile's folder; it may be empty or missing.
        sizes: the profile.

    Raises:
        RecordError: a record can't be trusted.
    """
    reader = _Reader(records, catalogue(sizes), catalogue(PROFILES[PAPER]))
    return {
        name: Entry(name, claim, tuple(reader.all_findings(claim)), reader.needs_hub(claim))
        for name, claim in claims().items()
    }


def whole_ledger(records: Path) -> dict[str, dict[str, Entry]]:
    """The ledger at the paper's sizes and beside it at the book's, by profile.

    `records` is the folder of all profiles. Raises RecordError if a record can't be trusted.
    """
    return {name: ledger(Records(records / name), PROFILES[name]) for name in (PAPER, BOOK)}


def decisive(entries: Mapping[str, Mapping[str, Entry]]) -> dict[str, Entry]:
    """Of every claim the entry that decides: the paper's sizes, or any where counting decides."""
    book = entries[BOOK]
    return {n: book[n] if e.claim.counted else e for n, e in entries[PAPER].items()}


def summary(entries: Mapping[str, Entry]) -> dict[str, int]:
    """How many claims there are of each kind of verdict."""
    counts = Counter(entry.judgement.kind for entry in entries.values())
    return {kind: counts[kind] for kind in VERDICTS}


def evidence(entries: Mapping[str, Entry]) -> dict[str, int]:
    """Pieces of evidence behind each kind of verdict: claims that the same runs decide are one."""
    pieces = {(e.judgement.kind, frozenset(e.judgement.deciding)) for e in entries.values()}
    counts = Counter(kind for kind, _ in pieces)
    return {kind: counts[kind] for kind in VERDICTS}


def sensitive(entries: Mapping[str, Entry], rule: Rule) -> dict[str, str]:
    """Claims whose verdict would be another under this rule, with that verdict."""
    others = {name: entry.judged(rule).verdict for name, entry in entries.items()}
    return {n: other for n, other in others.items() if other != entries[n].judgement.verdict}


class _Reader:
    """Reads each record once, whatever the number of claims it decides."""

    def __init__(
        self, records: Records, named: Mapping[str, Condition], paper: Mapping[str, Condition]
    ) -> None:
        self.records, self.named, self.paper = records, named, paper
        self.read: dict[str, Record | RetrievalRecord | None] = {}

    def needs_hub(self, claim: Claim) -> bool:
        deciders = [d for name in claim.decided_by for d in self.named[name].under.values()]
        return any(
            isinstance(d, Experiment)
            and isinstance(d.representation, Frozen)
            and isinstance(d.representation.backbone, HubModel)
            for d in deciders
        )

    def all_findings(self, claim: Claim) -> Iterator[Finding]:
        for name in claim.decided_by:
            for protocol in self.named[name].under:
                yield from self.finding(claim, name, protocol, protocol)
            for title, reading in claim.readings.items():
                other = claim.model_copy(update={"metric": reading.metric})
                yield from self.finding(other, name, reading.protocol, title)

    def finding(self, claim: Claim, name: str, protocol: str, title: str) -> Iterator[Finding]:
        decider, paper = self.named[name].under[protocol], self.paper[name].under[protocol]
        runs = self.seeds(decider)
        values = [value for run in runs if (value := _value(run, claim)) is not None]
        if len(values) < max(len(runs), 2 if claim.statistic == "sd" else 1):
            return
        mean = statistics.fmean(values)
        sd = statistics.stdev(values) if len(values) > 1 else math.nan
        trained = [run for run in runs if isinstance(run, Record)]
        curves = [run.curve[claim.metric] for run in trained if claim.metric in run.curve]
        counted = claim.statistic == "mean"
        yield Finding(
            experiment=name,
            protocol=title,
            mean=mean,
            sd=sd,
            n=len(values),
            chance=self.chance(claim, decider, runs),
            agrees=claim.agrees(mean, sd),
            interval=interval(values, _examples(runs[0], claim.metric))
            if counted
            else Interval(sd, sd),
            chance_here=_counted_chance(decider, claim.metric),
            chance_there=_counted_chance(paper, claim.metric),
            lacking=shortfalls(runs, paper, claim.metric),
            draws=isinstance(decider, Experiment) or decider.retriever.draws,
            records=tuple(self.place(decider.with_seed(seed)) for seed in range(len(runs))),
            curve=tuple(statistics.fmean(epoch) for epoch in zip(*curves, strict=True)),
        )

    def chance(self, claim: Claim, decider: Decider, runs: list) -> float:
        if not isinstance(decider, Experiment):
            return runs[0].chance[claim.metric]
        if claim.statistic == "sd":
            return math.nan
        random = self.seeds(chance_of(decider))
        values = [value for run in random if (value := _value(run, claim)) is not None]
        return statistics.fmean(values) if values and len(values) == len(random) else math.nan

    def seeds(self, decider: Decider) -> list[Record | RetrievalRecord]:
        """The records of seed 0, 1, … up to the first that has none."""
        records: list[Record | RetrievalRecord] = []
        while record := self.find(decider.with_seed(len(records))):
            records.append(record)
        return records

    def place(self, decider: Decider) -> str:
        """The file of a record, in the folder of all profiles' records."""
        kind = "" if isinstance(decider, Experiment) else "retrievals/"
        return f"{self.records.folder.name}/{kind}{decider.identity}.json"

    def find(self, decider: Decider) -> Record | RetrievalRecord | None:
        if decider.identity not in self.read:
            self.read[decider.identity] = (
                self.records.find(decider)
                if isinstance(decider, Experiment)
                else retrieval.find(decider, self.records.folder / "retrievals")
            )
        return self.read[decider.identity]


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


def _counted_chance(decider: Decider, metric: str) -> float:
    """The chance level of precision or accuracy by counting candidates or classes, else NaN."""
    if not isinstance(decider, Experiment):
        return math.nan
    if metric == "accuracy":
        return 1 / decider.task.classes
    router = decider.router
    if metric != "precision" or router is None:
        return math.nan
    if router.within:
        return 1 / router.within
    positions = decider.task.length // router.granularity
    return 1 / (positions - (router.candidates == "others" and router.granularity == 1))
