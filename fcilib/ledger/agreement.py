"""When a number agrees with the paper's: the rule, in one place.

The paper's number is itself a measurement. It is rounded, and it was counted over so many test
sequences. What agrees with it is an interval around it, whose ends lie two points away, but

* no farther than half the way to chance, for two points are nothing at 80% and everything at 1%;
* no nearer than the paper's own error, which no experiment of ours can undo.
"""

from __future__ import annotations

import math
from collections.abc import Mapping
from dataclasses import dataclass

from fcilib.ledger.intervals import Interval, wilson


@dataclass(frozen=True)
class Rule:
    """How near is near enough, and what a fair trial is. Shares are from 0 to 1."""

    name: str = "the rule"
    margin: float = 0.02
    """Within so much of the paper's number, as a share, a number agrees."""
    way: float = 0.5
    """But within no more than this part of the way from the paper's number to chance."""
    rounding: float = 0.5
    """By so many units of the last place that it prints the paper's number may be off."""
    paper_examples: int = 1000
    """Test sequences that a number of the paper is assumed to rest on, of one seed. The paper does
    not say how many. A thousand is the fewest with which the tenth of a percent that it prints can
    be told, and gives its numbers the widest error that they may have."""
    deviations: float = 2
    """In a chapter's table a mean also agrees within so many standard deviations over seeds, but
    not beyond `widest` margins."""
    widest: float = 2.5
    """An interval that reaches farther than so many margins from its mean decides nothing."""
    told: float = 3
    """The power that is demanded of what is to be called "at chance": its interval leaves out so
    many times chance. Three seeds of 1,000 sequences have it at one in 512; one seed has not."""
    seeds: int = 3
    """As many as the paper trained (§3.2)."""
    at_rest: float = 0.01
    """A curve is at rest if the means of its last tenth and of the tenth before it differ by no
    more than this."""
    slack: float = 0.0
    """Every border is moved outwards by so much: 0, but to ask which answers lie near one."""


STANDARD = Rule()

RULE = "the margin"
"""Within what two numbers agree, in a figure's legend."""

ROUNDING = 1e-9
"""Numbers are compared as they are written, in decimals."""


@dataclass(frozen=True)
class Level:
    """What picks at random would give of a metric that is a share of examples."""

    here: float
    """At the size that was measured."""
    there: float
    """At the paper's."""


def paper_interval(value: float, decimals: int, rule: Rule = STANDARD) -> Interval:
    """The 95% interval of a share that the paper prints, with so many decimals of a percentage.

    Wilson's, from the lowest number that is rounded to this one to the highest.
    """
    off = rule.rounding * 10.0 ** -(decimals + 2)
    low = wilson(max(value - off, 0.0), rule.paper_examples).low
    return Interval(low, wilson(min(value + off, 1.0), rule.paper_examples).high)


def expected(value: float, level: Level) -> float:
    """The share that the paper's number would be at our chance level.

    As far above chance, of the way from chance to 1: the usual correction for guessing.
    """
    return level.here + (value - level.there) * (1 - level.here) / (1 - level.there)


def margins(
    value: float, decimals: int, level: Level | None, rule: Rule = STANDARD
) -> tuple[float, float, float]:
    """The share to expect here, and how far below and above it a share agrees.

    `level`: None where picks at random have no such number, so that no distance from chance and no
    error of a test set is known. The margin then is the rule's.
    """
    if level is None:
        return value, rule.margin, rule.margin
    here, error = expected(value, level), paper_interval(value, decimals, rule)
    margin = min(rule.margin, rule.way * abs(here - level.here))
    return here, max(margin, value - error.low), max(margin, error.high - value)


def ends(relation: str, value: float, below: float, above: float, rule: Rule) -> Interval:
    """What agrees with a value or a bound, with a margin on either side."""
    low, high = value - below - rule.slack - ROUNDING, value + above + rule.slack + ROUNDING
    return Interval(
        -math.inf if relation == "at most" else low, math.inf if relation == "at least" else high
    )


def at_chance(measured: Interval, chance: float, rule: Rule = STANDARD) -> bool | None:
    """True if a number is no better than chance, False if it is better, None if nobody can tell.

    It is no better if its interval does not lie above chance, and is short enough to leave out
    `rule.told` times chance: a number so far above chance would have been told from it.
    """
    if measured.low - rule.slack > chance:
        return False
    return True if measured.high - rule.slack < rule.told * chance else None


NEAR_CHANCE = "both near chance"
"""What a chapter's table says where two numbers differ and both are near chance."""


def near_chance(value: float, mean: float, level: Level, rule: Rule = STANDARD) -> bool:
    """True if the paper's number is so near chance that two points would not tell them apart, and
    ours lies within two points of chance.
    """
    away = abs(expected(value, level) - level.here)
    return rule.way * away < rule.margin and abs(mean - level.here) <= rule.margin + rule.slack


def reproduction(agreements: Mapping[str, bool], near: bool = False) -> str:
    """What a chapter's table says of a number that agrees, or not, under each of its protocols.

    `near`: True if under each of them the paper's number and ours are both near chance.
    """
    agreeing = [name for name, agrees in agreements.items() if agrees]
    if not agreements:
        return "not tested"
    if len(agreeing) == len(agreements):
        return "reproduced"
    if agreeing:
        return f"only under {', '.join(agreeing)}"
    return NEAR_CHANCE if near else "not reproduced"
