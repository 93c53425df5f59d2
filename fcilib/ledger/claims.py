"""What the paper says, number by number, held against what was measured."""

from __future__ import annotations

import math
from collections.abc import Callable, Iterable, Mapping
from dataclasses import dataclass
from functools import cache
from html import escape
from importlib.resources import files
from types import MappingProxyType
from typing import Any, Literal

import pandas as pd
import yaml
from pydantic import Field, model_validator

from fcilib.ledger.agreement import DEVIATIONS, ROUNDING, TOLERANCE, verdict
from fcilib.ledger.catalogue import CHANCE
from fcilib.specs.spec import Spec
from fcilib.study.results import Summarised

NONE = "–"
"""Where the paper says nothing."""


class Claim(Spec):
    """One number of the paper."""

    place: str = Field(min_length=1)
    """Where the paper says it."""
    statement: str = Field(min_length=1)
    """The sentence, in our words."""
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
    tolerance: float | None = Field(None, ge=0)
    """None: by the rule for shares. 0 at a threshold, where only the side counts."""
    decided_by: list[str] = Field([])
    """Names of `fcilib.ledger.catalogue.catalogue`; a claim on several holds if it does of each."""
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
        if not self.decided_by and not self.untested:
            raise ValueError("untested: a claim that nothing decides needs a reason")
        return self

    def agrees(self, mean: float, sd: float = math.nan) -> bool:
        """Whether what was measured is what the paper says, within the tolerance.

        `sd` is the standard deviation over seeds, NaN for one seed.
        """
        if self.statistic == "sd":
            measured, margin = sd, self.tolerance or 0.0
        else:
            spread = 0.0 if math.isnan(sd) else DEVIATIONS * sd
            measured = mean
            margin = max(TOLERANCE, spread) if self.tolerance is None else self.tolerance
        over = measured - self.value
        margin += ROUNDING
        if self.relation == "at most":
            return over <= margin
        if self.relation == "at least":
            return over >= -margin
        return abs(over) <= margin

    def verdict(self, measured: Mapping[str, tuple[float, float]]) -> str:
        """The verdict on (mean, s.d.) measured under several protocols, by the protocol's name."""
        return verdict({name: self.agrees(*found) for name, found in measured.items()})

    def write(self, mean: float, sd: float) -> str:
        """A measured mean and its standard deviation, for readers, as this claim's unit has it."""
        return (spread if self.unit == "share" else number)(mean, sd)

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


def compare(
    rows: Mapping[str, str | None],
    results: Mapping[str, Summarised],
    chance: Mapping[str, str] = MappingProxyType({}),
    metric: str = "precision",
) -> pd.DataFrame:
    """Paper, measured and chance, for each condition under each protocol.

    Args:
        rows: the claim's name for each condition that one was made about; None where the paper
            makes none.
        results: finished runs by protocol; each holds the conditions and their chance.
        chance: the condition that is a condition's chance level, where it is not `CHANCE`.
        metric: what a condition without a claim is shown by.

    Returns:
        One row per (condition, protocol): name, metric, claim, paper, mean, sd, n, chance, agrees,
        verdict. Without a claim, paper is NaN, agrees is None, and the texts are dashes.
    """
    found = []
    for condition, name in rows.items():
        claim = claims()[name] if name else None
        shown_by = claim.metric if claim else metric
        summaries = {p: r.summary(shown_by) for p, r in results.items()}
        found_of = {p: tuple(s.loc[condition, ["mean", "sd"]]) for p, s in summaries.items()}
        for protocol, summary in summaries.items():
            found.append(
                {
                    "condition": condition,
                    "protocol": protocol,
                    "name": name,
                    "metric": shown_by,
                    "claim": str(claim) if claim else NONE,
                    "paper": claim.value if claim else math.nan,
                    **summary.loc[condition].to_dict(),
                    "chance": float(summary.loc[chance.get(condition, CHANCE), "mean"]),
                    "agrees": claim.agrees(*found_of[protocol]) if claim else None,
                    "verdict": claim.verdict(found_of) if claim else NONE,
                }
            )
    return pd.DataFrame(found)


@dataclass(frozen=True)
class Linked:
    """A table whose row labels lead to the ledger, and are where the ledger leads back to."""

    frame: pd.DataFrame
    names: Mapping[str, str | None]
    """The claim that a row is about, by its label; None or missing where it is about none."""
    met: frozenset[str] = frozenset()
    """Claims that an earlier table of the page is where the ledger leads back to."""

    def __repr__(self) -> str:
        return repr(self.frame)

    def _repr_html_(self) -> str:
        met: set[str | None] = {*self.met}
        labels = {}
        for label in self.frame.index:
            name = self.names.get(label)
            anchor = f' id="{anchor_of(name)}"' if name and name not in met else ""
            met.add(name)
            link = f'<a{anchor} href="claims.html#{name}">{escape(label)}</a>'
            labels[label] = link if name else escape(label)
        shown = self.frame.map(lambda cell: escape(str(cell)))
        shown = shown.rename(index=labels, columns=escape).rename_axis(columns=escape)
        return shown.to_html(escape=False)


def anchor_of(name: str) -> str:
    """The anchor, on a chapter's page, of the row that decides a claim."""
    return f"decides-{name}"


def linked(
    frame: pd.DataFrame,
    names: Mapping[str, str | None],
    title: str,
    earlier: Iterable[Mapping[str, str | None]] = (),
) -> Linked:
    """The frame with a name over its row labels, each linked with the ledger's entry of its claim.

    `earlier` are the `names` of tables that stand before it on the page. Raises KeyError where a
    name is no claim's.
    """
    for name in filter(None, names.values()):
        claims()[name]
    met = frozenset(name for part in earlier for name in part.values() if name)
    return Linked(labelled(frame, title), names, met)


def table(comparison: pd.DataFrame) -> Linked:
    """A comparison of claims for readers: a row per condition; paper, measured and chance."""
    rows = {}
    for condition, part in comparison.groupby("condition", sort=False):
        claim = claims()[part.name.iloc[0]]
        by_chance = [claim.write(c, math.nan) for c in part.chance]
        if claim.unit == "share":  # one sign for all
            by_chance = [*(text.rstrip("%") for text in by_chance[:-1]), by_chance[-1]]
        rows[condition] = {
            "paper": part.claim.iloc[0],
            **{f"“{p.protocol}”": claim.write(p.mean, p.sd) for p in part.itertuples()},
            f"chance ({' / '.join(part.protocol)})": " / ".join(by_chance),
            "verdict": part.verdict.iloc[0],
        }
    names = dict(zip(comparison.condition, comparison.name, strict=True))
    return linked(pd.DataFrame.from_dict(rows, orient="index"), names, "condition")


def labelled(frame: pd.DataFrame, name: str) -> pd.DataFrame:
    """The frame with a name over its row labels, in the one header line that readers see."""
    return frame.rename_axis(index=None, columns=name)


def percent(value: float) -> str:
    """A fraction for readers: `98.4%`."""
    return f"{100 * value:.1f}%"


def texts(
    summary: pd.DataFrame, write: Callable[[float, float], str] | None = None
) -> dict[str, str]:
    """A `Results.summary` for readers, by condition; `write` is `spread` if left out."""
    return {name: (write or spread)(row["mean"], row["sd"]) for name, row in summary.iterrows()}


def number(mean: float, sd: float) -> str:
    """As `spread`, for what is no share: a cosine `0.58 ± 0.02`, a rank `10.0 ± 0.2`."""
    digits = 2 if abs(mean) < 1 else 1
    text = f"{mean:.{digits}f}"
    return text if pd.isna(sd) else f"{text} ± {sd:.{digits}f}"


def spread(mean: float, sd: float) -> str:
    """Mean and standard deviation over seeds, for readers: `98.4 ± 0.3%`; one seed has none."""
    return percent(mean) if pd.isna(sd) else f"{100 * mean:.1f} ± {100 * sd:.1f}%"
