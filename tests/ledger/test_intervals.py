"""Intervals against SciPy's, and by hand."""

import math
import statistics

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st
from scipy import stats

from fcilib.ledger.intervals import (
    LEVEL,
    Interval,
    bootstrap,
    chi_square,
    interval,
    spread_interval,
    student,
    wilson,
)


@pytest.mark.parametrize("degrees", [*range(1, 31), 100, 10_000])
def test_students_quantile_is_scipys(degrees):
    exact = stats.t.ppf((1 + LEVEL) / 2, degrees)
    assert student(degrees) == pytest.approx(exact, abs=3e-3)


@given(st.integers(1, 5000), st.data())
def test_wilsons_interval_is_scipys(examples, data):
    hits = data.draw(st.integers(0, examples))
    exact = stats.binomtest(hits, examples).proportion_ci(LEVEL, method="wilson")
    ours = wilson(hits / examples, examples)
    assert (ours.low, ours.high) == pytest.approx((exact.low, exact.high), abs=1e-9)


def test_both_errors_are_joined_by_the_root_of_the_sum_of_their_squares():
    """Three seeds at 0.4, 0.5, 0.6: s.d. 0.1, Student's 4.303; 300 examples, Wilson's 0.444."""
    seeds = 4.303 * 0.1 / math.sqrt(3)
    of_seeds = interval([0.4, 0.5, 0.6], None)
    assert (of_seeds.low, of_seeds.high) == pytest.approx((0.5 - seeds, 0.5 + seeds))
    tested = 0.5 - 0.44385  # Wilson's lower end for 150 of 300
    both = interval([0.4, 0.5, 0.6], 100)
    assert both.low == pytest.approx(0.5 - math.hypot(seeds, tested), abs=1e-4)
    assert both.high == pytest.approx(0.5 + math.hypot(seeds, tested), abs=1e-4)


def test_one_seed_has_the_error_of_its_test_set_alone():
    assert interval([0.25], 1000) == wilson(0.25, 1000)
    assert interval([7.0], None) == Interval(7.0, 7.0)


@given(st.lists(st.floats(0, 1), min_size=1, max_size=5), st.integers(1, 10_000))
def test_an_interval_of_a_share_holds_its_mean_and_is_one_of_shares(values, examples):
    found = interval(values, examples)
    mean = sum(values) / len(values)
    assert 0 <= found.low <= mean + 1e-12
    assert mean - 1e-12 <= found.high <= 1


def test_the_bootstrap_is_scipys_and_always_the_same():
    values = np.random.default_rng(1).beta(0.3, 0.9, size=300)
    ours = bootstrap(values)
    theirs = stats.bootstrap((values,), np.mean, n_resamples=4000, method="percentile", rng=2)
    assert ours == bootstrap(values.tolist())
    assert ours.low == pytest.approx(theirs.confidence_interval.low, abs=3e-3)
    assert ours.high == pytest.approx(theirs.confidence_interval.high, abs=3e-3)
    assert bootstrap([0.5] * 9) == Interval(0.5, 0.5)


def test_intervals_touch_at_their_ends():
    low, high = Interval(0.0, 0.5), Interval(0.5, 1.0)
    assert not low.misses(high)
    assert low.misses(Interval(0.51, 1.0))
    assert low.within(Interval(-math.inf, 0.5))
    assert not low.within(high)
    assert 0.5 in low


@given(st.sampled_from([0.025, 0.5, 0.975]), st.integers(1, 200))
def test_chi_squares_quantile_is_scipys(share, degrees):
    assert chi_square(share, degrees) == pytest.approx(stats.chi2.ppf(share, degrees), rel=1e-9)


@given(st.lists(st.floats(0, 1), min_size=2, max_size=20))
def test_the_interval_of_a_spread_inverts_the_test_of_a_variance(values):
    """At either end, (n - 1) s^2 / sigma^2 has one fortieth of chi-square beyond it."""
    found, n = spread_interval(values), len(values)
    squares = statistics.variance(values) * (n - 1)
    assert found.low <= statistics.stdev(values) <= found.high
    if found.low > 1e-6:
        assert stats.chi2.sf(squares / found.low**2, n - 1) == pytest.approx(0.025)
        assert stats.chi2.cdf(squares / found.high**2, n - 1) == pytest.approx(0.025)


def test_of_many_spreads_over_three_seeds_as_many_are_inside_as_the_level_says():
    draws = np.random.default_rng(0).normal(0.9, 0.01, (4000, 3)).tolist()
    inside = sum(0.01 in spread_interval(values) for values in draws)
    assert stats.binomtest(inside, 4000, LEVEL).pvalue > 0.001
