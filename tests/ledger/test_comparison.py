"""What was measured beside what the paper says, a row for each condition and protocol."""

from dataclasses import replace

import pytest

from fcilib.ledger.comparison import compare
from fcilib.present.figures import claims_figure
from fcilib.study.notation import NONE


def test_a_comparison_has_a_row_for_each_condition_under_each_protocol(results):
    rows = compare({"raw embeddings": "raw", "global mean": "global-mean"}, results)
    shown = rows.set_index(["condition", "protocol"])
    assert list(shown.index) == [
        (c, p) for c in ("raw embeddings", "global mean") for p in ("all", "others")
    ]
    assert list(shown["name"]) == ["raw", "raw", "global-mean", "global-mean"]
    assert list(shown["mean"]) == pytest.approx([0.91, 0.005, 0.02, 0.5])
    assert list(shown.sd) == pytest.approx([0.02**0.5 / 10, 0.01 / 2**0.5, 0.002 / 2**0.5, 0])
    assert set(shown.n) == {2}
    assert list(shown.paper) == [0.012, 0.012, 0.019, 0.019]
    assert list(shown.claim) == ["1.2%", "1.2%", "1.9%", "1.9%"]
    assert list(shown.chance) == pytest.approx([0.02, 0.03, 0.02, 0.03])
    assert list(shown.agrees) == [False, True, True, False]
    assert list(shown.verdict) == ["only under others"] * 2 + ["only under all"] * 2


def test_a_condition_may_have_its_own_chance_or_no_claim(results):
    rows = {"raw embeddings": "raw", "global mean": None}
    comparison = compare(rows, results, chance={"global mean": "raw embeddings"})
    raw, mean = (comparison[comparison.condition == name] for name in rows)
    assert list(mean.chance) == list(raw["mean"])
    assert mean.paper.isna().all()
    assert set(mean.verdict) == set(mean.claim) == {NONE}
    assert set(mean.agrees) == {None}
    assert len(claims_figure(comparison).axes) == 1


def test_a_claim_is_held_against_its_own_metric(results):
    """Whatever the others are shown by: the paper's gap of cosines is -0.154."""
    rows = compare({"raw embeddings": "cosine-gap", "global mean": None}, results)
    assert list(rows.metric) == ["cosine_gap"] * 2 + ["precision"] * 2
    assert list(rows["mean"]) == pytest.approx([0.55, -0.155, 0.02, 0.5])
    assert list(rows.chance) == pytest.approx([0.4, 0.1, 0.02, 0.03])
    assert list(rows.claim) == ["-0.154"] * 2 + [NONE] * 2
    assert list(rows.agrees) == [False, True, None, None]
    assert list(rows.verdict) == ["only under others"] * 2 + [NONE] * 2


def test_a_claim_that_is_none_is_no_row_of_a_comparison(results):
    with pytest.raises(KeyError, match="rww"):
        compare({"raw embeddings": "rww"}, results)


def test_a_condition_is_held_against_the_chance_of_its_own_runs(results):
    """1.1% agrees with 1.2% where chance is one in 512; at one in 128, 1.8% is to be expected."""
    numbers = {name: {"precision": [0.011, 0.011]} for name in results["all"].numbers}
    measured = replace(results["all"], numbers=numbers, sizes={"raw embeddings": "quick"})
    rows = compare({"raw embeddings": "raw", "global mean": "raw"}, {"all": measured})
    assert list(rows.agrees) == [False, True]
