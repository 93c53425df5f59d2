"""BM25 against rank-bm25 on words, and against the formula in Robertson's notation."""

import math

import numpy as np
import pytest
import torch
from hypothesis import given, settings
from hypothesis import strategies as st
from rank_bm25 import BM25Okapi

from fcilib.representations import Embedding
from fcilib.routers import BM25Index
from fcilib.specs.size import Size
from fcilib.tasks import Evidence
from fcilib.training.experiment import Experiment

SIZE = Size(vocabulary=200, length=64, width=16)


def documents(tokens, query, segment, candidates):
    """The segments of one sequence as lists of words; an empty one stays in the collection."""
    words = [f"w{token}" for token in tokens.tolist()]
    return [
        [words[j] for j in range(first, min(first + segment, len(words)))
         if candidates == "all" or j != query]
        for first in range(0, len(words), segment)
    ]  # fmt: skip


def expected(tokens, query, segment, candidates, **constants):
    rows = []
    for row, place in zip(tokens, query.tolist(), strict=True):
        collection = documents(row, place, segment, candidates)
        scores = BM25Okapi(collection, **constants).get_scores([f"w{int(row[place])}"])
        empty = np.array([not document for document in collection])
        rows.append(np.where(empty, -np.inf, scores))
    return torch.tensor(np.stack(rows)).float()


@settings(max_examples=120, deadline=None)
@given(
    st.integers(2, 50),
    st.integers(1, 12),
    st.sampled_from([2, 5, 30]),
    st.sampled_from(["all", "others"]),
    st.integers(0, 2**31),
)
def test_scores_are_rank_bm25s_on_words(length, segment, vocabulary, candidates, seed):
    rng = torch.Generator().manual_seed(seed)
    tokens = torch.randint(vocabulary, (2, length), generator=rng)
    query = torch.randint(length, (2,), generator=rng)
    router = BM25Index(segment=segment, candidates=candidates).build(SIZE)
    want = expected(tokens, query, segment, candidates)
    if (want[want.isfinite()] < 0).any():
        with pytest.raises(ValueError, match=r"^segment: most tokens .* negative weight"):
            router(tokens, query)
        return
    got = router(tokens, query)
    assert got.shape == (2, math.ceil(length / segment))
    assert not got.requires_grad
    torch.testing.assert_close(got, want)


@pytest.mark.parametrize("constants", [
    {"k1": 0.5}, {"b": 0.0}, {"epsilon": 1.0}, {"k1": 2.0, "b": 0.3, "epsilon": 0.0},
])  # fmt: skip
@pytest.mark.parametrize("candidates", ["all", "others"])
@pytest.mark.parametrize("common", [True, False])
def test_other_constants_are_passed_on(constants, candidates, common):
    rng = torch.Generator().manual_seed(0)
    tokens = torch.randint(30, (20, 30), generator=rng)
    if common:  # one token stands in most of the segments
        tokens[:, ::3] = 0
    query = torch.randint(30, (20,), generator=rng)
    got = BM25Index(segment=7, candidates=candidates, **constants).build(SIZE)(tokens, query)
    torch.testing.assert_close(got, expected(tokens, query, 7, candidates, **constants))
    usual = BM25Index(segment=7, candidates=candidates).build(SIZE)(tokens, query)
    # The floor is of no effect where no token is in most of the segments.
    if constants != {"epsilon": 1.0} or common:
        assert not torch.allclose(got, usual)


def by_formula(collection, asked, k1=1.5, b=0.75):
    """sum of idf f (k1 + 1) / (f + k1 (1 - b + b |D| / avgdl)), for one word."""
    number = len(collection)
    containing = sum(asked in document for document in collection)
    idf = math.log((number - containing + 0.5) / (containing + 0.5))
    sizes = np.array([len(document) for document in collection])
    f = np.array([document.count(asked) for document in collection])
    return idf * f * (k1 + 1) / (f + k1 * (1 - b + b * sizes / sizes.mean()))


def test_one_case_is_the_textbooks_formula():
    # Segments of four, the last of one; token 5 stands twice in the first and once in the third.
    tokens = torch.tensor([[5, 1, 5, 2, 3, 4, 6, 7, 8, 5, 9, 10, 11, 12, 13, 14, 15]])
    collection = [row.tolist() for row in tokens[0].split(4)]
    got = BM25Index(segment=4).build(SIZE)(tokens, torch.tensor([9]))[0]
    want = by_formula(collection, 5)
    assert want[0] > want[2] > 0
    np.testing.assert_allclose(got.numpy(), want, rtol=1e-6)
    # Without the query's own token the third does not hold it any more.
    collection[2].remove(5)
    got = BM25Index(segment=4, candidates="others").build(SIZE)(tokens, torch.tensor([9]))[0]
    want = by_formula(collection, 5)
    assert want[2] == 0
    np.testing.assert_allclose(got.numpy(), want, rtol=1e-6)


def test_a_token_in_most_segments_gets_a_share_of_the_mean_weight():
    # Token 1 in three segments of four; the eight others in one each.
    tokens = torch.tensor([[1, 2, 3, 1, 4, 5, 1, 6, 7, 8, 9, 10]])
    got = BM25Index(segment=3).build(SIZE)(tokens, torch.tensor([0]))[0]
    rare, common = math.log(3.5 / 1.5), math.log(1.5 / 3.5)
    floor = 0.25 * (9 * rare + common) / 10
    assert common < 0 < floor
    # Segments of equal lengths, so that one occurrence weighs 2.5 / 2.5.
    np.testing.assert_allclose(got.numpy(), [floor, floor, floor, 0], rtol=1e-6)


@pytest.mark.parametrize("length", [64, 61])
def test_the_only_other_segment_that_holds_the_token_is_best(length):
    task = Evidence(length=length, vocabulary=64, min_distance=20)
    router = BM25Index(segment=8, candidates="others")
    torch.manual_seed(0)
    model = Experiment(task=task, width=16, representation=Embedding(), router=router).build()
    batch = task.draw(50, 0)
    scores = model(batch.tokens, batch.query, batch.evidence).scores
    assert torch.equal(scores.argmax(dim=1), batch.evidence // 8)
    assert ((scores > 0).sum(dim=1) == 1).all()


@pytest.mark.parametrize(
    ("candidates", "length", "segments"),
    [("all", 128, 4), ("all", 97, 4), ("others", 64, 2), ("others", 33, 2), ("others", 32, 1)],
)
def test_too_few_segments_are_refused_where_the_index_is_built(candidates, length, segments):
    """The token of query and evidence would weigh nothing, or less: the right segment is last."""
    router = BM25Index(candidates=candidates)
    with pytest.raises(
        ValueError, match=f"^segment: {length} tokens are {segments} segments of 32"
    ):
        router.build(Size(vocabulary=200, length=length, width=16))


@pytest.mark.parametrize(("candidates", "segments"), [("all", 5), ("others", 3)])
@pytest.mark.parametrize("rest", [0, 1])
def test_as_many_segments_as_are_asked_for_do(candidates, segments, rest):
    """Neither the query's segment nor the evidence's ever scores below one without the token."""
    task = Evidence(length=8 * segments - rest, vocabulary=200, min_distance=8)
    batch = task.draw(100, 0)
    router = BM25Index(segment=8, candidates=candidates)
    size = Size(vocabulary=200, length=task.length, width=16)
    scores = router.build(size)(batch.tokens, batch.query)
    right = scores.gather(1, (batch.evidence // 8).unsqueeze(1)).squeeze(1)
    assert (right > 0).all()
    assert torch.equal((scores == 0).sum(dim=1), segments - (scores > 0).sum(dim=1))
    assert ((scores > 0).sum(dim=1) <= (2 if candidates == "all" else 1)).all()


@pytest.mark.parametrize("epsilon", [0.0, 0.25])
def test_a_token_below_zero_is_refused_in_place_of_ranking_its_segments_last(epsilon):
    # Six segments: 1, 2 and 3 stand in five or all of them, so that the mean weight is negative.
    tokens = torch.tensor([[1, 2, 3] * 5 + [1, 2, 4]])
    router = BM25Index(segment=3, epsilon=epsilon).build(SIZE)
    query = torch.tensor([0])
    if epsilon:
        with pytest.raises(ValueError, match=r"segment: .* the 6 segments, .* to token 1;"):
            router(tokens, query)
    else:
        assert router(tokens, query).eq(0).all()


def test_an_index_has_no_parameters_and_repeats():
    tokens = torch.randint(30, (5, 40), generator=torch.Generator().manual_seed(0))
    query = torch.arange(5)
    one, other = (BM25Index(segment=8).build(SIZE) for _ in range(2))
    assert not list(one.parameters())
    assert torch.equal(one(tokens, query), other(tokens, query))


@pytest.mark.parametrize(
    ("field", "value"), [("k1", 0.0), ("k1", -0.1), ("b", 1.1), ("epsilon", -1.0), ("segment", 0)]
)
def test_bad_fields_are_named(field, value):
    with pytest.raises(ValueError, match=field):
        BM25Index(**{field: value})
