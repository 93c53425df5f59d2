"""Probes against matrices whose answers are known."""

import math

import pytest
import torch

from fcilib.experiment import Experiment
from fcilib.probes import effective_rank, measure
from fcilib.representations import Embedding
from fcilib.routers import Investigator, RandomRouter, RankOne
from fcilib.tasks import Evidence

TASK = Evidence(length=32, vocabulary=200, min_distance=8, distractors=2)


def build(router, positions="none", width=32):
    torch.manual_seed(0)
    spec = Experiment(
        task=TASK, width=width, representation=Embedding(positions=positions), router=router
    )
    return spec.build()


@pytest.mark.parametrize("rank", [1, 3, 8])
def test_effective_rank_of_equal_directions_is_their_number(rank):
    values = torch.zeros(8).double()
    values[:rank] = 2.0
    assert effective_rank(values.diag()) == pytest.approx(rank)


def test_effective_rank_is_the_exponential_of_the_entropy():
    share = torch.tensor([0.7, 0.2, 0.1]).double()
    entropy = -sum(s * math.log(s) for s in share.tolist())
    assert effective_rank(share.diag() * 5) == pytest.approx(math.exp(entropy))


def test_a_router_that_is_the_identity():
    model = build(Investigator(candidates="others"))
    with torch.no_grad():
        model.router.query.weight.copy_(torch.eye(32))
        model.router.key.weight.copy_(torch.eye(32))
    found = measure(model, TASK.draw(100, 0, "test"), seed=0)
    assert found["singular_values"] == [1.0] * 32
    assert found["rank_90"] == 29
    # Equal tokens, equal vectors: the cosine of query and evidence is one; of others, about zero.
    assert found["cosine_gap"] == pytest.approx(1, abs=0.15)
    assert found["random_form_precision"] < 0.3


def test_rank_one_has_one_direction():
    found = measure(build(RankOne()), TASK.draw(50, 0, "test"), seed=0)
    assert found["rank_90"] == 1
    assert found["effective_rank"] == pytest.approx(1, abs=0.02)


def test_a_router_without_a_form_has_no_spectrum():
    found = measure(build(RandomRouter()), TASK.draw(50, 0, "test"), seed=0)
    assert set(found) == {"cosine_gap"}


def test_probes_repeat():
    model, held_out = build(Investigator()), TASK.draw(50, 0, "test")
    assert measure(model, held_out, seed=1) == measure(model, held_out, seed=1)
