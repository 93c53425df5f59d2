"""What a study gives back: finished runs and retrievals, as tables by condition and seed."""

from __future__ import annotations

import math
from collections.abc import Mapping
from dataclasses import dataclass

import pandas as pd

from fcilib.retrieval import METRICS, ReadingRecord, RetrievalRecord
from fcilib.training.records import Record


class Summarised:
    """Numbers by condition and seed."""

    records: Mapping[tuple[str, int], Record] | Mapping[tuple[str, int], RetrievalRecord]
    """Finished runs by (condition, seed)."""

    @property
    def frame(self) -> pd.DataFrame:
        """One row per condition and seed, with whatever was measured in columns."""
        raise NotImplementedError

    def summary(self, metric: str) -> pd.DataFrame:
        """Mean, standard deviation over seeds (NaN for one seed) and n, by condition, in order.

        Raises KeyError for a metric that no run has, with those that there are.
        """
        frame = self.frame
        if metric not in frame:
            raise KeyError(f"metric: {metric!r} is none of {', '.join(sorted(frame.columns))}")
        grouped = frame.groupby("condition", sort=False)[metric]
        return grouped.agg(mean="mean", sd="std", n="count")


@dataclass(frozen=True)
class Retrievals(Summarised):
    """Finished retrievals by (condition, seed)."""

    records: Mapping[tuple[str, int], RetrievalRecord]

    @property
    def frame(self) -> pd.DataFrame:
        """One row per retrieval: condition, seed, every metric, also on what it was trained on
        (`…_train`), the exact chance of each (`…_chance`), and how far chance scatters
        (`…_chance_error`).
        """
        kinds = {
            "": "metrics",
            "_train": "train_metrics",
            "_chance": "chance",
            "_chance_error": "chance_error",
        }
        return pd.DataFrame(
            {
                "condition": name,
                "seed": seed,
                **{
                    f"{metric}{end}": getattr(record, kind).get(metric, math.nan)
                    for end, kind in kinds.items()
                    for metric in METRICS
                },
            }
            for (name, seed), record in self.records.items()
        )

    @property
    def questions(self) -> RetrievalRecord:
        """A record, for what all of them say of the questions alike."""
        return next(iter(self.records.values()))


@dataclass(frozen=True)
class Readings:
    """Finished readings by condition."""

    records: Mapping[str, ReadingRecord]

    def each(self, metric: str) -> pd.DataFrame:
        """A row for each question, a column for each condition, values from 0 to 1.

        Args:
            metric: `exact` and `f1`, of the questions that were read; `recall`, whether the answer
                stands in a picked segment, of all validation questions whose answer is not yes or
                no.
        """
        return pd.DataFrame({name: _of_each(r, metric) for name, r in self.records.items()})

    @property
    def questions(self) -> ReadingRecord:
        """A record, for what all of them say of the questions alike."""
        return next(iter(self.records.values()))


def _of_each(record: ReadingRecord, metric: str) -> list[float]:
    if metric == "f1":
        return record.f1
    bits = {"exact": record.exact, "recall": record.held.replace("-", "")}[metric]
    return [float(bit) for bit in bits]


@dataclass(frozen=True)
class Results(Summarised):
    """Finished runs by (condition, seed)."""

    records: Mapping[tuple[str, int], Record]

    def __or__(self, other: Results) -> Results:
        """The runs of both. Raises ValueError where they call different runs by one name."""
        for name, seed in self.records.keys() & other.records.keys():
            if self.records[name, seed].experiment != other.records[name, seed].experiment:
                raise ValueError(f"{name!r} names different experiments; rename one of them")
        return Results({**self.records, **other.records})

    @property
    def frame(self) -> pd.DataFrame:
        """One row per run: condition, seed, and its `numbers`."""
        return pd.DataFrame(
            {"condition": name, "seed": seed, **numbers(record)}
            for (name, seed), record in self.records.items()
        )

    @property
    def curves(self) -> pd.DataFrame:
        """One row per run and epoch (from 1): condition, seed, epoch, every metric, the loss."""
        parts = pd.concat({key: pd.DataFrame(r.curve) for key, r in self.records.items()})
        table = parts.rename_axis(["condition", "seed", "epoch"]).reset_index()
        return table.assign(epoch=table.epoch + 1)

    def probe(self, name: str) -> pd.DataFrame:
        """One row per run and entry of a probe that is a list: condition, seed, index from 1."""
        rows = [
            {"condition": condition, "seed": seed, "index": index, name: value}
            for (condition, seed), record in self.records.items()
            if isinstance(values := record.probes.get(name), list)
            for index, value in enumerate(values, start=1)
        ]
        return pd.DataFrame(rows, columns=["condition", "seed", "index", name])


def numbers(record: Record) -> dict[str, float]:
    """Every number of a run: its metrics, its probes of one number, what it cost.

    `rank_share` is the probe `rank_90` as a share of the width. Of the precision by epoch:
    `largest_rise` and `largest_fall` from one epoch to the next, the first from zero, `rise_epoch`,
    the epoch of the largest rise, counted from 1, and `best_precision`. `most_gain` is the factor
    from the precision to 1, the most by which a better run could exceed it; infinite from 0.
    """
    curve, precision = record.curve.get("precision", []), record.metrics.get("precision", math.nan)
    steps = [after - before for before, after in zip([0.0, *curve], curve, strict=False)]
    probes = {n: v for n, v in record.probes.items() if not isinstance(v, list)}
    return {
        **record.metrics,
        **probes,
        "rank_share": probes.get("rank_90", math.nan) / record.experiment.width,
        "largest_rise": max(steps, default=math.nan),
        "largest_fall": max((-step for step in steps), default=math.nan),
        "rise_epoch": 1 + steps.index(max(steps)) if steps else math.nan,
        "best_precision": max(curve, default=math.nan),
        "most_gain": 1 / precision if precision else math.inf,
        "parameters": record.parameters,
        "seconds": record.seconds,
    }
