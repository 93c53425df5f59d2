"""What was measured, held against what the paper says, condition by condition."""

from __future__ import annotations

import math
from collections.abc import Mapping
from types import MappingProxyType

import pandas as pd

from fcilib.ledger.catalogue import CHANCE
from fcilib.ledger.chance import level
from fcilib.ledger.claims import claims
from fcilib.study.notation import NONE
from fcilib.study.results import Summarised


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
    lines = []
    for condition, name in rows.items():
        claim = claims()[name] if name else None
        shown_by = claim.metric if claim else metric
        summaries = {p: r.summary(shown_by) for p, r in results.items()}
        measured = {}
        for p, s in summaries.items():
            mean, sd = s.loc[condition, ["mean", "sd"]]
            run = next(r for (label, _), r in results[p].records.items() if label == condition)
            measured[p] = mean, sd, level(claim, run) if claim else None
        for protocol, summary in summaries.items():
            lines.append(
                {
                    "condition": condition,
                    "protocol": protocol,
                    "name": name,
                    "metric": shown_by,
                    "claim": str(claim) if claim else NONE,
                    "paper": claim.value if claim else math.nan,
                    **summary.loc[condition].to_dict(),
                    "chance": float(summary.loc[chance.get(condition, CHANCE), "mean"]),
                    "agrees": claim.agrees(*measured[protocol]) if claim else None,
                    "verdict": claim.verdict(measured) if claim else NONE,
                }
            )
    return pd.DataFrame(lines)
