"""The audit: records drawn at random are trained again, and held against what is stored.

Where every number is the stored one, to the last of its digits, a record is repeated *exactly*. It
need not be: another processor, or another version of a library, adds up in another order, and
training makes more of a difference in the last digit with every step. It has no business to make
more of it than another seed does, which is another order of batches and other weights to begin
with. So each metric may differ by as much as the ledger lets a mean differ from the paper's number:
two points, or two standard deviations over the seeds that the store has of the same experiment,
whichever is more; without its own seed, since a record must not widen its own margin. A drift
beyond that *margin* could have turned a verdict, and is a fault. The processor's name decides
nothing: two that are called alike need not calculate alike.

Training runs are drawn; retrievals and costs are not.

Only metrics are judged, all of which are shares. The curve's and the probes' largest differences
are told, and not judged: probes have no unit in common.
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
from fcilib.ledger.agreement import DEVIATIONS, ROUNDING, TOLERANCE
from fcilib.representations import Frozen
from fcilib.specs.identity import NUMERICS
from fcilib.storage.places import weights_folder
from fcilib.system.threads import threads
from fcilib.training.experiment import Experiment
from fcilib.training.loop import DivergedError
from fcilib.training.records import Record, Records

OUTCOMES = ("exact", "drift within the margin", "drift beyond the margin", "not audited")
EXACT, WITHIN, BEYOND, SKIPPED = OUTCOMES


AUDIT_RULE = (
    f"Each metric may differ by {100 * TOLERANCE:g} points, or by {DEVIATIONS} standard deviations "
    "over the other seeds if that is more."
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
        content: dict[str, Any] = {
            "identity": self.record.identity,
            "what": self.what,
            "verdict": self.verdict,
            "reason": self.reason,
            "margin": self.margin,
            **{n: getattr(self, n) for n in ("metric", "curve", "probe")},
            "seconds": [self.record.seconds, self.again.seconds if self.again else None],
            "device": [self.record.device, self.again.device if self.again else None],
            "changed": self.changed,
        }
        for name in ("metric", "curve", "probe"):
            if content[name] is not None:
                content[name] = {k: _number(v) for k, v in asdict(content[name]).items()}
        return {name: _number(value) for name, value in content.items()}


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
    seeds: dict[str, list[Record]] = {}
    for record in ours:
        seeds.setdefault(_condition(record.experiment), []).append(record)
    spread = {r.identity: _spread(seeds[_condition(r.experiment)], r) for r in drawn}
    return Draw(tuple(drawn), len(cheap), len(stored) - len(ours), len(ours) - len(cheap), spread)


def audit(drawn: Draw, executor: str = "process") -> Iterator[AuditFinding]:
    """Train what was drawn again, in a temporary store, and say what became of each, in order.

    With the executor `"inline"` one after another, each on as many threads as its record was made
    with; with any other all at once.

    Raises:
        ValueError: there is no such executor.
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
                    execute(todo, again, executor, lambda done: None)
            except RunsFailed as failed:
                failures = failed.failures
            for record in part:
                if reason := lacking[record.identity]:
                    yield AuditFinding(record, SKIPPED, reason)
                elif error := failures.get(record.experiment):
                    yield _failed(record, error)
                else:
                    now = again.find(record.experiment)
                    assert now is not None, "a run without an error has left its record"
                    yield hold_against(record, now, drawn.spread[record.identity])


def outcomes(findings: Sequence[AuditFinding]) -> dict[str, int]:
    """How many findings there are of each verdict."""
    counts = Counter(finding.verdict for finding in findings)
    return {verdict: counts[verdict] for verdict in OUTCOMES}


def passed(findings: Sequence[AuditFinding]) -> bool:
    """Whether something was audited, and nothing lies beyond its margin."""
    counts = outcomes(findings)
    return counts[BEYOND] == 0 and counts[EXACT] + counts[WITHIN] > 0


def _failed(record: Record, error: Exception) -> AuditFinding:
    """What an error says of a record; one that says nothing is raised."""
    if isinstance(error, (BackboneError, ImportError)):
        return AuditFinding(record, SKIPPED, str(error))
    if isinstance(error, DivergedError):
        return AuditFinding(record, BEYOND, str(error))
    raise error


def hold_against(stored: Record, now: Record, spread: Mapping[str, float]) -> AuditFinding:
    """Hold two records of one experiment against each other.

    `spread`: of metrics, by name, the standard deviation over other seeds, where it is known.
    """
    margins = {n: max(TOLERANCE, DEVIATIONS * spread.get(n, 0.0)) for n in stored.metrics}
    metrics = list(_differences(stored.metrics, now.metrics))
    shares = {name: values for name, values in stored.curve.items() if name != "loss"}
    largest = max(metrics, key=lambda d: d.size / margins[d.name])
    probes = list(_differences(stored.probes, now.probes))
    numbers = [*metrics, *_differences(stored.curve, now.curve), *probes]
    if stored.parameters != now.parameters:
        reason = f"another model: {stored.parameters:,} parameters, now {now.parameters:,}"
        return AuditFinding(stored, BEYOND, reason)
    if all(d.size == 0 for d in numbers):
        verdict = EXACT
    else:
        inside = all(d.size <= margins[d.name] + ROUNDING for d in metrics)
        verdict = WITHIN if inside else BEYOND
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
        if not isinstance(value, list):
            yield Difference(name, value, other, _scale([value, other]))
            continue
        others = [*(other if isinstance(other, list) else []), *[math.nan] * len(value)]
        scale = _scale([*value, *others])
        for place, (entry, found) in enumerate(zip(value, others, strict=False), start=1):
            yield Difference(f"{name} {place}", entry, found, scale)


def _scale(values: Sequence[float]) -> float:
    return max(abs(value) for value in values if not math.isnan(value))


def _missing(experiment: Experiment) -> str | None:
    """What the run would have to make first, outside of its own store; None if nothing."""
    spec = experiment.representation
    if isinstance(spec, Frozen) and isinstance(spec.backbone, ByteLM):
        folder = weights_folder() / spec.backbone.identity
        if spec.weights == "pretrained" and not (folder / "pretraining.json").exists():
            return f"{folder}: holds no weights of its backbone"
    return None


def _spread(group: Sequence[Record], record: Record) -> dict[str, float]:
    """Of every metric that a record has in common with at least two others of its experiment."""
    others = [other for other in group if other.identity != record.identity]
    if len(others) < 2:
        return {}
    names = set(record.metrics).intersection(*(other.metrics for other in others))
    return {name: statistics.stdev(other.metrics[name] for other in others) for name in names}


def _condition(experiment: Experiment) -> str:
    return experiment.with_seed(0).canonical()


def _number(value: Any) -> Any:
    """None for a float that JSON does not have."""
    return None if isinstance(value, float) and not math.isfinite(value) else value


def described(finding: AuditFinding) -> str:
    """A finding for readers: a line, and below it what differs and where it was made."""
    lines = [f"{finding.record.identity}  {finding.what}: {finding.verdict}"]
    if finding.reason:
        lines.append(finding.reason)
    if finding.again is None:
        return "\n    ".join(lines)
    if finding.verdict != EXACT:
        if finding.metric is not None and finding.metric.size:
            margin = f"its margin is {100 * finding.margin:.2f} points"
            lines.append(f"{_points(finding.metric)}; {margin}")
        else:
            lines.append("every metric is the same")
        if finding.curve is not None and finding.curve.size:
            lines.append(f"by epoch: {_points(finding.curve)}")
        if finding.probe is not None and finding.probe.size:
            probe = finding.probe
            lines.append(f"probes: {probe.name} {probe.stored:.7g}, now {probe.now:.7g}")
    place = "; ".join(finding.changed) or "processor, threads and versions of the same names"
    lines.append(f"{finding.record.seconds:.1f} s, now {finding.again.seconds:.1f} s; {place}")
    return "\n    ".join(lines)


def _points(difference: Difference) -> str:
    if math.isnan(difference.now):
        return f"{difference.name}: {100 * difference.stored:.2f}%, now not measured"
    off = 100 * (difference.now - difference.stored)
    return (
        f"{difference.name}: {100 * difference.stored:.2f}%, now {100 * difference.now:.2f}% "
        f"({off:+.2f} points)"
    )
