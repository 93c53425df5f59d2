"""Slopes of curves whose growth is known."""

import numpy as np
import pandas as pd
import pytest

from fcilib.cost import report

LENGTHS = [2**p for p in range(4, 13)]


def measured(**costs):
    rows = [
        {"workload": name, "seed": seed, "length": n, "seconds": cost(n) * (1 + seed)}
        for name, cost in costs.items()
        for seed in range(2)
        for n in LENGTHS
    ]
    return pd.DataFrame(rows)


def test_slopes_of_powers_are_their_exponents():
    found = report.slopes(measured(one=lambda n: 3 * n, two=lambda n: n**2 / 7), "seconds")
    np.testing.assert_allclose(found["mean"], [1, 2])
    np.testing.assert_allclose(found["sd"], 0, atol=1e-12)
    assert list(found.index) == ["one", "two"]
    assert (found["first"] == LENGTHS[4]).all()
    assert (found["last"] == LENGTHS[-1]).all()


def test_what_does_not_grow_hides_only_the_lower_half():
    """100 + n: flat at first, 0.9 at the end."""
    power = report.slopes(measured(late=lambda n: 100 + n), "seconds").loc["late", "mean"]
    everywhere = np.polyfit(np.log(LENGTHS), np.log(100 + np.array(LENGTHS)), 1)[0]
    assert everywhere < power < 1


def test_one_length_has_no_slope():
    short = measured(one=lambda n: n).query("length == 16")
    assert report.slopes(short, "seconds")["mean"].isna().all()


@pytest.mark.parametrize(
    ("claim", "cost", "agrees"),
    [
        ("O(n)", lambda n: 5 * n, True),
        ("O(n)", lambda n: n**1.11, False),
        ("O(n)", lambda n: n**0.89, False),
        ("O(n²)", lambda n: n**2.05, True),
        ("O(n²)", lambda n: n, False),
        ("O(n log n)", lambda n: n * np.log(n), True),
    ],
)
def test_a_claim_is_held_against_its_own_slope(claim, cost, agrees):
    found = report.against_claims(measured(x=cost), {"x": claim}).loc["x"]
    assert found["agrees"] == agrees
    if agrees and claim == "O(n log n)":
        assert found["expected"] == pytest.approx(found["mean"])


def test_ratios_are_within_a_repetition_and_a_length():
    both = measured(base=lambda n: n, other=lambda n: 3 * n)
    found = report.ratios(both, "base")
    np.testing.assert_allclose(found[both.workload == "other"], 3)
    gone = both[~((both.workload == "base") & (both.length == 16))]
    assert report.ratios(gone, "base")[gone.length == 16].isna().all()


def test_ratios_to_a_workload_that_is_not_there_are_refused():
    measured = pd.DataFrame({"workload": ["a"], "seed": [0], "length": [4], "seconds": [1.0]})
    with pytest.raises(ValueError, match="'b' is none of a"):
        report.ratios(measured, "b")
