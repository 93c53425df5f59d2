"""How measured numbers are written for readers."""

from __future__ import annotations

import math
import statistics
from collections.abc import Callable, Sequence
from typing import Any

import pandas as pd

NONE = "–"
"""Stands where there is no number: the paper gives none, or nothing was measured."""

READINGS = {"others": "query excluded", "all": "query included"}
"""What readers are told of the candidates of a router."""


def finite(value: Any) -> Any:
    """The value as JSON has it: None for NaN and infinity."""
    return None if isinstance(value, float) and not math.isfinite(value) else value


def percent(value: float) -> str:
    """A fraction for readers: `98.4%`."""
    return f"{100 * value:.1f}%"


def spread(mean: float, sd: float) -> str:
    """Mean and standard deviation over seeds, for readers: `98.4 ± 0.3%`; one seed has none."""
    return percent(mean) if pd.isna(sd) else f"{100 * mean:.1f} ± {100 * sd:.1f}%"


def seeds_text(count: int) -> str:
    """How many seeds, for readers: `1 seed`, `3 seeds`."""
    return "1 seed" if count == 1 else f"{count} seeds"


def over_seeds(values: Sequence[float]) -> str:
    """As `spread`, from the values of the seeds, of which there is at least one."""
    sd = statistics.stdev(values) if len(values) > 1 else math.nan
    return spread(statistics.fmean(values), sd)


def number(mean: float, sd: float) -> str:
    """As `spread`, for what is no share: a cosine `0.58 ± 0.02`, a rank `10.0 ± 0.2`."""
    digits = 2 if abs(mean) < 1 else 1
    text = f"{mean:.{digits}f}"
    return text if pd.isna(sd) else f"{text} ± {sd:.{digits}f}"


def texts(
    summary: pd.DataFrame, write: Callable[[float, float], str] | None = None
) -> dict[str, str]:
    """A `Results.summary` for readers, by condition; `write` is `spread` if left out."""
    return {name: (write or spread)(row["mean"], row["sd"]) for name, row in summary.iterrows()}
