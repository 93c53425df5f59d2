"""Routing to segments: the pools are torch's, and segments of one token are tokens."""

import math

import pytest
import torch
from hypothesis import given, settings
from hypothesis import strategies as st
from torch.nn import functional as F

from fcilib.model import metrics
from fcilib.model.fci import Output
from fcilib.representations import Embedding
from fcilib.routers import Investigator, SegmentRouter, pick
from fcilib.routers.segment import cut
from fcilib.specs.size import Size
from fcilib.tasks import Batch, Evidence
from fcilib.training.experiment import Experiment

SIZE = Size(vocabulary=20, length=37, width=16)


def some(batch=3, length=37):
    rng = torch.Generator().manual_seed(0)
    x = torch.randn(batch, length, 16, generator=rng)
    return x, torch.randint(length, (batch,), generator=rng)


def build(**fields):
    torch.manual_seed(0)
    return SegmentRouter(**fields).build(SIZE)


def gradients(scores, inputs):
    """Of something that weighs every candidate's score differently."""
    finite = scores.masked_fill(scores.isinf(), 0)
    weight = torch.linspace(0.5, 2, finite.numel()).view_as(finite)
    return torch.autograd.grad((finite * weight).square().sum(), inputs)


@pytest.mark.parametrize("summary", ["mean", "max"])
@pytest.mark.parametrize("candidates", ["all", "others"])
@pytest.mark.parametrize("length", [1, 2, 36, 37])
def test_segments_of_one_token_are_the_investigator(summary, candidates, length):
    x, query = some(length=length)
    x.requires_grad_()
    spec = SegmentRouter(segment=1, k=1, summary=summary, candidates=candidates)
    tokens = Investigator(k=1, candidates=candidates)
    ours, theirs = spec.build(SIZE), tokens.build(SIZE)
    ours.pairwise.load_state_dict(theirs.state_dict())
    got = spec.mask(ours(x, query), query)
    expected = tokens.mask(theirs(x, query), query)
    torch.testing.assert_close(got, expected)
    assert got.isinf().sum() == (3 if candidates == "others" else 0)
    mine = gradients(got, (x, *ours.parameters()))
    its = gradients(expected, (x, *theirs.parameters()))
    for a, b in zip(mine, its, strict=True):
        torch.testing.assert_close(a, b, atol=1e-5, rtol=1e-4)


@pytest.mark.parametrize(("summary", "pool"), [("mean", F.avg_pool1d), ("max", F.max_pool1d)])
@pytest.mark.parametrize(("length", "segment"), [(36, 4), (36, 36), (35, 5), (37, 1)])
def test_summaries_are_torchs_pools(summary, pool, length, segment):
    x, query = some(length=length)
    x.requires_grad_()
    router = build(segment=segment, summary=summary)
    got, full = router.summarise(x, query, "all")
    expected = pool(x.transpose(1, 2), segment).transpose(1, 2)
    torch.testing.assert_close(got, expected)
    assert full.all()
    for a, b in zip(gradients(got, x), gradients(expected, x), strict=True):
        torch.testing.assert_close(a, b)


@settings(max_examples=80, deadline=None)
@given(
    st.integers(1, 40),
    st.integers(1, 12),
    st.sampled_from(["mean", "max"]),
    st.sampled_from(["all", "others"]),
    st.integers(0, 2**31),
)
def test_summaries_of_any_length_are_a_loop_over_segments(
    length, segment, summary, candidates, seed
):
    rng = torch.Generator().manual_seed(seed)
    x = torch.randn(2, length, 16, generator=rng)
    query = torch.randint(length, (2,), generator=rng)
    got, full = build(segment=segment, summary=summary).summarise(x, query, candidates)
    assert got.shape == (2, math.ceil(length / segment), 16)
    for row in range(2):
        for number in range(got.shape[1]):
            own = range(number * segment, min((number + 1) * segment, length))
            held = [x[row, j] for j in own if candidates == "all" or j != query[row]]
            assert bool(full[row, number]) == bool(held)
            if held:
                stack = torch.stack(held)
                expected = stack.mean(dim=0) if summary == "mean" else stack.amax(dim=0)
                torch.testing.assert_close(got[row, number], expected)


@pytest.mark.parametrize("summary", ["mean", "max"])
@pytest.mark.parametrize("score", ["dot", "linear-attention"])
@pytest.mark.parametrize("candidates", ["all", "others"])
def test_only_a_segment_left_empty_is_no_candidate(summary, score, candidates):
    x, _ = some(batch=2, length=37)
    x.requires_grad_()
    query = torch.tensor([36, 35])  # alone in the last segment of 4; one of four in its own
    router = build(segment=4, summary=summary, score=score, candidates=candidates)
    scores = router(x, query)
    assert scores.shape == (2, 10)
    expected = [[0, 9]] if candidates == "others" else []
    assert scores.isneginf().nonzero().tolist() == expected
    for gradient in gradients(scores, (x, *router.parameters())):
        assert gradient.isfinite().all()
        assert gradient.abs().sum() > 0


def test_the_query_counts_in_its_own_segment_under_all_but_not_under_others():
    x, query = some(batch=1, length=12)
    changed = x.clone()
    changed[0, query] += 3
    own = int(query) // 4
    for candidates in ("all", "others"):
        router = build(segment=4, candidates=candidates)
        one, other = (router.summarise(v, query, candidates)[0] for v in (x, changed))
        moved = (one != other).any(dim=2)[0].nonzero().flatten().tolist()
        assert moved == ([own] if candidates == "all" else [])


@pytest.mark.parametrize("length", [1, 5, 37])
@pytest.mark.parametrize("summary", ["mean", "max"])
def test_the_softmax_of_linear_attention_scores_is_its_weights(length, summary):
    x, query = some(length=length)
    x.requires_grad_()
    router = build(segment=4, score="linear-attention", summary=summary)
    got = router(x, query).softmax(dim=1)
    summaries, _ = router.summarise(x, query, "all")
    q = F.elu(router.pairwise.query(x[torch.arange(3), query])) + 1
    k = F.elu(router.pairwise.key(summaries)) + 1
    kernel = torch.einsum("bc,bjc->bj", q, k)
    expected = kernel / kernel.sum(dim=1, keepdim=True)
    torch.testing.assert_close(got, expected)
    if length > 4:  # the only segment there is has weight one, whatever the inputs
        inputs = (x, *router.parameters())
        for a, b in zip(gradients(got, inputs), gradients(expected, inputs), strict=True):
            torch.testing.assert_close(a, b, atol=1e-5, rtol=1e-4)


def test_a_kernel_that_vanishes_is_small_and_still_a_candidate():
    x, query = some(length=6)
    router = build(segment=1, score="linear-attention")
    with torch.no_grad():
        for projection in (router.pairwise.query, router.pairwise.key):
            projection.weight.fill_(-100.0)
    scores = router(x.abs() + 1, query)  # elu + 1 of what is far below zero is zero
    assert scores.isfinite().all()
    loss = F.cross_entropy(scores, query)
    assert all(g.isfinite().all() for g in torch.autograd.grad(loss, tuple(router.parameters())))


@pytest.mark.parametrize("length", [4, 7, 8, 9])
def test_cut_loses_and_invents_no_token(length):
    tokens = torch.arange(1, 2 * length + 1).view(2, length)
    query = torch.tensor([0, length - 1])
    parts, held = cut(tokens, query, 4, "all")
    assert parts.shape == held.shape == (2, -(-length // 4), 4)
    for row in range(2):
        assert parts[row][held[row]].tolist() == tokens[row].tolist()
    parts, held = cut(tokens, query, 4, "others")
    assert parts[0][held[0]].tolist() == tokens[0, 1:].tolist()
    assert parts[1][held[1]].tolist() == tokens[1, :-1].tolist()


def test_a_picked_segment_is_all_its_tokens_and_the_neighbour():
    scores = torch.tensor([[0.0, 5.0, 9.0]])
    picks = pick(scores, k=2, neighbours=1, granularity=4, length=10)
    assert picks.shape == (1, 2 * (4 + 1))
    assert picks[0, :2].tolist() == [8, 4]  # where the best begin, best first
    # 8, 9 and what would be 10, 11, 12; 4 ... 7 and the neighbour 8.
    assert sorted(picks[0].tolist()) == [4, 5, 6, 7, 8, 8, 9, 9, 9, 9]
    with pytest.raises(ValueError, match="k: 4 picks from 3"):
        pick(scores, k=4, neighbours=1, granularity=4, length=10)


@settings(max_examples=60, deadline=None)
@given(st.integers(1, 40), st.integers(1, 9), st.integers(0, 3), st.data())
def test_picks_are_a_loop_over_the_best_segments(length, segment, neighbours, data):
    number = math.ceil(length / segment)
    k = data.draw(st.integers(1, number))
    seed = data.draw(st.integers(0, 2**31))
    scores = torch.rand(2, number, generator=torch.Generator().manual_seed(seed))
    picks = pick(scores, k, neighbours, segment, length)
    assert picks.shape == (2, k * (segment + neighbours))
    for row in range(2):
        best = sorted(range(number), key=lambda n: -scores[row, n])[:k]
        reach = range(segment + neighbours)
        expected = {min(n * segment + step, length - 1) for n in best for step in reach}
        assert set(picks[row].tolist()) == expected
        assert picks[row, :k].tolist() == [n * segment for n in best]


@pytest.mark.parametrize("segment", [1, 4, 5])
def test_the_model_reads_whole_segments(segment):
    torch.manual_seed(0)
    task = Evidence(length=33, vocabulary=16, min_distance=8, distractors=2)
    router = SegmentRouter(segment=segment, k=2, neighbours=1)
    model = Experiment(task=task, width=16, representation=Embedding(), router=router).build()
    batch = task.draw(5, 0)
    output = model(batch.tokens, batch.query)
    assert output.scores.shape == (5, math.ceil(33 / segment))
    assert output.picks.shape == (5, router.picks)
    assert output.granularity == segment
    expected = pick(output.scores, 2, 1, segment, 33)
    assert torch.equal(output.picks, expected)


def test_positions_are_not_routed_by_a_router_of_segments():
    x, _ = some()
    with pytest.raises(ValueError, match="router of segments"):
        build(segment=4).route(x[0], 0, 2)
    assert len(build(segment=1).route(x[0], 0, 2, "others")) == 2


def test_metrics_of_segments_by_hand():
    # Ten tokens in segments of four: 0-3, 4-7, 8-9.
    batch = Batch(
        tokens=torch.zeros(4, 10, dtype=torch.long),
        query=torch.tensor([1, 9, 5, 8]),
        evidence=torch.tensor([6, 3, 7, 8]),
        label=torch.tensor([0, 1, 0, 1]),
    )
    infinite = float("-inf")
    scores = torch.tensor(
        [
            [1.0, 3.0, 2.0],  # the evidence's segment is the best
            [2.0, 1.0, 2.0],  # a tie of its segment and the query's
            [3.0, 1.0, 2.0],  # it is the worst
            [3.0, 2.0, infinite],  # it is no candidate
        ]
    )
    output = Output(
        logits=torch.tensor([[1.0, 0.0]] * 4),
        scores=scores,
        picks=pick(scores, 2, 1, 4, 10),
        granularity=4,
    )
    found = metrics.score(output, batch, 2)
    assert found["accuracy"].tolist() == [1, 0, 1, 0]
    assert found["precision"].tolist() == [1, 0.5, 0, 0]
    assert found["precision_tie_lost"].tolist() == [1, 0, 0, 0]
    assert found["precision_tie_won"].tolist() == [1, 1, 0, 0]
    assert found["precision_at_k"].tolist() == [1, 1, 0, 0]
    assert found["picked_query"].tolist() == [0, 0.5, 0, 0]


@pytest.mark.parametrize("field", ["segment", "k", "heads"])
def test_a_field_that_is_zero_is_named(field):
    with pytest.raises(ValueError, match=field):
        SegmentRouter(**{field: 0})


def test_heads_must_divide_the_width():
    with pytest.raises(ValueError, match="heads"):
        SegmentRouter(heads=3).build(SIZE)
