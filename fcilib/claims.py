"""What the paper says, number by number, held against what was measured."""

from __future__ import annotations

import math
from collections.abc import Callable, Mapping
from functools import cache
from importlib.resources import files
from types import MappingProxyType
from typing import Literal

import pandas as pd
import yaml
from pydantic import Field, model_validator

from fcilib.spec import Spec
from fcilib.study import Summarised

TOLERANCE = 0.05
"""A measured mean within five points of the paper's number agrees with it. Set beforehand, for
every share alike; numbers of another kind bring their own."""

NONE = "–"
"""Where the paper says nothing."""

CHANCE = "random router"
"""The condition whose metrics are the chance level of all others run beside it."""


class Claim(Spec):
    """One number of the paper."""

    source: str
    """Where the paper says it."""
    statement: str
    metric: str
    """The column of a run's metrics that decides it."""
    value: float
    """A share, from 0 to 1, unless `unit` says otherwise."""
    relation: Literal["equals", "at most", "at least"] = "equals"
    unit: Literal["share", "number"] = "share"
    tolerance: float = Field(TOLERANCE, ge=0)

    @model_validator(mode="after")
    def _a_share_is_one(self) -> Claim:
        if self.unit == "share" and not 0 <= self.value <= 1:
            raise ValueError(f"value: {self.value} is no share")
        return self

    def agrees(self, measured: float) -> bool:
        """Whether a measured mean is what the paper says, within the tolerance."""
        over = measured - self.value
        if self.relation == "at most":
            return over <= self.tolerance
        if self.relation == "at least":
            return over >= -self.tolerance
        return abs(over) <= self.tolerance

    def verdict(self, measured: Mapping[str, float]) -> str:
        """The verdict on means measured under several protocols, by the protocol's name."""
        if not measured:
            return "not tested"
        agreeing = [name for name, mean in measured.items() if self.agrees(mean)]
        if len(agreeing) == len(measured):
            return "reproduced"
        if agreeing:
            return f"only under {', '.join(agreeing)}"
        return "not reproduced"

    def write(self, mean: float, sd: float) -> str:
        """A measured mean and its standard deviation, for readers, as this claim's unit has it."""
        return (spread if self.unit == "share" else number)(mean, sd)

    def __str__(self) -> str:
        sign = {"at most": "≤ ", "at least": "≥ "}.get(self.relation, "")
        return f"{sign}{percent(self.value) if self.unit == 'share' else f'{self.value:g}'}"


@cache
def claims() -> Mapping[str, Claim]:
    """Every claim by its name. Raises `pydantic.ValidationError` where one is ill-formed."""
    content = yaml.safe_load(files("fcilib").joinpath("claims.yaml").read_text("utf-8"))
    return {name: Claim(**fields) for name, fields in content.items()}


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
        means = {p: float(s.loc[condition, "mean"]) for p, s in summaries.items()}
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
                    "agrees": claim.agrees(means[protocol]) if claim else None,
                    "verdict": claim.verdict(means) if claim else NONE,
                }
            )
    return pd.DataFrame(found)


def table(comparison: pd.DataFrame) -> pd.DataFrame:
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
    return labelled(pd.DataFrame.from_dict(rows, orient="index"), "condition")


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
