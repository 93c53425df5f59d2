"""Probes against matrices whose answers are known."""

import math

import numpy as np
import pytest
import torch

from fcilib.model import metrics
from fcilib.model.probes import effective_rank, linear_probe, measure, random_rotation
from fcilib.representations import Embedding
from fcilib.routers import Investigator, RandomRouter, RankOne
from fcilib.tasks import Evidence
from fcilib.training.experiment import Experiment

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
    assert set(found) == {"cosine_gap", "found_within", "place"}


@pytest.mark.parametrize("probing", ["standard", "thorough"])
@pytest.mark.parametrize("router", [Investigator(), RankOne()])
def test_probes_repeat(router, probing):
    model, held_out = build(router), TASK.draw(50, 0, "test")
    torch.manual_seed(1)
    once = measure(model, held_out, 1, probing)
    torch.manual_seed(2)
    assert measure(model, held_out, 1, probing) == once
    assert measure(model, held_out, 2, probing) != once


# The thorough ones.

MATCH = {"match_in_evidence", "match_in_pair", "match_in_product", "match_by_chance"}
SUBSPACE = {"precision_projected", "precision_top", "precision_rest"}


@torch.no_grad()
def precision(model, held_out):
    output = model.eval()(held_out.tokens, held_out.query, held_out.evidence)
    return metrics.score(output, held_out, model.router_spec.k)["precision"].mean().item()


def weigh(model, query, key=None):
    with torch.no_grad():
        model.router.query.weight.copy_(query)
        model.router.key.weight.copy_(torch.eye(len(query)) if key is None else key)
    return model


def test_what_is_measured_follows_from_the_router():
    held_out = TASK.draw(50, 0, "test")
    for router, form in ((Investigator(), True), (RankOne(), True), (RandomRouter(), False)):
        model = build(router)
        standard = measure(model, held_out, 0)
        thorough = measure(model, held_out, 0, "thorough")
        assert set(thorough) - set(standard) == MATCH | (SUBSPACE if form else set())
        if form:
            assert all(len(thorough[name]) == 32 for name in SUBSPACE)
    plain = build(None)
    assert set(measure(plain, held_out, 0, "thorough")) == {"cosine_gap", *MATCH}


@pytest.mark.parametrize("router", ["identity", "random", "rank-one"])
@pytest.mark.parametrize("candidates", ["all", "others"])
def test_all_dimensions_are_the_router_itself(router, candidates):
    held_out = TASK.draw(300, 0, "test")
    if router == "rank-one":
        model = build(RankOne(candidates=candidates), positions="learned")
    elif router == "identity":
        model = weigh(build(Investigator(candidates=candidates)), torch.eye(32))
    else:
        model = build(Investigator(candidates=candidates), positions="learned")
    found = measure(model, held_out, 0, "thorough")
    plain = precision(model, held_out)
    if router == "identity":
        assert plain == pytest.approx(1.0 if candidates == "others" else 0.5, abs=0.01)
    assert found["precision_top"][-1] == pytest.approx(plain, abs=0.01)
    assert found["precision_projected"][-1] == pytest.approx(plain, abs=0.01)
    assert found["precision_rest"][-1] == 0


def test_the_largest_directions_and_the_rest_are_routers_of_their_own():
    held_out = TASK.draw(300, 0, "test")
    model = build(Investigator(candidates="others"))
    weights = torch.linspace(2, 0.1, 32)
    turn = random_rotation(32, torch.Generator().manual_seed(3))
    weigh(model, (turn * weights).T, turn.T)
    found = measure(model, held_out, 0, "thorough")
    assert found["singular_values"] == pytest.approx(weights.tolist(), abs=1e-4)
    for r in (1, 2, 5, 16, 31):
        first = torch.arange(32) < r
        top = precision(weigh(model, (turn * (weights * first)).T, turn.T), held_out)
        rest = precision(weigh(model, (turn * (weights * ~first)).T, turn.T), held_out)
        assert found["precision_top"][r - 1] == pytest.approx(top, abs=0.01)
        assert found["precision_rest"][r - 1] == pytest.approx(rest, abs=0.01)
    assert found["precision_top"][0] < 0.5 < found["precision_top"][15]
    assert found["precision_rest"][30] < 0.5 < found["precision_rest"][0]


def test_a_rank_one_router_has_all_its_precision_in_one_direction():
    held_out = TASK.draw(300, 0, "test")
    model = build(RankOne(), positions="learned")
    found = measure(model, held_out, 0, "thorough")
    plain = precision(model, held_out)
    assert found["precision_top"] == pytest.approx([plain] * 32, abs=0.01)


def test_fewer_projected_dimensions_find_less():
    model = weigh(build(Investigator(candidates="others")), torch.eye(32))
    found = measure(model, TASK.draw(300, 0, "test"), 0, "thorough")["precision_projected"]
    assert found[0] < 0.3
    assert found[0] < found[3] < found[7] < found[15] + 0.01
    assert found[-1] > 0.99


@pytest.mark.parametrize("width", [1, 2, 7, 32])
def test_a_random_rotation_is_orthogonal_and_of_its_generator(width):
    one, other, next_one = (
        random_rotation(width, torch.Generator().manual_seed(seed)) for seed in (0, 0, 1)
    )
    assert torch.equal(one, other)
    if width > 1:
        assert not torch.equal(one, next_one)
    torch.testing.assert_close(one.T @ one, torch.eye(width), atol=1e-5, rtol=0)
    torch.testing.assert_close(one @ one.T, torch.eye(width), atol=1e-5, rtol=0)


def test_random_rotations_favour_no_direction():
    rng = torch.Generator().manual_seed(0)
    drawn = torch.stack([random_rotation(3, rng) for _ in range(4000)]).double()
    # Entries of a uniform rotation have mean 0 and mean square 1 / d.
    assert drawn.mean(dim=0).abs().max() < 5 * (1 / 3 / 4000) ** 0.5
    torch.testing.assert_close(
        drawn.square().mean(dim=0), torch.full((3, 3), 1 / 3).double(), atol=0.03, rtol=0
    )
    sign = torch.linalg.det(drawn).sign()
    assert sign.mean().abs() < 5 / 4000**0.5


def classes(count, width, apart, seed):
    rng = torch.Generator().manual_seed(seed)
    x = torch.randn(2 * count, width, generator=rng)
    x[:count, 0] += apart
    return x


def test_a_linear_probe_separates_what_can_be_and_guesses_at_noise():
    assert linear_probe(classes(300, 8, 12.0, 0), classes(300, 8, 12.0, 1)) == 1
    noise = linear_probe(classes(300, 8, 0.0, 0), classes(2000, 8, 0.0, 1))
    assert noise == pytest.approx(0.5, abs=3 * (0.25 / 4000) ** 0.5)
    # Two Gaussians at a distance of two: the best there is, the normal's 84%.
    known = linear_probe(classes(2000, 8, 2.0, 0), classes(4000, 8, 2.0, 1))
    assert known == pytest.approx(0.8413, abs=0.02)


@pytest.mark.parametrize("ridge", [0.1, 1.0, 50.0])
def test_a_linear_probe_is_numpys_ridge_regression(ridge):
    fit, test = classes(40, 8, 1.0, 0), classes(500, 8, 1.0, 1)
    features = np.hstack([fit.double().numpy(), np.ones((80, 1))])
    stacked = np.vstack([features, ridge**0.5 * np.eye(9)])
    sign = np.repeat([1.0, -1.0, 0.0], [40, 40, 9])
    weights = np.linalg.lstsq(stacked, sign, rcond=None)[0]
    said = np.hstack([test.double().numpy(), np.ones((1000, 1))]) @ weights
    expected = ((said > 0) == (np.arange(1000) < 500)).mean()
    assert linear_probe(fit, test, ridge) == pytest.approx(expected, abs=1e-9)
    assert 0.6 < expected < 0.9


@pytest.mark.parametrize("seed", range(3))
def test_a_match_of_contents_shows_in_products_and_not_in_the_evidence(seed):
    task = Evidence(length=64, vocabulary=100, min_distance=24, distractors=2)
    torch.manual_seed(seed)
    model = Experiment(
        task=task, width=32, representation=Embedding(positions="none"), router=None
    ).build()
    found = measure(model, task.draw(1200, seed, "test"), seed, "thorough")
    assert found["match_in_product"] > 0.9
    assert found["match_in_evidence"] == pytest.approx(0.5, abs=0.08)
    assert found["match_in_pair"] == pytest.approx(0.5, abs=0.08)
    assert found["match_by_chance"] == pytest.approx(0.5, abs=0.08)


def test_what_marks_the_evidence_shows_in_it_alone():
    class Marked(torch.nn.Module):
        """Something that already knows where the evidence is."""

        def forward(self, tokens):
            x = torch.randn(*tokens.shape, 32, generator=torch.Generator().manual_seed(0))
            x[torch.arange(len(x)), held_out.evidence, 0] += 20
            return x

    held_out = TASK.draw(100, 0, "test")
    model = build(None)
    model.representation = Marked()
    found = measure(model, held_out, 0, "thorough")
    assert found["match_in_evidence"] > 0.95
    assert found["match_in_pair"] > 0.95
    assert found["match_by_chance"] == pytest.approx(0.5, abs=0.2)


def test_the_answers_cosine_is_that_of_the_token_after_the_evidence():
    """With positions left out and one-hot tokens, query and answer are as alike as two tokens."""
    model, held_out = build(Investigator(), "none", 200), TASK.draw(200, 0, "test")
    with torch.no_grad():
        model.representation[0].token.weight[:] = torch.eye(200)
    model.norm = torch.nn.Identity()
    measured = measure(model, held_out, 0, "answer")
    rows = torch.arange(200)
    asked, label = held_out.tokens[rows, held_out.query], held_out.label
    assert (held_out.tokens[rows, held_out.evidence + 1] == label).all()
    # A one-hot cosine is 1 for the same token and 0 for another.
    same = (asked == label).float().mean().item()
    other = torch.randint(TASK.length, (200,), generator=torch.Generator().manual_seed(0))
    random = (held_out.tokens[rows, other] == asked).float().mean().item()
    assert measured["cosine_gap_answer"] == pytest.approx(same - random, abs=1e-6)
    assert measured["cosine_gap"] > 0.9
    assert "cosine_gap_answer" not in measure(model, held_out, 0)
