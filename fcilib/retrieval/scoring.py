"""How good the best segments are, and how good segments picked at random would be."""

from __future__ import annotations

from math import comb

import numpy as np

from fcilib.retrieval.segments import Segments
from fcilib.routers.router import TIE

METRICS = ("any_hit", "all_hit", "segment_recall")


def score(scores: np.ndarray, segments: Segments, pick: int) -> dict[str, float]:
    """How good the `pick` segments of highest score are, each from 0 to 1.

    `any_hit`: is a supporting sentence in a picked segment? The paper's metric.
    `all_hit`: are all supporting sentences in picked segments?
    `segment_recall`: the share of gold segments that were picked.

    Segments that tie for the last places are picked with equal chance: the result is the mean over
    all ways to pick among them, by counting. Where there are fewer segments than `pick`, all are
    picked. Raises ValueError unless `scores` are `(n,)` finite numbers and `pick` is at least 1.
    """
    scores = np.asarray(scores, dtype=float)
    if scores.shape != (len(segments),) or not np.isfinite(scores).all():
        raise ValueError(f"scores: are not {len(segments)} finite numbers, one for each segment")
    if pick < 1:
        raise ValueError(f"pick: {pick} segments; pick one or more")
    pick = min(pick, len(segments))
    last, slack = np.sort(scores)[-pick], TIE * np.abs(scores).max()
    sure = set(np.flatnonzero(scores > last + slack).tolist())
    tied = set(np.flatnonzero(scores >= last - slack).tolist()) - sure
    rest, missing = pick - len(sure), segments.gold - sure
    n, m, ways = len(tied), len(missing & tied), comb(len(tied), rest)
    return {
        "any_hit": 1 - comb(n - m, rest) / ways if missing == segments.gold else 1.0,
        "all_hit": comb(n - m, rest - m) / ways if missing <= tied and m <= rest else 0.0,
        "segment_recall": (len(segments.gold - missing) + m * rest / n) / len(segments.gold),
    }


def chance(segments: Segments, pick: int) -> dict[str, float]:
    """The mean of `score` over all ways to pick that many segments, by counting.

    Where there are fewer segments than `pick`, all are picked. Raises ValueError on a negative
    `pick`.
    """
    if pick < 0:
        raise ValueError(f"pick: {pick} is negative")
    n, g = len(segments), len(segments.gold)
    p = min(pick, n)
    return {
        "any_hit": 1 - comb(n - g, p) / comb(n, p),
        "all_hit": comb(n - g, p - g) / comb(n, p) if g <= p else 0.0,
        "segment_recall": p / n,
    }


def variance(segments: Segments, pick: int) -> dict[str, float]:
    """The variance of `score` over all ways to pick that many segments, by counting."""
    mean = chance(segments, pick)
    hits = {name: mean[name] * (1 - mean[name]) for name in ("any_hit", "all_hit")}
    # The number of gold segments among the picked is hypergeometric.
    n, g, p = len(segments), len(segments.gold), min(pick, len(segments))
    spread = p * g / n * (1 - g / n) * (n - p) / (n - 1) if n > 1 else 0.0
    return {**hits, "segment_recall": spread / g**2}
