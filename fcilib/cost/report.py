"""A measured bench as tables and slopes."""

from __future__ import annotations

from collections.abc import Callable, Iterable, Mapping

import numpy as np
import pandas as pd

from fcilib.cost.bench import Cost


def frame(*costs: Cost) -> pd.DataFrame:
    """One row per workload and length, and per repetition where several costs are given.

    Columns: workload, seed, length, forward, backward, seconds (forward and backward), median,
    megabytes.
    """
    parts = [
        pd.DataFrame({"workload": name, "seed": cost.bench.seed, **curve.model_dump()})
        for cost in costs
        for name, curve in cost.curves.items()
    ]
    measured = pd.concat(parts, ignore_index=True)
    measured.insert(4, "backward", measured.seconds - measured.forward)
    return measured


def ratios(measured: pd.DataFrame, to: str, quantity: str = "seconds") -> pd.Series:
    """How many times the named workload's each row's quantity is; NaN where that one stopped.

    Raises ValueError where no workload has that name.
    """
    if to not in set(measured.workload):
        raise ValueError(f"{to!r} is none of {', '.join(measured.workload.unique())}")
    base = measured[measured.workload == to].set_index(["seed", "length"])[quantity]
    keys = pd.MultiIndex.from_frame(measured[["seed", "length"]])
    return measured[quantity] / base.reindex(keys).to_numpy()


AGREES_WITHIN = 0.1
"""A measured slope this far from the claimed growth's own, or less, agrees with it."""

GROWTHS: Mapping[str, Callable[[np.ndarray], np.ndarray]] = {
    "O(n)": lambda n: n,
    "O(n log n)": lambda n: n * np.log(n),
    "O(n²)": lambda n: n**2,
}


def slopes(measured: pd.DataFrame, quantity: str) -> pd.DataFrame:
    """The power p in cost = c n^p: least squares of log cost on log n, by workload.

    Taken over the upper half of the lengths that a workload reached in all repetitions: below,
    what does not depend on n hides the growth.

    Args:
        measured: as `frame` gives it.
        quantity: a column of it.

    Returns:
        A row per workload: mean and sd over repetitions, and the first and last length used. NaN
        where fewer than two lengths are left.
    """
    rows = {}
    for name, part in measured.groupby("workload", sort=False):
        table = part.pivot(index="length", columns="seed", values=quantity).dropna()
        table = table.iloc[len(table) // 2 :]
        powers = pd.Series([_power(table.index, table[seed]) for seed in table], dtype=float)
        ends = (table.index[0], table.index[-1]) if len(table) else (np.nan, np.nan)
        rows[name] = (powers.mean(), powers.std(), *ends)
    return pd.DataFrame.from_dict(rows, orient="index", columns=["mean", "sd", "first", "last"])


def against_claims(measured: pd.DataFrame, claims: Mapping[str, str]) -> pd.DataFrame:
    """Each workload's slope in time beside that of the growth it is said to have.

    Args:
        measured: as `frame` gives it.
        claims: a key of `GROWTHS` by workload.

    Returns:
        A row per claim: claim, expected (the slope of that growth over the same lengths), mean and
        sd of the measured one, first and last length, and whether the two agree.
    """
    table = slopes(measured, "seconds").loc[list(claims)]
    table.insert(0, "claim", pd.Series(claims))
    lengths = np.sort(measured.length.unique()).astype(float)
    expected = {}
    for name, row in table.iterrows():
        used = lengths[(lengths >= row["first"]) & (lengths <= row["last"])]
        expected[name] = _power(used, GROWTHS[row.claim](used))
    table.insert(1, "expected", pd.Series(expected))
    table["agrees"] = (table["mean"] - table.expected).abs() <= AGREES_WITHIN
    return table


def _power(lengths: Iterable[float], costs: Iterable[float]) -> float:
    x, y = np.asarray(lengths, dtype=float), np.asarray(costs, dtype=float)
    if len(x) < 2 or (y <= 0).any():
        return np.nan
    return float(np.polyfit(np.log(x), np.log(y), 1)[0])
