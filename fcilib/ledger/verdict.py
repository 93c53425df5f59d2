"""The ledger's rule: when a number agrees with the paper's, and the verdict on a claim."""

from __future__ import annotations

from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass

from fcilib.ledger.agreement import ROUNDING, STANDARD, Rule, at_chance, ends
from fcilib.ledger.catalogue import ONLY, label_of
from fcilib.ledger.claims import Claim
from fcilib.ledger.findings import Finding
from fcilib.study.notation import READINGS

HOLDS = "holds"
UNDER = "holds under"
SUBSTANCE = "the statement holds, the number differs"
CONTRADICTED = "contradicted"
OPEN = "open"
NOT_HERE = "not testable here"
VERDICTS = (HOLDS, UNDER, SUBSTANCE, CONTRADICTED, OPEN, NOT_HERE)
"""The kinds of verdict, as a summary counts them; the second names its protocols."""

ALTERNATIVES = (
    Rule("two seeds sufficed", seeds=2),
    Rule("two seeds sufficed and the margin were five points", seeds=2, margin=0.05),
)
"""Other rules that would be reasonable, for readers who want to know what ours decides."""


@dataclass(frozen=True)
class Judgement:
    """A verdict, and what it rests on."""

    verdict: str
    """One of `VERDICTS`; `holds under` is followed by its readings."""
    missing: tuple[str, ...] = ()
    """What would have to be done to decide what is open."""
    deciding: tuple[str, ...] = ()
    """The conditions whose runs decide, or would."""

    @property
    def kind(self) -> str:
        """The verdict as one of `VERDICTS`."""
        return UNDER if self.verdict.startswith(UNDER) else self.verdict


def is_fair(finding: Finding, rule: Rule) -> bool:
    """True if a trial has the paper's sizes and steps, curves at rest, and seeds enough."""
    enough = finding.n >= rule.seeds or not finding.draws
    return enough and at_rest(finding, rule) and not finding.lacking


def at_rest(finding: Finding, rule: Rule = STANDARD) -> bool:
    """True if the curve of every seed is at rest, or there is none."""
    return finding.drift <= rule.at_rest + rule.slack + ROUNDING


def compared(claim: Claim, finding: Finding, rule: Rule = STANDARD) -> bool | None:
    """True if a number agrees, False if it does not, None if its interval can't tell.

    If chance agrees, the paper's number could not be told from it, and ours has to hold chance with
    an interval that is short enough. Any other number agrees only if its interval leaves it out.
    """
    agreeing, margin = claim.zone(finding.level, rule)
    measured = finding.sd if claim.statistic == "sd" else finding.mean
    half = max(measured - finding.interval.low, finding.interval.high - measured)
    if finding.interval.misses(agreeing):
        return False
    if not (finding.interval.within(agreeing) or half <= rule.widest * margin):
        return None
    if finding.level is not None and claim.relation == "equals" and claim.tolerance is None:
        chance = finding.level.here
        if chance in agreeing:
            return (
                chance in finding.interval and at_chance(finding.interval, chance, rule)
            ) or None
        if chance in finding.interval:
            return None
    return True if measured in agreeing else None


def directed(claim: Claim, finding: Finding, rule: Rule = STANDARD) -> bool | None:
    """True if the whole interval is on the side of the statement behind the claim's number, False
    if none of it is. Raises ValueError for a claim without a statement, or without chance.
    """
    direction = claim.direction
    if direction is not None and direction.value is not None:
        side = ends(direction.relation, direction.value, 0.0, 0.0, rule)
        if finding.interval.misses(side):
            return False
        return True if finding.interval.within(side) else None
    if direction is None or finding.level is None:
        raise ValueError("claim: there is no statement behind its number, or no chance")
    return at_chance(finding.interval, finding.level.here, rule)


def judge(
    claim: Claim, findings: Mapping[str, Sequence[Finding]], rule: Rule = STANDARD
) -> Judgement:
    """The verdict on a claim by what was found under each reading of the protocol.

    A reading agrees if every condition of the claim has a fair trial that agrees. It differs as
    soon as one condition has a fair trial that does not. In between it is open. Where every reading
    differs, the statement behind the number decides, by fair trials too: it holds if that of every
    condition is on its side, and fails by one that is not. In between the claim is open.

    Args:
        claim: which reading is literal, and what the statement behind the number is.
        findings: by reading, one for each condition that has records.
        rule: how near is near enough.
    """
    conditions = tuple(claim.decided_by)
    if claim.undefined:
        return Judgement(OPEN, (f"the paper does not define {claim.undefined}",), conditions)
    if not findings:
        wanted = f"{rule.seeds} seeds" if claim.statistic == "sd" else "runs"
        missing = claim.untested or f"{wanted} at the paper’s sizes"
        return Judgement(OPEN, (missing,), conditions)
    if claim.literal and ONLY not in findings:
        findings = {claim.literal: [], **findings}
    answers = {p: _answer(claim, part, rule) for p, part in findings.items()}
    first = [p for p in findings if p == claim.literal] or list(findings)
    agreeing = [p for p, answer in answers.items() if answer is True]
    if set(first) <= set(agreeing):
        return Judgement(HOLDS, (), conditions)
    open_ones = [p for p, answer in answers.items() if answer is None]
    if agreeing and not set(first) & set(open_ones):
        return Judgement(f"{UNDER} {', '.join(agreeing)}", (), conditions)
    if open_ones:
        parts = {p: findings[p] for p in open_ones}
        return Judgement(OPEN, _missing(claim, parts, rule), conditions)
    deciding = tuple(dict.fromkeys(a for a in answers.values() if isinstance(a, str)))
    if not claim.direction:
        return Judgement(CONTRADICTED, (), deciding)
    fair = {p: _fair(claim, findings[p], rule) for p in first}
    sides = {p: [directed(claim, f, rule) for f in part] for p, part in fair.items()}
    if any(all(part) and len(part) == len(conditions) for part in sides.values()):
        return Judgement(SUBSTANCE, (), deciding)
    unsure = {p: findings[p] for p, part in sides.items() if False not in part}
    if unsure:
        names = dict.fromkeys(
            f.experiment for p in unsure for f in fair[p] if directed(claim, f, rule) is None
        )
        return Judgement(OPEN, _narrower(names) or _missing(claim, unsure, rule), conditions)
    return Judgement(CONTRADICTED, (), deciding)


def _fair(claim: Claim, part: Sequence[Finding], rule: Rule) -> list[Finding]:
    """The findings that decide; all of them where the number follows by counting."""
    return [f for f in part if claim.counted or is_fair(f, rule)]


def _answer(claim: Claim, part: Sequence[Finding], rule: Rule) -> bool | str | None:
    """True if a reading agrees; the condition that differs, if one does; None if it is open."""
    fair = _fair(claim, part, rule)
    sides = {f.experiment: compared(claim, f, rule) for f in fair}
    against = [name for name, side in sides.items() if side is False]
    if against:
        return against[0]
    return True if len(fair) == len(claim.decided_by) and all(sides.values()) else None


def _missing(claim: Claim, parts: Mapping[str, Sequence[Finding]], rule: Rule) -> tuple[str, ...]:
    """What would decide the readings that are open."""
    missing = []
    absences: dict[str, list[str]] = {}
    for protocol, part in parts.items():
        absent = [n for n in claim.decided_by if n not in {f.experiment for f in part}]
        if absent:
            absences.setdefault("; ".join(map(label_of, absent)), []).append(protocol)
    for labels, protocols in absences.items():
        alone = READINGS.get(protocols[0]) if len(protocols) == 1 else None
        missing.append(f"runs of {labels}{f' ({alone})' if alone else ''}")
    findings = [f for part in parts.values() for f in part]
    missing += dict.fromkeys(text for f in findings for text in f.lacking)
    moving = [f.drift for f in findings if not at_rest(f, rule)]
    if moving:
        drift = max(moving)
        text = f"the last tenth lies {100 * drift:.1f} points from the tenth before it"
        missing.append(f"a curve at rest ({text})")
    few = [f.n for f in findings if f.draws and f.n < rule.seeds]
    if few:
        more = rule.seeds - min(few)
        text = f"{more} more seed{'s' if more > 1 else ''}"
        missing.append(f"{text} (has {min(few)} of {rule.seeds})")
    wide = [f.experiment for f in findings if is_fair(f, rule) and compared(claim, f, rule) is None]
    return (*missing, *_narrower(wide))


def _narrower(conditions: Iterable[str]) -> tuple[str, ...]:
    """What would decide trials that are fair but whose intervals are too wide."""
    names = dict.fromkeys(conditions)
    return tuple(f"more seeds of {label_of(n)} (its interval is too wide)" for n in names)
