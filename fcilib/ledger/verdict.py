"""The ledger's rule: when a number agrees with the paper's, and the verdict on a claim."""

from __future__ import annotations

import math
from collections.abc import Mapping, Sequence
from dataclasses import dataclass

from fcilib.ledger.agreement import ROUNDING
from fcilib.ledger.catalogue import ONLY
from fcilib.ledger.claims import Claim, Direction
from fcilib.ledger.findings import Finding
from fcilib.ledger.intervals import Interval

HOLDS = "holds"
UNDER = "holds under"
SUBSTANCE = "the statement holds, the number differs"
CONTRADICTED = "contradicted"
OPEN = "open"
NOT_HERE = "not testable here"
VERDICTS = (HOLDS, UNDER, SUBSTANCE, CONTRADICTED, OPEN, NOT_HERE)
"""The kinds of verdict, as a summary counts them; the second names its protocols."""


@dataclass(frozen=True)
class Rule:
    """How near is near enough, and how many seeds a fair trial takes."""

    name: str
    margin: float = 0.02
    """Within so much of the paper's number, as a share, a number agrees."""
    near: float = 0.03
    """Where the paper's number is no farther from chance than this, the margin is at most one
    chance level."""
    widest: float = 2.5
    """An interval that reaches farther than so many margins from its mean decides nothing."""
    seeds: int = 3
    """As many as the paper trained (§3.2)."""


STANDARD = Rule("the rule")
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
    """True if a trial has the paper's sizes and steps, and seeds enough."""
    return not finding.lacking and (finding.n >= rule.seeds or not finding.draws)


def zone(claim: Claim, finding: Finding, rule: Rule) -> tuple[Interval, float]:
    """The values that agree with the claim at the finding's size, and the margin that they hold.

    The paper's number with a margin on either side, or without an end where it is a bound. Near
    chance what counts is the distance from chance: the number moves with the chance level of the
    size, and the margin is at most one chance level.
    """
    value, margin = claim.value, claim.tolerance
    if margin is None:
        margin = rule.margin if claim.statistic == "mean" else 0.0
        if abs(value - finding.chance_there) <= rule.near:
            value += finding.chance_here - finding.chance_there
            margin = min(margin, finding.chance_here)
    return _ends(claim.relation, value, margin + ROUNDING), margin


def _ends(relation: str, value: float, margin: float) -> Interval:
    low = -math.inf if relation == "at most" else value - margin
    return Interval(low, math.inf if relation == "at least" else value + margin)


def compared(claim: Claim, finding: Finding, rule: Rule = STANDARD) -> bool | None:
    """True if a number agrees, False if it does not, None if its interval is too wide to say."""
    agreeing, margin = zone(claim, finding, rule)
    measured = finding.sd if claim.statistic == "sd" else finding.mean
    half = max(measured - finding.interval.low, finding.interval.high - measured)
    if finding.interval.misses(agreeing):
        return False
    sharp = finding.interval.within(agreeing) or half <= rule.widest * margin
    return True if measured in agreeing and sharp else None


def directed(direction: Direction, finding: Finding) -> bool | None:
    """True if the whole interval is on the statement's side, False if none of it is."""
    side = _ends(direction.relation, direction.value, 0.0)
    if finding.interval.misses(side):
        return False
    return True if finding.interval.within(side) else None


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
        return Judgement(OPEN, (claim.untested or "runs at the paper’s sizes",), conditions)
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
    sides = {p: [directed(claim.direction, f) for f in part] for p, part in fair.items()}
    if any(all(part) and len(part) == len(conditions) for part in sides.values()):
        return Judgement(SUBSTANCE, (), deciding)
    unsure = {p: findings[p] for p, part in sides.items() if False not in part}
    if unsure:
        names = dict.fromkeys(
            f.experiment for p in unsure for f in fair[p] if directed(claim.direction, f) is None
        )
        narrower = tuple(f"a narrower interval of {n}" for n in names)
        return Judgement(OPEN, narrower or _missing(claim, unsure, rule), conditions)
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
    for protocol, part in parts.items():
        absent = [n for n in claim.decided_by if n not in {f.experiment for f in part}]
        under = f" under {protocol}" if protocol else ""
        missing += [f"runs of {', '.join(absent)}{under}"] if absent else []
    findings = [f for part in parts.values() for f in part]
    missing += dict.fromkeys(text for f in findings for text in f.lacking)
    few = [f.n for f in findings if f.draws and f.n < rule.seeds]
    missing += [f"{rule.seeds} seeds (here {min(few)})"] if few else []
    wide = [f.experiment for f in findings if is_fair(f, rule) and compared(claim, f, rule) is None]
    missing += [f"a narrower interval of {name}" for name in dict.fromkeys(wide)]
    return tuple(missing)
