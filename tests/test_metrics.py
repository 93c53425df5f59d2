"""Metrics against numbers worked out by hand, and ties counted as the docstring says."""

import pytest
import torch
from hypothesis import given, settings
from hypothesis import strategies as st

from fcilib.metrics import score
from fcilib.model import Output
from fcilib.routers import pick
from fcilib.tasks import Batch


def metrics(scores, evidence, query=0, k=2, label=1):
    scores = torch.tensor([scores])
    batch = Batch(
        torch.zeros_like(scores).long(),
        torch.tensor([query]),
        torch.tensor([evidence]),
        torch.tensor([label]),
    )
    logits = torch.tensor([[0.0, 1.0, 0.5]])
    found = score(Output(logits, scores, pick(scores, k, 1)), batch, k)
    return {name: values.item() for name, values in found.items()}


def test_a_clear_hit():
    found = metrics([0.0, 3.0, 1.0, 2.0], evidence=1)
    assert found == {
        "accuracy": 1,
        "precision": 1,
        "precision_tie_lost": 1,
        "precision_tie_won": 1,
        "precision_at_k": 1,
        "picked_query": 0,
    }


def test_a_neighbour_is_no_pick():
    assert metrics([0.0, 3.0, 1.0, 2.0], evidence=2)["precision_at_k"] == 0


def test_a_tie_with_the_query_is_shared():
    found = metrics([3.0, 1.0, 3.0, 3.0 - 1e-6], evidence=2, label=0)
    assert found["precision"] == pytest.approx(1 / 3)
    assert found["picked_query"] == pytest.approx(1 / 3)
    assert (found["precision_tie_lost"], found["precision_tie_won"]) == (0, 1)
    assert found["accuracy"] == 0


def test_minus_infinity_never_ties():
    found = metrics([float("-inf"), -5.0, -9.0, -7.0], evidence=1)
    assert (found["precision"], found["picked_query"]) == (1, 0)


def test_without_a_router_only_the_answer_counts():
    batch = Batch(*(torch.zeros(1, dtype=torch.long) for _ in range(4)))
    assert set(score(Output(torch.zeros(1, 3), None, None), batch, 0)) == {"accuracy"}


@settings(max_examples=60, deadline=None)
@given(st.lists(st.floats(-100, 100, width=32), min_size=3, max_size=20), st.data())
def test_bounds_and_shares(scores, data):
    evidence = data.draw(st.integers(0, len(scores) - 1))
    found = metrics(scores, evidence)
    assert 0 <= found["precision_tie_lost"] <= found["precision"] <= found["precision_tie_won"] <= 1
    total = sum(metrics(scores, e)["precision"] for e in range(len(scores)))
    assert total == pytest.approx(1, abs=1e-5)
