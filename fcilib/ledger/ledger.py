"""The ledger: every claim of the paper and the verdict that the records give it."""

from __future__ import annotations

import math
import statistics
from collections import Counter
from collections.abc import Iterator, Mapping
from dataclasses import asdict, dataclass
from typing import Any

from fcilib import retrieval
from fcilib.ledger.agreement import verdict
from fcilib.ledger.catalogue import Condition, Decider, catalogue, chance_of
from fcilib.ledger.claims import Claim, claims
from fcilib.retrieval import RetrievalRecord
from fcilib.study.notation import finite
from fcilib.study.profiles import Profile
from fcilib.study.results import numbers
from fcilib.training.experiment import Experiment
from fcilib.training.records import Record, Records

VERDICTS = ("reproduced", "only under", "not reproduced", "not tested")
"""The kinds of verdict, as a summary counts them; the second names its protocols."""


@dataclass(frozen=True)
class Finding:
    """What one experiment under one protocol says of a claim."""

    experiment: str
    protocol: str
    mean: float
    sd: float
    """Over seeds; NaN for one."""
    n: int
    """Seeds."""
    chance: float
    """The mean of the same metric where picks are random; NaN where that has no meaning, or no
    record."""
    agrees: bool


@dataclass(frozen=True)
class Entry:
    """A claim, what was found and the verdict."""

    name: str
    claim: Claim
    findings: tuple[Finding, ...]
    verdict: str

    @property
    def by_protocol(self) -> dict[str, list[Finding]]:
        """The findings under each protocol, in order."""
        protocols = dict.fromkeys(f.protocol for f in self.findings)
        return {p: [f for f in self.findings if f.protocol == p] for p in protocols}

    @property
    def kind(self) -> str:
        """The verdict as one of `VERDICTS`."""
        return next(kind for kind in VERDICTS if self.verdict.startswith(kind))

    @property
    def reason(self) -> str | None:
        """Why nothing was tested; None where something was."""
        return None if self.findings else self.claim.untested or "no record at this profile"

    def plain(self) -> dict[str, Any]:
        """The entry as JSON has it, with null for what is not a number."""
        return {
            "name": self.name,
            **self.claim.model_dump(mode="json"),
            "findings": [{k: finite(v) for k, v in asdict(f).items()} for f in self.findings],
            "verdict": self.verdict,
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
    reader = _Reader(records, catalogue(sizes))
    return {name: _entry(name, claim, reader) for name, claim in claims().items()}


def summary(entries: Mapping[str, Entry]) -> dict[str, int]:
    """How many claims there are of each kind of verdict."""
    counts = Counter(entry.kind for entry in entries.values())
    return {kind: counts[kind] for kind in VERDICTS}


def sensitive(entries: Mapping[str, Entry], margin: float) -> list[str]:
    """Claims held by the rule whose verdict would be another, were the margin this for all."""
    found = []
    for name, entry in entries.items():
        wider = entry.claim.model_copy(update={"tolerance": margin})
        agreements = {
            protocol: all(wider.agrees(f.mean, f.sd) for f in findings)
            for protocol, findings in entry.by_protocol.items()
        }
        if entry.claim.tolerance is None and verdict(agreements) != entry.verdict:
            found.append(name)
    return found


def _entry(name: str, claim: Claim, reader: _Reader) -> Entry:
    """A protocol counts where every experiment of the claim has records under it."""
    found: dict[str, list[Finding]] = {}
    for experiment in claim.decided_by:
        for finding in reader.findings(claim, experiment):
            found.setdefault(finding.protocol, []).append(finding)
    whole = {p: f for p, f in found.items() if len(f) == len(claim.decided_by)}
    return Entry(
        name,
        claim,
        tuple(finding for part in whole.values() for finding in part),
        verdict({p: all(finding.agrees for finding in part) for p, part in whole.items()}),
    )


class _Reader:
    """Reads each record once, whatever the number of claims it decides."""

    def __init__(self, records: Records, named: Mapping[str, Condition]) -> None:
        self.records, self.named = records, named
        self.read: dict[str, Record | RetrievalRecord | None] = {}

    def findings(self, claim: Claim, name: str) -> Iterator[Finding]:
        for protocol, decider in self.named[name].under.items():
            runs = self.seeds(decider)
            values = [value for run in runs if (value := _value(run, claim)) is not None]
            if len(values) < max(len(runs), 2 if claim.statistic == "sd" else 1):
                continue
            mean = statistics.fmean(values)
            sd = statistics.stdev(values) if len(values) > 1 else math.nan
            chance = self.chance(claim, decider, runs)
            agrees = claim.agrees(mean, sd)
            yield Finding(name, protocol, mean, sd, len(values), chance, agrees)

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
