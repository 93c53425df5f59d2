"""What the paper says, number by number, and where it contradicts itself."""

from __future__ import annotations

import math
from collections.abc import Collection, Mapping
from functools import cache
from importlib.resources import files
from typing import Any, Literal

import yaml
from pydantic import Field, model_validator

from fcilib.ledger.agreement import (
    STANDARD,
    Level,
    Rule,
    ends,
    margins,
    near_chance,
    reproduction,
)
from fcilib.ledger.intervals import Interval
from fcilib.specs.spec import Spec
from fcilib.study.notation import number, percent, spread

FAILURE, SUCCESS = 0.35, 0.8
"""The usual lines of a `direction`: what the paper calls a failure, and a success (section 5)."""


class Direction(Spec):
    """The side on which the statement behind a number holds, whatever the number."""

    relation: Literal["at most", "at least", "at chance"]
    value: float | None = None
    """The line; None at chance, which depends on the size."""

    @model_validator(mode="after")
    def _has_a_line(self) -> Direction:
        if (self.value is None) != (self.relation == "at chance"):
            raise ValueError("value: a line, unless the relation is chance, which has none")
        return self


class Reading(Spec):
    """Another sensible reading of a protocol: the same runs, counted in another way."""

    protocol: str
    """The protocol of the runs; "" where there is one."""
    metric: str = Field(min_length=1)
    """The column that takes the place of the claim's."""
    says: str = Field(min_length=1)
    """What is counted, for whoever has read nothing else."""


class Claim(Spec):
    """One number of the paper."""

    place: str = Field(min_length=1)
    """Where the paper says it."""
    statement: str = Field(min_length=1)
    """The sentence, in our words."""
    title: str | None = None
    """What heads its row on the ledger's page; None where the statement does."""
    plain: str | None = None
    """The statement in plainer words, for the first page."""
    gloss: str | None = None
    """What a reader of the first page has to know besides, if the claim stands or falls."""
    metric: str = Field(min_length=1)
    """The column of a run's metrics that decides it."""
    statistic: Literal["mean", "sd"] = "mean"
    """Of the metric over seeds: what the claim is about."""
    progress: float = Field(1.0, gt=0, le=1)
    """The share of training after which it is about a metric; below 1, read off the curve."""
    value: float
    """A share, from 0 to 1, unless `unit` says otherwise."""
    relation: Literal["equals", "at most", "at least"] = "equals"
    unit: Literal["share", "number"] = "share"
    decimals: Literal[0, 1] = 1
    """Of a share, in percent, as the paper prints it."""
    chance: bool = True
    """False if random picks have no such number, as of a cosine or a rank."""
    tolerance: float | None = Field(None, ge=0)
    """None: by the rule for shares. 0 at a threshold, where only the side counts."""
    decided_by: list[str] = Field([])
    """Names of `fcilib.ledger.catalogue.catalogue`; a claim on several holds if it does of each."""
    literal: str | None = "all"
    """The protocol that the paper's text describes, where several were run; None if it describes
    none of them."""
    readings: dict[str, Reading] = Field({})
    """Further readings that count, by the name that a verdict gives them."""
    direction: Direction | None = None
    """The statement behind the number; None where the number is the statement."""
    undefined: str | None = None
    """What the paper leaves undefined, so that no trial could decide."""
    counted: bool = False
    """True if the number follows by counting, whatever the size."""
    untested: str | None = None
    """Why nothing decides it; beside `decided_by`, why there may be no record."""
    note: str | None = None
    """What one has to know who reads the verdict."""

    @model_validator(mode="after")
    def _is_whole(self) -> Claim:
        if self.unit == "share" and not 0 <= self.value <= 1:
            raise ValueError(f"value: {self.value} is no share")
        if self.unit == "number" and self.tolerance is None:
            raise ValueError("tolerance: a number that is no share needs one of its own")
        if self.direction and self.relation != "equals":
            raise ValueError("direction: a bound is a statement by itself")
        if not self.decided_by and not self.untested:
            raise ValueError("untested: a claim that nothing decides needs a reason")
        return self

    def zone(self, level: Level | None, rule: Rule = STANDARD) -> tuple[Interval, float]:
        """The values that agree with the claim at a chance level, and the margin they hold.

        The margin is the farther of the two ends' distance from the number that is expected.
        Raises ValueError for a share whose chance level is missing, unless the claim has none.
        """
        if self.tolerance is not None or self.statistic == "sd":
            value, below = self.value, self.tolerance or 0.0
            above = below
        elif self.chance and level is None:
            raise ValueError("level: chance is missing, and the claim has a chance level")
        else:
            value, below, above = margins(self.value, self.decimals, level, rule)
        return ends(self.relation, value, below, above, rule), max(below, above)

    def agrees(
        self, mean: float, sd: float = math.nan, level: Level | None = None, rule: Rule = STANDARD
    ) -> bool:
        """Whether what was measured is what the paper says, for a chapter's table.

        Args:
            mean: over seeds.
            sd: the standard deviation over seeds, NaN for one seed.
            level: chance here and at the paper's sizes; None if the claim has none.
            rule: how near is near enough.
        """
        agreeing, margin = self.zone(level, rule)
        if self.statistic == "sd":
            return sd in agreeing
        if self.tolerance is None and not math.isnan(sd):
            middle = margins(self.value, self.decimals, level)[0]
            more = min(rule.deviations * sd, rule.widest * margin)
            wide = ends(self.relation, middle, more, more, rule)
            agreeing = Interval(min(agreeing.low, wide.low), max(agreeing.high, wide.high))
        return mean in agreeing

    def near_chance(self, mean: float, level: Level | None) -> bool:
        """Whether the paper's share and ours are both near chance; False where there is none."""
        judged = self.relation == "equals" and self.tolerance is None and self.statistic == "mean"
        return judged and level is not None and near_chance(self.value, mean, level)

    def verdict(self, measured: Mapping[str, tuple[float, float, Level | None]]) -> str:
        """What a table says of (mean, s.d., chance) under several protocols, by their names."""
        near = all(self.near_chance(mean, level) for mean, _, level in measured.values())
        return reproduction({name: self.agrees(*found) for name, found in measured.items()}, near)

    def write(self, mean: float, sd: float) -> str:
        """A measured mean and its standard deviation, for readers, as this claim's unit has it."""
        return (spread if self.unit == "share" else number)(mean, sd)

    def span(self, values: Collection[float]) -> str:
        """The lowest and the highest of some means as `write` has them, once where they read alike;
        "" for none.
        """
        ends = (self.write(end(values), math.nan) for end in (min, max)) if values else ()
        return " to ".join(dict.fromkeys(ends))

    @property
    def behind(self) -> str | None:
        """The statement behind the number, in words; None where the number is the statement."""
        if self.direction is None:
            return None
        line = self.direction.value
        end = "" if line is None else f" {self.write(line, math.nan)}"
        return f"{self.direction.relation}{end}"

    def __str__(self) -> str:
        sign = {"at most": "≤ ", "at least": "≥ "}.get(self.relation, "")
        return f"{sign}{percent(self.value) if self.unit == 'share' else f'{self.value:g}'}"


class Contradiction(Spec):
    """Two numbers or sentences of the paper, for one thing, that disagree."""

    what: str = Field(min_length=1)
    where: str = Field(min_length=1)
    reading: str | None = None
    """What we do; None where nothing had to be done."""


@cache
def _content() -> Mapping[str, Mapping[str, Mapping[str, Any]]]:
    return yaml.safe_load(files("fcilib.ledger").joinpath("claims.yaml").read_text("utf-8"))


@cache
def claims() -> Mapping[str, Claim]:
    """Every claim by its name. Raises `pydantic.ValidationError` where one is ill-formed."""
    return {name: Claim(**fields) for name, fields in _content()["claims"].items()}


@cache
def contradictions() -> Mapping[str, Contradiction]:
    """Every contradiction by its name; raises as `claims` does."""
    return {n: Contradiction(**fields) for n, fields in _content()["contradictions"].items()}
