"""Intervals of means over seeds, with the error of finite test sets, and of spreads over seeds."""

from __future__ import annotations

import math
import statistics
from collections.abc import Sequence
from dataclasses import dataclass

import numpy as np

LEVEL = 0.95
"""Of intervals made as these are, this share holds the true value, if there are several seeds. That
of one seed has the error of the test sequences alone, and holds it less often."""

_NORMAL = statistics.NormalDist().inv_cdf((1 + LEVEL) / 2)
_STUDENT = (12.706, 4.303, 3.182, 2.776, 2.571, 2.447, 2.365, 2.306, 2.262)


@dataclass(frozen=True)
class Interval:
    """All values from `low` to `high`, both included; either may be infinite."""

    low: float
    high: float

    def __contains__(self, value: float) -> bool:
        return self.low <= value <= self.high

    def misses(self, other: Interval) -> bool:
        """True if the two have no value in common."""
        return self.high < other.low or self.low > other.high

    def within(self, other: Interval) -> bool:
        """True if every value of this one is one of the other's."""
        return other.low <= self.low and self.high <= other.high


def student(degrees: int) -> float:
    """The two-sided 95% quantile of Student's t; from ten degrees on by the expansion in 1 / n."""
    if degrees <= len(_STUDENT):
        return _STUDENT[degrees - 1]
    z = _NORMAL
    return z + (z**3 + z) / (4 * degrees) + (5 * z**5 + 16 * z**3 + 3 * z) / (96 * degrees**2)


def wilson(share: float, examples: int) -> Interval:
    """Wilson's interval of a share that was counted over so many independent examples."""
    z = _NORMAL**2 / examples
    centre = (share + z / 2) / (1 + z)
    half = math.sqrt(z * share * (1 - share) + z**2 / 4) / (1 + z)
    return Interval(max(0.0, centre - half), min(1.0, centre + half))


def interval(values: Sequence[float], examples: int | None) -> Interval:
    """The interval of the mean over seeds.

    The error over seeds is Student's, of one value a seed; one seed has none that is known. The
    error of the test sets is Wilson's. The two are joined as independent errors are, by the root of
    the sum of their squares, below and above the mean apart. Since every seed has a test set of its
    own, the spread over seeds holds some of the second error already: the interval errs on the wide
    side.

    Args:
        values: one for each seed.
        examples: held-out examples of each seed; None where the value is no share of examples.
    """
    mean, n = statistics.fmean(values), len(values)
    seeds = student(n - 1) * statistics.stdev(values) / math.sqrt(n) if n > 1 else 0.0
    if examples is None:
        return Interval(mean - seeds, mean + seeds)
    counted = wilson(min(max(mean, 0.0), 1.0), n * examples)
    below, above = math.hypot(seeds, mean - counted.low), math.hypot(seeds, counted.high - mean)
    return Interval(max(0.0, mean - below), min(1.0, mean + above))


def bootstrap(values: Sequence[float], draws: int = 4000) -> Interval:
    """The interval of a mean over questions: of those of so many samples drawn with replacement.

    Of what is no share, such as F1, and of differences between two methods on the same questions.
    The samples are always the same ones.
    """
    sample = np.asarray(values, dtype=float)
    drawn = np.random.default_rng(0).integers(len(sample), size=(draws, len(sample)))
    tails = [(1 - LEVEL) / 2, (1 + LEVEL) / 2]
    low, high = np.quantile(sample[drawn].mean(axis=1), tails)
    return Interval(float(low), float(high))


def chi_square(share: float, degrees: int) -> float:
    """The value below which so large a share of the chi-square distribution lies, by bisection."""
    low, high = 0.0, 1.0
    while _below(high, degrees) < share:
        low, high = high, 2 * high
    while high - low > 1e-12 * high:
        middle = (low + high) / 2
        low, high = (middle, high) if _below(middle, degrees) < share else (low, middle)
    return (low + high) / 2


def _below(value: float, degrees: int) -> float:
    """The share of the chi-square distribution below a value: the series of the lower gamma."""
    a, x = degrees / 2, value / 2
    term = total = math.exp(a * math.log(x) - x - math.lgamma(a + 1))
    n = a
    while term > 1e-17 * total:
        n += 1
        term *= x / n
        total += term
    return total


def spread_interval(values: Sequence[float]) -> Interval:
    """The interval of the standard deviation over seeds, of two values or more.

    Chi-square's, as for values of a normal distribution. What the finite test sets add to the
    spread is part of it, as it is of a spread that is reported.
    """
    degrees, sd = len(values) - 1, statistics.stdev(values)
    low, high = (
        sd * math.sqrt(degrees / chi_square(share, degrees))
        for share in ((1 + LEVEL) / 2, (1 - LEVEL) / 2)
    )
    return Interval(low, high)
