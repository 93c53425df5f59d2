"""Metrics against numbers worked out by hand, and ties counted as the docstring says."""

from fractions import Fraction

import pytest
import torch
from hypothesis import given, settings
from hypothesis import strategies as st
from scipy.stats import binomtest

from fcilib.model.fci import Output
from fcilib.model.metrics import score
from fcilib.representations import Embedding
from fcilib.routers import RandomRouter, SegmentRouter, pick
from fcilib.tasks import Batch, Ladder
from fcilib.training.experiment import Experiment


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
    # Small scores are apart by their own size, whatever stands beside them.
    found = metrics([float("-inf"), 2e-6, 1e-6, 0.0], evidence=2)
    assert (found["precision"], found["precision_tie_won"]) == (0, 0)


def test_a_clear_miss_is_no_tie_that_could_be_won():
    found = metrics([0.0, 3.0, 1.0, 2.0], evidence=2)
    assert found["precision"] == found["precision_tie_won"] == found["precision_tie_lost"] == 0


def test_sequences_of_a_batch_are_scored_as_each_would_be_alone():
    """Rows of very different sizes, so that one row's slack would make ties in another."""
    scores = torch.tensor([[1e6, 0.0, 5e5, 1.0], [0.1, 0.3, 0.2, 0.0], [5.0, 5.0, -1.0, 0.0]])
    logits = torch.tensor([[0.0, 1.0, 0.5], [2.0, 1.0, 0.5], [0.0, 1.0, 9.0]])
    evidence, label = torch.tensor([3, 1, 0]), torch.tensor([1, 0, 1])
    batch = Batch(scores.long(), torch.tensor([0, 2, 1]), evidence, label)
    whole = score(Output(logits, scores, pick(scores, 2, 1)), batch, 2)
    for i in range(3):
        row = slice(i, i + 1)
        alone = Output(logits[row], scores[row], pick(scores[row], 2, 1))
        for name, value in score(alone, batch[row], 2).items():
            assert whole[name][i] == value.item(), name
    assert whole["accuracy"].tolist() == [1, 1, 0]
    assert whole["precision"].tolist() == [0, 1, 0.5]
    assert whole["precision_at_k"].tolist() == [0, 1, 1]


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


# The look-alikes alone.

integer = st.one_of(st.integers(-3, 3), st.just(float("-inf")))


def among(scores, lookalikes, granularity=1):
    """The metrics of one sequence whose evidence is the first look-alike."""
    scores = torch.tensor([scores], dtype=torch.float32)
    batch = Batch(
        torch.zeros_like(scores).long(),
        torch.tensor([0]),
        torch.tensor(lookalikes[:1]),
        torch.tensor([1]),
        torch.tensor([lookalikes]),
    )
    output = Output(torch.tensor([[0.0, 1.0]]), scores, pick(scores, 2, 0), granularity)
    return {name: values.item() for name, values in score(output, batch, 2).items()}


@settings(max_examples=200, deadline=None)
@given(st.lists(integer, min_size=5, max_size=20), st.data())
def test_precision_among_look_alikes_is_counted_in_fractions(scores, data):
    """Scores are whole numbers: two are the same, or differ by far more than rounding."""
    places = st.integers(0, len(scores) - 1)
    lookalikes = data.draw(st.lists(places, min_size=1, max_size=5, unique=True))
    held = [scores[i] for i in lookalikes]
    tied = [i for i in held if i == max(held)]
    expected = Fraction(held[0] == max(held), len(tied))
    found = among(scores, lookalikes)
    assert found["precision_lookalike"] == pytest.approx(float(expected), abs=1e-6)
    if max(held) > float("-inf"):
        assert found["precision_lookalike"] >= found["precision"] - 1e-6


def test_a_better_candidate_elsewhere_takes_nothing_from_a_look_alike():
    found = among([9.0, 1.0, 2.0, 1.0, 0.0], [2, 1, 3])
    assert (found["precision"], found["precision_lookalike"]) == (0, 1)


def test_a_rounding_apart_is_a_tie_here_too():
    assert among([0.0, 5.0 - 1e-6, 5.0, 1.0], [1, 2, 3])["precision_lookalike"] == 0.5
    assert among([0.0, 4.0, 5.0, 1.0], [1, 2, 3])["precision_lookalike"] == 0


def test_the_shares_of_all_look_alikes_are_one():
    scores, lookalikes = [0.0, 2.0, 2.0, 1.0, 2.0], [1, 2, 3, 4]
    parts = [
        among(scores, lookalikes[i:] + lookalikes[:i])["precision_lookalike"] for i in range(4)
    ]
    assert parts == pytest.approx([1 / 3, 1 / 3, 0, 1 / 3])


def played(router, task):
    torch.manual_seed(0)
    parts = {"task": task, "width": 4, "representation": Embedding(), "router": router}
    model = Experiment(**parts).build().eval()
    batch = task.draw(3000, 0)
    with torch.no_grad():
        return score(model(batch.tokens, batch.query, batch.evidence), batch, router.k)


@pytest.mark.parametrize("rung", ["token", "left", "right", "hop"])
def test_at_random_one_look_alike_in_four_is_the_evidence(rung):
    found = played(RandomRouter(), Ladder(rung=rung, length=40, vocabulary=20))
    hits = int(found["precision_lookalike"].sum())
    assert set(found["precision_lookalike"].tolist()) == {0.0, 1.0}
    assert binomtest(hits, 3000, 1 / 4).pvalue > 1e-3
    assert found["precision"].mean() < 0.05


def test_segments_have_no_look_alikes():
    task = Ladder(rung="left", length=40, vocabulary=20)
    assert "precision_lookalike" not in played(SegmentRouter(segment=8), task)
    assert "precision_lookalike" not in among([1.0, 0.0], [1, 0, 2], granularity=4)


def test_neither_has_a_task_without_them_nor_a_model_without_a_router():
    assert "precision_lookalike" not in metrics([0.0, 3.0, 1.0], evidence=1)
    batch = Ladder(rung="left").draw(3, 0)
    assert set(score(Output(torch.zeros(3, 64), None, None), batch, 0)) == {"accuracy"}


# A batch by index.


@pytest.mark.parametrize("index", [slice(1, 3), torch.tensor([4, 0, 4]), torch.arange(5) > 2])
def test_a_part_of_a_batch_is_the_same_part_of_each_of_its_parts(index):
    batch = Ladder(rung="hop").draw(5, 0)
    part = batch[index]
    names = ("tokens", "query", "evidence", "label", "lookalikes")
    assert all(torch.equal(getattr(part, n), getattr(batch, n)[index]) for n in names)
    assert len(part) == len(batch.label[index])


def test_a_part_of_a_batch_without_look_alikes_has_none():
    batch = Batch(*(torch.arange(5) for _ in range(4)))
    assert batch.lookalikes is None
    assert batch[1:3].lookalikes is None
    assert batch[torch.tensor([2])].lookalikes is None
