"""Routers: Eq. 1 as the paper writes it, rank one in linear time, and the picking of k."""

import math

import pytest
import torch
from hypothesis import given, settings
from hypothesis import strategies as st

from fcilib.routers import (
    Budgeted,
    ClosedLoop,
    Investigator,
    RandomRouter,
    RankOne,
    SegmentRouter,
    mask_candidates,
    pick,
)
from fcilib.routers.investigator import dots
from fcilib.routers.random import RandomScores
from fcilib.routers.router import RouterSpec, SegmentSpec
from fcilib.specs.kinds import kinds
from fcilib.specs.size import Size
from fcilib.tasks import MQAR

SIZE = Size(vocabulary=20, length=37, width=16)

EVERY = [
    listed(segment=5) if issubclass(listed, SegmentSpec) else listed()
    for listed in kinds(RouterSpec).values()
]
FORMS = [spec for spec in EVERY if spec.build(SIZE).form() is not None]


def some(batch=3, length=37):
    rng = torch.Generator().manual_seed(0)
    x = torch.randn(batch, length, 16, generator=rng)
    return x, torch.randint(length, (batch,), generator=rng)


@pytest.mark.parametrize("heads", [1, 2, 4, 16])
def test_investigator_is_equation_one_head_by_head(heads):
    x, query = some()
    router = Investigator(heads=heads).build(SIZE)
    q = router.query(x).unflatten(2, (heads, -1))
    k = router.key(x).unflatten(2, (heads, -1))
    by_head = torch.einsum("bihc,bjhc->bhij", q, k) / (16 / heads) ** 0.5
    expected = by_head.mean(dim=1)
    torch.testing.assert_close(router.matrix(x), expected)
    row = expected[torch.arange(3), query]
    got = router(x, query)
    torch.testing.assert_close(got, row)
    ours = torch.autograd.grad(got.square().sum(), router.parameters())
    theirs = torch.autograd.grad(row.square().sum(), router.parameters())
    for a, b in zip(ours, theirs, strict=True):
        torch.testing.assert_close(a, b, atol=1e-5, rtol=1e-4)


@pytest.mark.parametrize("dtype", [torch.bfloat16, torch.float16])
def test_the_investigators_products_are_autocasts_with_gradients_as_wide_as_the_weights(dtype):
    x, _ = some()
    v = torch.randn(3, 16)
    leaves = [t.clone().requires_grad_() for t in (x, v)]
    with torch.autocast("cpu", dtype):
        got, expected = dots(*leaves), torch.bmm(x, v.unsqueeze(2)).squeeze(2)
    assert got.dtype == dtype
    assert torch.equal(got, expected)
    got.float().sum().backward()
    assert all(leaf.grad.dtype == torch.float32 for leaf in leaves)


def kind(spec):
    return spec.kind


@pytest.mark.parametrize("spec", EVERY, ids=kind)
def test_every_router_scores_every_candidate_and_puts_no_number_in_doubt(spec):
    x, query = some()
    tokens = torch.randint(20, (3, 37), generator=torch.Generator().manual_seed(0))
    router = spec.build(SIZE).eval()
    scores = router(tokens if router.reads_tokens else x, query)
    assert scores.shape == (3, -(-37 // spec.granularity))
    assert not scores.isnan().any()
    assert not scores.isposinf().any()
    assert scores.isfinite().any(dim=1).all()


@pytest.mark.parametrize("spec", EVERY, ids=kind)
def test_no_sequences_get_no_scores(spec):
    router = spec.build(SIZE).eval()
    nothing = (
        torch.zeros(0, 37, dtype=torch.long) if router.reads_tokens else torch.zeros(0, 37, 16)
    )
    scores = router(nothing, torch.zeros(0, dtype=torch.long))
    assert scores.shape == (0, -(-37 // spec.granularity))


def test_those_with_a_form_are_known():
    assert {Investigator, RankOne} <= set(map(type, FORMS))


@pytest.mark.parametrize("spec", FORMS, ids=kind)
def test_the_factors_make_the_form_and_random_ones_keep_its_norms(spec):
    router = spec.build(SIZE)
    parameters = list(router.parameters())
    first, second = parameters[0], parameters[-1]
    torch.testing.assert_close(first.T @ second, router.form())
    drawn = router.random_factors(torch.Generator().manual_seed(0))
    again = router.random_factors(torch.Generator().manual_seed(0))
    assert (drawn[0] is drawn[1]) == (first is second)
    for ours, theirs, repeated in zip(drawn, (first, second), again, strict=True):
        torch.testing.assert_close(ours.norm(), theirs.norm())
        assert torch.equal(ours, repeated)
        assert not torch.allclose(ours, theirs)


@pytest.mark.parametrize("spec", FORMS, ids=kind)
def test_the_form_gives_the_scores_up_to_a_factor(spec):
    x, _ = some()
    torch.manual_seed(0)  # a product of fingerprints near zero would have no ratio
    router = spec.build(SIZE)
    ratio = router.matrix(x) / torch.einsum("bic,cd,bjd->bij", x, router.form(), x)
    assert ratio.min() > 0
    torch.testing.assert_close(ratio, ratio.mean().expand_as(ratio), atol=0, rtol=1e-2)


@settings(max_examples=50, deadline=None)
@given(st.integers(1, 8), st.integers(0, 2**32 - 1))
def test_rank_one_answers_at_most_two_questions_of_a_sequence(questions, seed):
    """Whatever the vectors are: by counting, one best token for each sign of the query's number."""
    task = MQAR(length=40, vocabulary=32, pairs=questions, form="multi")
    _, queries, evidence, _ = task._draw(1, torch.Generator().manual_seed(seed))
    torch.manual_seed(seed)
    router = RankOne(candidates="others")
    x = torch.randn(1, 40, 16).expand(questions, -1, -1)
    scores = router.mask(router.build(Size(32, 40, 16))(x, queries[0]), queries[0])
    assert (scores.argmax(dim=1) == evidence[0]).sum() <= 2
    # The bound is reached: the two evidences are the ends, and nobody asks for them who is an end.
    if questions > 1:
        numbers = torch.zeros(40).scatter(0, evidence[0, :2], torch.tensor([2.0, -2.0]))
        numbers[queries[0, :2]] = torch.tensor([1.0, -1.0])
        by_hand = router.mask(numbers[queries[0], None] * numbers, queries[0])
        assert (by_hand[:2].argmax(dim=1) == evidence[0, :2]).all()


def test_rank_one_has_rank_one():
    x, query = some()
    router = RankOne().build(SIZE)
    matrix = router.matrix(x)
    assert torch.linalg.matrix_rank(matrix[0].double(), atol=1e-5) == 1
    torch.testing.assert_close(router(x, query), matrix[torch.arange(3), query])


@settings(max_examples=100, deadline=None)
@given(st.integers(1, 80), st.integers(0, 2**31), st.data())
def test_route_picks_what_the_scores_rank_highest(length, seed, data):
    rng = torch.Generator().manual_seed(seed)
    x = torch.randn(1, length, 16, generator=rng)
    torch.manual_seed(seed)
    router = data.draw(st.sampled_from([RankOne(), Investigator(heads=2)])).build(SIZE)
    query = data.draw(st.integers(0, length - 1))
    candidates = data.draw(st.sampled_from(["all", "others"] if length > 1 else ["all"]))
    k = data.draw(st.integers(1, length - (candidates == "others")))
    where = torch.tensor([query])
    scores = mask_candidates(router(x, where), where, candidates)[0]
    routed = router.route(x[0], query, k, candidates)
    torch.testing.assert_close(scores[routed], scores.topk(k).values)
    assert len(set(routed.tolist())) == k


@pytest.mark.parametrize(("query", "k", "name"), [(0, 0, "k"), (0, 38, "k"), (37, 1, "query")])
def test_route_refuses_what_is_not_there(query, k, name):
    with pytest.raises(ValueError, match="from 36 candidates"):
        RankOne().build(SIZE).route(some()[0][0], 0, 37, "others")
    with pytest.raises(ValueError, match=name):
        RankOne().build(SIZE).route(some()[0][0], query, k)


@pytest.mark.parametrize("spec", [Investigator(heads=2), RankOne()])
def test_every_query_routed_at_once_is_every_query_routed_alone(spec):
    x = some()[0][0]
    router = spec.build(SIZE)
    every = router.route_all(x, 5)
    for query in range(len(x)):
        alone = router.route(x, query, 5)
        scores = router(x[None], torch.tensor([query]))[0]
        torch.testing.assert_close(scores[every[query]], scores[alone])
    with pytest.raises(ValueError, match="k: 38 picks from 37"):
        router.route_all(x, 38)


@pytest.mark.parametrize(
    ("spec", "refusal"),
    [
        (SegmentRouter(segment=5), "x: 37 positions are no candidates of a router of segments"),
        (ClosedLoop(rounds=2), "rounds: the second needs the Council's answer; ask the model"),
        (Budgeted(fraction=0.1), "k: 5 picks, but the router has scored fewer candidates"),
    ],
    ids=["segments", "rounds", "budget"],
)
def test_routing_refuses_what_is_not_the_routers_last_word_on_positions(spec, refusal):
    """Numbers of segments, first-round scores and positions without any are no routes."""
    x = some()[0][0]
    router = spec.build(SIZE).eval()
    with pytest.raises(ValueError, match=f"^{refusal}$"):
        router.route(x, 0, 5)
    with pytest.raises(ValueError, match=f"^{refusal}$"):
        router.route_all(x, 5)


def test_as_many_as_a_budget_compares_can_be_routed():
    x = some()[0][0]
    router = Budgeted(fraction=0.1).build(SIZE).eval()  # 4 of 37
    scores = router(x[None], torch.tensor([7]))[0]
    assert torch.equal(router.route(x, 7, 4), scores.topk(4).indices)
    every = router.route_all(x, 4)
    assert every.shape == (37, 4)
    assert torch.equal(every[7], router.route(x, 7, 4))


@pytest.mark.parametrize("spec", [Investigator(), RankOne()])
def test_candidates_of_another_name_are_refused(spec):
    with pytest.raises(ValueError, match="candidates: 'other' is neither"):
        spec.build(SIZE).route(some()[0][0], 0, 2, "other")


@pytest.mark.parametrize("candidates", ["all", "others"])
@pytest.mark.parametrize("queries", [1, 2])
def test_each_row_of_scores_has_its_own_query(candidates, queries):
    """One query for three rows would leave the query of two of them a candidate."""
    with pytest.raises(ValueError, match=f"query: {queries} positions for 3 sequences"):
        mask_candidates(torch.zeros(3, 4), torch.zeros(queries, dtype=torch.long), candidates)


def test_random_scores_are_of_tokens_if_nothing_is_said():
    assert RandomScores()(torch.zeros(2, 5, 16), None).shape == (2, 5)


def test_random_router_is_uniform():
    torch.manual_seed(0)
    x, query = torch.zeros(20000, 5, 16), torch.zeros(20000, dtype=torch.long)
    best = RandomRouter().build(SIZE)(x, query).argmax(dim=1)
    share = best.bincount(minlength=5) / 20000
    torch.testing.assert_close(share, torch.full((5,), 0.2), atol=0.015, rtol=0)


def test_candidates():
    scores, query = torch.zeros(2, 4), torch.tensor([1, 3])
    assert torch.equal(mask_candidates(scores, query, "all"), scores)
    masked = mask_candidates(scores, query, "others")
    assert masked.isinf().nonzero().tolist() == [[0, 1], [1, 3]]


@pytest.mark.parametrize("candidates", ["all", "others"])
@pytest.mark.parametrize("within", [None, 6, 12])
@pytest.mark.parametrize("granularity", [1, 2, 3])
def test_a_mask_leaves_the_segment_of_the_evidence_and_takes_the_query(
    granularity, within, candidates
):
    length = 37
    spec = RandomRouter(segment=granularity, within=within, candidates=candidates)
    query, evidence = torch.tensor([0, 13, 36, 36]), torch.tensor([36, 14, 0, 35])
    scores = torch.rand(4, -(-length // granularity))
    masked = spec.mask(scores, query, evidence)
    for row in range(4):
        for place, score in enumerate(scores[row].tolist()):
            first = place * granularity
            ours = within is None or first // within == evidence[row] // within
            itself = candidates == "others" and granularity == 1 and place == query[row]
            assert masked[row, place] == (score if ours and not itself else -math.inf)
    if within is not None:
        with pytest.raises(ValueError, match=r"^within: which segment is given follows from the "):
            spec.mask(scores, query)


def test_pick_takes_the_best_and_what_follows_them():
    scores = torch.tensor([[0.0, 5.0, 1.0, 9.0]])
    assert pick(scores, k=2, neighbours=0).tolist() == [[3, 1]]
    assert pick(scores, k=2, neighbours=1).tolist() == [[3, 1, 3, 2]]
    segments = pick(scores, k=2, neighbours=1, granularity=3, length=11)
    assert segments.tolist() == [[9, 3, 10, 4, 10, 5, 10, 6]]
    assert segments.dtype == torch.int64
    with pytest.raises(ValueError, match="k: 5"):
        pick(scores, k=5, neighbours=0)


@settings(max_examples=100, deadline=None)
@given(st.integers(1, 12), st.integers(0, 2), st.integers(0, 2**31), st.data())
def test_what_is_no_candidate_is_never_picked(number, neighbours, seed, data):
    """Of too few candidates the best is picked again, and the Council reads it once."""
    rng = torch.Generator().manual_seed(seed)
    k = data.draw(st.integers(1, number))
    scores = torch.randn(4, number, generator=rng)
    scores[torch.rand(4, number, generator=rng) < 0.6] = float("-inf")
    scores[torch.arange(4), torch.randint(number, (4,), generator=rng)] = 0.5  # one is always there
    picks = pick(scores, k, neighbours)
    assert picks.shape == (4, k * (1 + neighbours))
    for row, chosen in zip(scores.tolist(), picks[:, :k].tolist(), strict=True):
        order = sorted((i for i in range(number) if row[i] > -math.inf), key=lambda i: -row[i])
        best = order[:k]
        assert chosen == best + [best[0]] * (k - len(best))


def test_heads_must_divide_the_width():
    with pytest.raises(ValueError, match="heads"):
        Investigator(heads=3).build(SIZE)
