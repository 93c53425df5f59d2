"""The audit: records drawn at random are trained again and compared with what is stored.

A record is repeated *exactly* if every number is the same to its last digit. Another processor or
another version of a library adds up in another order, and training amplifies the difference, but
no more than another seed would. So a metric may differ by two points, or by two standard deviations
over the *other* seeds of the same experiment in the store, whichever is more. A drift beyond this
*margin* could have turned a verdict, and is a fault.

Only training runs are drawn, and only their metrics are judged, all of which are shares. The
largest differences of curve and probes are reported beside them.
"""

from __future__ import annotations

import math
import random
import statistics
from collections import Counter
from collections.abc import Iterator, Mapping, Sequence
from contextlib import nullcontext
from dataclasses import asdict, dataclass
from pathlib import Path
from tempfile import TemporaryDirectory
from typing import Any

from fcilib.backbones import BackboneError, ByteLM
from fcilib.execution.executors import execute
from fcilib.execution.failures import Failures, RunsFailed
from fcilib.ledger.agreement import ROUNDING, STANDARD
from fcilib.representations import Frozen
from fcilib.specs.identity import NUMERICS
from fcilib.storage.places import weights_folder
from fcilib.study.notation import finite
from fcilib.system.threads import threads
from fcilib.training.experiment import Experiment
from fcilib.training.loop import DivergedError
from fcilib.training.records import Record, Records

OUTCOMES = ("exact", "drift within the margin", "drift beyond the margin", "not audited")
EXACT, WITHIN, BEYOND, SKIPPED = OUTCOMES

AUDIT_RULE = (
    f"Each metric may differ by {100 * STANDARD.margin:g} points, or by {STANDARD.deviations:g} "
    "standard deviations over the other seeds if that is more."
)


@dataclass(frozen=True)
class Difference:
    """A number as it is stored, and as it came out now; NaN where it is not measured any more."""

    name: str
    stored: float
    now: float
    scale: float
    """The larger of the two; of an entry of a list, the list's largest."""

    @property
    def size(self) -> float:
        """How far the two lie apart; infinity where there is no second."""
        return math.inf if math.isnan(self.now) else abs(self.now - self.stored)

    @property
    def share(self) -> float:
        """The same, as a share of the scale."""
        return self.size / self.scale if self.size else 0.0


@dataclass(frozen=True)
class AuditFinding:
    """What became of one record."""

    record: Record
    verdict: str
    """One of `OUTCOMES`."""
    reason: str | None = None
    """Why it was not audited, or could not be trained any more."""
    again: Record | None = None
    """What the same experiment gave now."""
    metric: Difference | None = None
    """The metric that comes closest to its margin, or lies farthest beyond it."""
    margin: float = math.nan
    """What that metric may differ by."""
    curve: Difference | None = None
    """The largest difference of a metric after any epoch."""
    probe: Difference | None = None
    """The probe, or the entry of one, that differs by the largest share of its scale."""

    @property
    def what(self) -> str:
        """The experiment in a few words."""
        e = self.record.experiment
        router = e.router.kind if e.router else "no router"
        return f"{e.task.kind}, {e.representation.kind}, {router}, seed {e.seed}"

    @property
    def changed(self) -> list[str]:
        """What of processor, threads and versions is not as it was; empty if nothing is known."""
        if self.again is None:
            return []
        before, after = self.record, self.again
        pairs = {
            "processor": (before.device, after.device),
            "threads": (before.threads, after.threads),
            **{n: (v, after.versions.get(n)) for n, v in before.versions.items()},
        }
        return [f"{name} {old}, now {new}" for name, (old, new) in pairs.items() if old != new]

    def plain(self) -> dict[str, Any]:
        """The finding as JSON has it, with null for what is not a number."""
        drifts = {"metric": self.metric, "curve": self.curve, "probe": self.probe}
        return {
            "identity": self.record.identity,
            "what": self.what,
            "verdict": self.verdict,
            "reason": self.reason,
            "margin": finite(self.margin),
            **{n: d and {k: finite(v) for k, v in asdict(d).items()} for n, d in drifts.items()},
            "seconds": [self.record.seconds, self.again.seconds if self.again else None],
            "device": [self.record.device, self.again.device if self.again else None],
            "changed": self.changed,
        }


@dataclass(frozen=True)
class Draw:
    """Records drawn at random, and what they were drawn from."""

    records: tuple[Record, ...]
    among: int
    """Records that could have been drawn."""
    foreign: int
    """Of another `NUMERICS`, left out."""
    costly: int
    """Above the limit, left out."""
    spread: Mapping[str, Mapping[str, float]]
    """By identity: each metric's standard deviation over the other seeds, where there are two."""


def draw(records: Records, sample: int, seed: str, most: float | None = None) -> Draw:
    """Draw records of the current `NUMERICS`, the same for the same seed and store.

    Args:
        records: a profile's store.
        sample: how many; all there are, if those are fewer.
        seed: any text.
        most: leave out those that took longer than this many seconds.

    Raises:
        RecordError: a record of the store can't be trusted.
    """
    stored = list(records)
    ours = [record for record in stored if record.numerics == NUMERICS]
    cheap = [record for record in ours if most is None or record.seconds <= most]
    drawn = random.Random(seed).sample(cheap, min(sample, len(cheap)))
    seeds: dict[Experiment, list[Record]] = {}
    for record in ours:
        seeds.setdefault(record.experiment.with_seed(0), []).append(record)
    spread = {r.identity: _spread(seeds[r.experiment.with_seed(0)], r) for r in drawn}
    return Draw(tuple(drawn), len(cheap), len(stored) - len(ours), len(ours) - len(cheap), spread)


def audit(drawn: Draw, executor: str = "process", device: str = "cpu") -> Iterator[AuditFinding]:
    """Train what was drawn again, in a temporary store, and say what became of each, in order.

    With the executor `"inline"` one after another, each on as many threads as its record was made
    with; with any other all at once.

    Raises:
        ValueError: there is no such executor or device.
        StoreError: the temporary store can't be written.
        RecordError: the weights of a backbone can't be trusted.
    """
    inline = executor == "inline"
    with TemporaryDirectory(prefix="fci-audit-") as folder:
        again = Records(Path(folder))
        for part in [[record] for record in drawn.records] if inline else [drawn.records]:
            lacking = {record.identity: _missing(record.experiment) for record in part}
            todo = [record.experiment for record in part if not lacking[record.identity]]
            failures: Failures = {}
            try:
                with threads(part[0].threads) if inline else nullcontext():
                    execute(todo, again, executor, lambda done: None, device)
            except RunsFailed as failed:
                failures = failed.failures
            for record in part:
                if reason := lacking[record.identity]:
                    yield AuditFinding(record, SKIPPED, reason)
                elif now := again.find(record.experiment):
                    yield hold_against(record, now, drawn.spread[record.identity])
                elif isinstance(error := failures[record.experiment], DivergedError):
                    yield AuditFinding(record, BEYOND, str(error))
                elif isinstance(error, (BackboneError, ImportError)):
                    yield AuditFinding(record, SKIPPED, str(error))
                else:
                    raise error


def outcomes(findings: Sequence[AuditFinding]) -> dict[str, int]:
    """How many findings there are of each verdict."""
    counts = Counter(finding.verdict for finding in findings)
    return {verdict: counts[verdict] for verdict in OUTCOMES}


def passed(findings: Sequence[AuditFinding]) -> bool:
    """Whether something was audited, and nothing lies beyond its margin."""
    counts = outcomes(findings)
    return counts[BEYOND] == 0 and counts[EXACT] + counts[WITHIN] > 0


def hold_against(stored: Record, now: Record, spread: Mapping[str, float]) -> AuditFinding:
    """Hold two records of one experiment against each other.

    `spread`: of metrics, by name, the standard deviation over other seeds, where it is known.
    """
    least, times = STANDARD.margin, STANDARD.deviations
    margins = {n: max(least, times * spread.get(n, 0.0)) for n in stored.metrics}
    metrics = list(_differences(stored.metrics, now.metrics))
    shares = {name: values for name, values in stored.curve.items() if name != "loss"}
    largest = max(metrics, key=lambda d: d.size / margins[d.name])
    probes = list(_differences(stored.probes, now.probes))
    numbers = [*metrics, *_differences(stored.curve, now.curve), *probes]
    if stored.parameters != now.parameters:
        reason = f"another model: {stored.parameters:,} parameters, now {now.parameters:,}"
        return AuditFinding(stored, BEYOND, reason)
    inside = all(d.size <= margins[d.name] + ROUNDING for d in metrics)
    verdict = WITHIN if inside else BEYOND
    if not any(d.size for d in numbers):
        verdict = EXACT
    return AuditFinding(
        record=stored,
        verdict=verdict,
        again=now,
        metric=largest,
        margin=margins[largest.name],
        curve=max(_differences(shares, now.curve), key=lambda d: d.size, default=None),
        probe=max(probes, key=lambda d: d.share, default=None),
    )


def _differences(stored: Mapping[str, Any], now: Mapping[str, Any]) -> Iterator[Difference]:
    """Every number that is stored, entries of lists by their place from 1; what is new is left."""
    for name, value in stored.items():
        other = now.get(name, math.nan)
        pairs = [(name, value, other)]
        if isinstance(value, list):
            others = [*(other if isinstance(other, list) else []), *[math.nan] * len(value)]
            pairs = [(f"{name} {i}", *p) for i, p in enumerate(zip(value, others, strict=False), 1)]
        scale = max(abs(x) for _, *pair in pairs for x in pair if not math.isnan(x))
        yield from (Difference(*pair, scale) for pair in pairs)


def _missing(experiment: Experiment) -> str | None:
    """What the run would have to make first, outside of its own store; None if nothing."""
    match experiment.representation:
        case Frozen(backbone=ByteLM() as backbone, weights="pretrained"):
            folder = weights_folder() / backbone.identity
            if not (folder / "pretraining.json").exists():
                return f"{folder}: holds no weights of its backbone"
    return None


def _spread(group: Sequence[Record], record: Record) -> dict[str, float]:
    """Of every metric that a record has in common with at least two others of its experiment."""
    others = [other for other in group if other.identity != record.identity]
    if len(others) < 2:
        return {}
    names = set(record.metrics).intersection(*(other.metrics for other in others))
    return {name: statistics.stdev(other.metrics[name] for other in others) for name in names}


def described(finding: AuditFinding) -> str:
    """A finding for readers: a line, and below it what differs and where it was made."""
    lines = [f"{finding.record.identity}  {finding.what}: {finding.verdict}"]
    if finding.reason:
        lines.append(finding.reason)
    if finding.again is None:
        return "\n    ".join(lines)
    if finding.verdict != EXACT:
        metric, curve, probe = finding.metric, finding.curve, finding.probe
        lines.append("every metric is the same")
        if metric and metric.size:
            lines[-1] = f"{_points(metric)}; its margin is {100 * finding.margin:.2f} points"
        if curve and curve.size:
            lines.append(f"by epoch: {_points(curve)}")
        if probe and probe.size:
            lines.append(f"probes: {probe.name} {probe.stored:.7g}, now {probe.now:.7g}")
    place = "; ".join(finding.changed) or "processor, threads and versions of the same names"
    lines.append(f"{finding.record.seconds:.1f} s, now {finding.again.seconds:.1f} s; {place}")
    return "\n    ".join(lines)


def _points(difference: Difference) -> str:
    stored, now = 100 * difference.stored, 100 * difference.now
    after = "not measured" if math.isnan(now) else f"{now:.2f}% ({now - stored:+.2f} points)"
    return f"{difference.name}: {stored:.2f}%, now {after}"
