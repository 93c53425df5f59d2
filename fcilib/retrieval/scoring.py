"""How good a choice of segments is, and how good it is by chance."""

from __future__ import annotations

import operator
from collections.abc import Iterable
from math import comb

from fcilib.retrieval.segments import Segments

METRICS = ("any_hit", "all_hit", "segment_recall")


def score(picked: Iterable[int], segments: Segments) -> dict[str, float]:
    """How good a choice of segments is, each from 0 to 1.

    `any_hit`: is a supporting sentence in a picked segment? The paper's metric.
    `all_hit`: are all supporting sentences in picked segments?
    `segment_recall`: the share of gold segments that were picked.

    Raises ValueError on an index that is no segment's.
    """
    chosen = {operator.index(index) for index in picked}
    if not chosen <= set(range(len(segments))):
        raise ValueError(f"picked: {sorted(chosen)} are not all among {len(segments)} segments")
    found = [home in chosen for home in segments.homes]
    return {
        "any_hit": float(any(found)),
        "all_hit": float(all(found)),
        "segment_recall": len(segments.gold & chosen) / len(segments.gold),
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
