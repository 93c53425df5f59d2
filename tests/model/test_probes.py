"""Probes against matrices whose answers are known."""

import math
from dataclasses import replace

import numpy as np
import pytest
import torch

from fcilib.model import metrics
from fcilib.model.probes import (
    MATRICES,
    effective_rank,
    linear_probe,
    measure,
    random_rotation,
)
from fcilib.representations import Embedding
from fcilib.routers import BM25Index, Investigator, RandomRouter, RankOne
from fcilib.routers.router import RouterModule
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


class Fixed(torch.nn.Module):
    """A representation `(B, L, d)` that was said beforehand, in the order of the sequences."""

    def __init__(self, x):
        super().__init__()
        self.x, self.done = x, 0

    def forward(self, tokens):
        self.done += len(tokens)
        return self.x[self.done - len(tokens) : self.done]


class Told(RouterModule):
    """A router whose scores `(B, C)` were said beforehand."""

    def __init__(self, scores):
        super().__init__()
        self.scores = scores

    def forward(self, x, query):
        return self.scores


PLACES = [
    # Scores of the first candidates (further ones score -9), the evidence, its place, and the share
    # of picks that find it when one, two, three and four are picked.
    ([5, 4, 3, 2], 0, 1, [1, 1, 1, 1]),
    ([5, 4, 3, 2], 3, 4, [0, 0, 0, 1]),
    ([7, 4, 4, 4], 1, 3, [0, 1 / 3, 2 / 3, 1]),
    ([0, 0, -1, -1], 0, 1.5, [1 / 2, 1, 1, 1]),  # around zero only what is equal ties
    ([-6, -6, 1, -7], 1, 2.5, [0, 1 / 2, 1, 1]),
    ([1000, 1000.005, 999.995, 900], 0, 2, [1 / 3, 2 / 3, 1, 1]),  # a tie: less than 1e-5 apart
    ([1000, 1000.02, 999.98, 900], 0, 2, [0, 1, 1, 1]),  # none: more than 1e-5 apart
    ([-9, -9, -9, -9], 2, 16.5, [1 / 32, 2 / 32, 3 / 32, 4 / 32]),
]


@pytest.mark.parametrize(("scores", "evidence", "place", "within"), PLACES)
def test_the_place_of_the_evidence_by_hand(scores, evidence, place, within):
    model, held_out = build(Investigator()), TASK.draw(1, 0, "test")
    row = torch.full((1, 32), -9.0)
    row[0, :4] = torch.tensor(scores)
    model.router = Told(row)
    held_out = replace(held_out, query=torch.tensor([20]), evidence=torch.tensor([evidence]))
    found = measure(model, held_out, seed=0)
    assert found["place"] == place
    assert found["found_within"][:4] == pytest.approx(within)
    assert len(found["found_within"]) == 16


def test_places_of_several_sequences_are_averaged_and_never_above_one():
    model, drawn = build(Investigator()), TASK.draw(len(PLACES), 0, "test")
    rows = torch.full((len(PLACES), 32), -9.0)
    for row, (scores, *_) in zip(rows, PLACES, strict=True):
        row[:4] = torch.tensor(scores)
    model.router = Told(rows)
    evidence = torch.tensor([evidence for _, evidence, *_ in PLACES])
    found = measure(model, replace(drawn, query=0 * drawn.query + 20, evidence=evidence), seed=0)
    assert found["place"] == np.mean([place for *_, place, _ in PLACES])
    # All but the last are found among four; that, among p of 32, in p of 32 cases.
    assert found["found_within"][:4] == pytest.approx(np.mean([w for *_, w in PLACES], axis=0))
    assert found["found_within"][4:] == pytest.approx([(7 + p / 32) / 8 for p in range(5, 17)])


def test_the_query_is_no_candidate_of_its_own_among_others():
    """Its score is the largest, and the evidence comes next."""
    drawn = TASK.draw(1, 0, "test")
    held_out = replace(drawn, query=torch.tensor([20]), evidence=torch.tensor([3]))
    row = torch.zeros(1, 32)
    row[0, 20], row[0, 3] = 2, 1
    for candidates, place in (("all", 2), ("others", 1)):
        model = build(Investigator(candidates=candidates))
        model.router = Told(row)
        assert measure(model, held_out, seed=0)["place"] == place


def test_what_is_found_within_fewer_candidates_than_are_kept_ends_at_their_number():
    """Segments of four tokens: eight candidates, of which the sixth is the evidence's."""
    model = build(RandomRouter(segment=4, k=1))
    model.router = Told(torch.tensor([[8.0, 7, 6, 5, 4, 3, 2, 1]]))
    drawn = TASK.draw(1, 0, "test")
    held_out = replace(drawn, query=torch.tensor([30]), evidence=torch.tensor([22]))
    found = measure(model, held_out, seed=0)
    assert found == {
        "cosine_gap": found["cosine_gap"],
        "place": 6,
        "found_within": [0] * 5 + [1] * 3,
    }


def test_the_places_of_an_index_are_read_off_the_tokens():
    found = measure(build(BM25Index(segment=4, candidates="others")), TASK.draw(50, 0, "test"), 0)
    assert found["place"] == 1
    assert found["found_within"] == [1.0] * 8


def test_a_router_that_is_told_the_segment_is_measured_within_it():
    """A random form is zero on average, so that each of eight tokens is as likely its best."""
    task = Evidence(length=64, vocabulary=200, min_distance=16, distractors=2)
    torch.manual_seed(0)
    router = Investigator(within=8)
    raw = Embedding(positions="none")
    model = Experiment(task=task, width=64, representation=raw, router=router).build()
    found = measure(weigh(model, torch.eye(64)), task.draw(500, 0, "test"), 0)
    assert found["place"] == 1
    assert found["random_form_precision"] == pytest.approx(1 / 8, abs=0.04)


def test_the_gap_of_cosines_by_hand():
    """Vectors with a cosine of 1/2, but the evidence, which equals the query.

    The other position is one of 32, and thus twice in 32 one of these two.
    """
    x = torch.cat([torch.ones(32, 1), torch.eye(32)], dim=1).expand(3000, 32, 33).clone()
    held_out = TASK.draw(3000, 0, "test")
    rows = torch.arange(3000)
    x[rows, held_out.evidence] = x[rows, held_out.query]
    model = build(None, width=33)
    model.representation, model.norm = Fixed(x), torch.nn.Identity()
    gap = measure(model, held_out, seed=0)["cosine_gap"]
    share = 2 / 32
    error = (share * (1 - share) / 3000) ** 0.5 / 2
    assert gap == pytest.approx((1 - share) / 2, abs=4 * error)


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
    assert 1 / 31 < found[0] < 0.3
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


@pytest.mark.parametrize("width", [1, 3, 8])
def test_a_random_rotation_is_a_gaussian_matrix_orthogonalised(width):
    """By Gram and Schmidt, column by column, of the doubles that records were drawn from."""
    gaussian = torch.randn(
        width, width, generator=torch.Generator().manual_seed(5), dtype=torch.float64
    )
    columns = []
    for column in gaussian.numpy().T:
        rest = column - sum(((column @ other) * other for other in columns), np.zeros(width))
        columns.append(rest / np.linalg.norm(rest))
    found = random_rotation(width, torch.Generator().manual_seed(5))
    assert found.dtype == torch.float32
    np.testing.assert_allclose(found.numpy(), np.array(columns).T, atol=1e-6)


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


def test_a_linear_probe_has_a_ridge_of_one_unless_told_otherwise():
    fit, test = classes(6, 8, 1.0, 0) / 2, classes(500, 8, 1.0, 1) / 2
    assert linear_probe(fit, test) == linear_probe(fit, test, 1.0)
    assert linear_probe(fit, test) not in {linear_probe(fit, test, r) for r in (0.5, 2.0)}


def test_a_linear_probe_that_cannot_decide_is_half_right():
    """Fitted on 1 and -1 it says the sign of a number, and of nought nothing."""
    fit = torch.tensor([[1.0], [-1.0]])
    assert linear_probe(fit, torch.tensor([[0.0], [1.0], [-1.0], [0.0]])) == 0.75
    assert linear_probe(fit, torch.zeros(6, 1)) == 0.5
    assert linear_probe(fit, torch.tensor([[-1.0], [0.0], [2.0], [-3.0]])) == 0.375


def test_classes_of_a_half_stand_at_the_same_positions():
    """Vectors that are their position alone; even and odd sequences have other positions."""
    rows = torch.arange(400)
    evidence = rows // 2 % 5 + 5 * (rows % 2)
    drawn = TASK.draw(400, 0, "test")
    held_out = replace(drawn, query=0 * drawn.query + 20, evidence=evidence)
    model = build(None)
    model.representation = Fixed(torch.eye(32).expand(400, 32, 32))
    model.norm = torch.nn.Identity()
    found = measure(model, held_out, 0, "thorough")
    # What was fitted on other positions can't tell these apart.
    assert found["match_in_evidence"] == found["match_by_chance"] == 0.5


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


def test_the_answer_is_the_very_next_token():
    """Only the token after the evidence looks as the query does."""
    drawn = TASK.draw(60, 0, "test")
    rows = torch.arange(60)
    x = torch.eye(64)[None, :32].repeat(60, 1, 1)
    x[rows, drawn.evidence + 1] = x[rows, drawn.query]
    model = build(None, width=64)
    model.representation, model.norm = Fixed(x), torch.nn.Identity()
    found = measure(model, drawn, 7, "answer")
    other = torch.randint(32, (60,), generator=torch.Generator().manual_seed(7))
    like = (other == drawn.query) | (other == drawn.evidence + 1)
    assert found["cosine_gap_answer"] == pytest.approx(1 - like.float().mean().item())
    assert found["cosine_gap"] == pytest.approx(-like.float().mean().item())


@pytest.mark.parametrize(
    ("values", "rank"),
    [
        ([1] * 10, 9),  # nine of ten hold exactly 90% of the energy
        ([4, *[1] * 9], 8),  # 16 and seven ones of 25; nine tenths are 22.5
        ([3, 1, *[0] * 8], 1),
        ([2, 1, *[0] * 8], 2),
    ],
)
def test_the_rank_of_nine_tenths_of_the_energy_by_hand(values, rank):
    values = [*values, *[0] * (12 - len(values))]
    model = weigh(build(Investigator(), width=12), torch.diag(torch.tensor(values).float()))
    found = measure(model, TASK.draw(20, 0, "test"), 0)
    assert found["singular_values"] == values
    assert found["rank_90"] == rank


def test_effective_ranks_are_numpys_over_the_first_matrices():
    """Of x W_q (x W_k)^T / sqrt(d), raw and with the softmax of each row."""
    model, held_out = build(Investigator(heads=1), positions="learned"), TASK.draw(20, 0, "test")
    found = measure(model, held_out, 0)
    with torch.no_grad():
        x = model.represent(held_out.tokens).numpy()
    query, key = (w.weight.detach().numpy() for w in (model.router.query, model.router.key))

    def entropy(matrix):
        share = np.linalg.svd(matrix.astype(np.float64), compute_uv=False)
        share = share / share.sum()
        share = share[share > 0]
        return np.exp(-(share * np.log(share)).sum())

    def softmax(matrix):
        raised = np.exp(matrix - matrix.max(axis=1, keepdims=True))
        return raised / raised.sum(axis=1, keepdims=True)

    scores = [(v @ query.T) @ (v @ key.T).T / 32**0.5 for v in x[:MATRICES].astype(np.float64)]
    raw, soft = (np.mean([entropy(f(s)) for s in scores]) for f in (np.asarray, softmax))
    assert found["effective_rank"] == pytest.approx(raw, rel=1e-4)
    assert found["effective_rank_softmax"] == pytest.approx(soft, rel=1e-4)


def test_singular_values_are_kept_to_six_digits():
    model = weigh(build(Investigator()), torch.diag(torch.linspace(1, 2, 32) / 3))
    found = measure(model, TASK.draw(20, 0, "test"), 0)["singular_values"]
    assert found == [float(f"{v:.6g}") for v in found]
    assert found == pytest.approx(np.linspace(2, 1, 32) / 3, abs=2e-6)
    assert max(len(str(v)) for v in found) == len("0.666667")
