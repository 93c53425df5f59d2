"""Associative recall: what every example must satisfy, and Zoology's recipe as the oracle."""

import hashlib
import itertools
import math

import numpy as np
import pytest
import torch
from hypothesis import given, settings
from hypothesis import strategies as st
from scipy.stats import chi2_contingency, chisquare

from fcilib.representations import Attention
from fcilib.specs.size import Size
from fcilib.tasks import MQAR
from fcilib.tasks.mqar import FILLER, distinct

fields = st.fixed_dictionaries(
    {
        "length": st.integers(4, 90),
        "vocabulary": st.integers(4, 60),
        "pairs": st.integers(1, 24),
        "form": st.sampled_from(["single", "multi"]),
        "power": st.sampled_from([0.01, 0.5, 1.0]),
        "filler": st.sampled_from(["zero", "random"]),
    }
)


def faults(length, vocabulary, pairs, form, **_):
    """The fields that sizes are impossible by, as the layouts have it."""
    multi = form == "multi"
    found = set()
    if vocabulary % 2:
        return {"vocabulary"}
    if pairs > vocabulary // 2 - 1:
        found.add("pairs")
    if (4 * pairs if multi else 2 * pairs + 1) > length or (multi and length % 2):
        found.add("length")
    return found


def made(sizes):
    """The task of those sizes, or None where they are refused, by a field that is at fault."""
    at_fault = faults(**sizes)
    if not at_fault:
        return MQAR(**sizes)
    with pytest.raises(ValueError, match="|".join(at_fault)):
        MQAR(**sizes)
    return None


IGNORED = -100


def sequences(task, count, seed, split="train"):
    """Tokens, and as labels the value at each query and `IGNORED` elsewhere, both `(B, L)`."""
    if task.form == "multi":
        task = task.model_copy(update={"asks": "all"})
    drawn = task.draw(count, seed, split)
    queries, values = drawn.query.view(count, -1), drawn.label.view(count, -1)
    return drawn.tokens, torch.full_like(drawn.tokens, IGNORED).scatter_(1, queries, values)


def all_queries(task, count, seed, split="train"):
    """Tokens, labels and the positions of the queries `(B, N)` in the order of their pairs."""
    tokens, labels = sequences(task, count, seed, split)
    asked = labels != IGNORED
    number = task.pairs if task.form == "multi" else 1
    assert (asked.sum(dim=1) == number).all()
    places = asked.nonzero()[:, 1].view(count, number)
    if task.form == "multi":
        keys = tokens[:, : 2 * task.pairs : 2]
        places = places.gather(
            1, (tokens.gather(1, places)[:, None] == keys[..., None]).int().argmax(2)
        )
    return tokens, labels, places


def multi(length=64, pairs=8, power=0.01, **more):
    return MQAR(length=length, pairs=pairs, power=power, form="multi", **more)


@settings(max_examples=200, deadline=None)
@given(fields, st.integers(0, 2**31))
def test_every_example_is_what_the_docstring_says_or_the_field_at_fault_is_named(sizes, seed):
    task = made(sizes)
    if task is None:
        return
    batch = task.draw(12, seed)
    rows = torch.arange(12)
    q, a = batch.query, batch.evidence
    half = task.vocabulary // 2
    assert batch.tokens.shape == (12, task.length)
    assert {t.dtype for t in (batch.tokens, q, a, batch.label)} == {torch.int64}
    assert batch.tokens.min() >= 0
    assert batch.tokens.max() < task.vocabulary
    key = batch.tokens[rows, q]
    assert ((key >= 1) & (key < half)).all()
    assert ((batch.label >= half) & (batch.label < task.vocabulary)).all()
    assert (batch.tokens[rows, a] == key).all()
    assert (batch.tokens[rows, a + 1] == batch.label).all()
    assert (a + 1 < q).all()
    if task.form == "single":
        assert (q == task.length - 1).all()
    if task.form == "single" or task.filler == "zero":
        assert ((batch.tokens == key[:, None]).sum(dim=1) == 2).all()


@settings(max_examples=100, deadline=None)
@given(fields, st.integers(0, 2**31))
def test_pairs_and_queries_lie_where_their_form_has_them(sizes, seed):
    task = made({**sizes, "filler": "zero"})
    if task is None:
        return
    half, pairs = task.vocabulary // 2, task.pairs
    tokens, labels, places = all_queries(task, 12, seed)
    values = tokens >= half
    assert (values.sum(dim=1) == pairs).all()
    for row in range(12):
        at = values[row].nonzero()[:, 0]
        keys = tokens[row, at - 1]
        # A value to each key before it, none twice, and nothing else but the queries.
        assert ((keys >= 1) & (keys < half)).all()
        assert len(set(keys.tolist())) == len(set(tokens[row, at].tolist())) == pairs
        assert (tokens[row] != FILLER).sum() == 2 * pairs + places.shape[1]
        value_of = dict(zip(keys.tolist(), tokens[row, at].tolist(), strict=True))
        asked = tokens[row, places[row]].tolist()
        assert labels[row, places[row]].tolist() == [value_of[key] for key in asked]
        if task.form == "multi":
            assert at.tolist() == list(range(1, 2 * pairs, 2))
            assert sorted(asked) == sorted(keys.tolist())
            assert len(set(places[row].tolist())) == pairs
            assert (places[row] >= 2 * pairs).all()
            assert (places[row] % 2 == 0).all()
        else:
            assert (at.diff() >= 2).all()
            assert at.max() < task.length - 1


@pytest.mark.parametrize("filler", ["zero", "random"])
@pytest.mark.parametrize("form", ["single", "multi"])
def test_the_example_asks_one_of_the_sequences_queries(form, filler):
    task = MQAR(length=32, vocabulary=24, pairs=5, form=form, filler=filler)
    batch = task.draw(500, 3)
    tokens, labels, places = all_queries(task, 500, 3)
    assert torch.equal(batch.tokens, tokens)
    assert (places == batch.query[:, None]).any(dim=1).all()
    assert torch.equal(labels[range(500), batch.query], batch.label)


def test_every_query_of_a_sequence_is_as_likely_to_be_the_examples():
    task = multi(length=32, pairs=5, vocabulary=24)
    batch = task.draw(5000, 0)
    places = all_queries(task, 5000, 0)[2]
    pair = (places == batch.query[:, None]).int().argmax(1)
    assert torch.equal(batch.evidence, 2 * pair)
    assert chisquare(pair.bincount(minlength=5).numpy()).pvalue > 1e-3
    rank = (places < batch.query[:, None]).sum(dim=1)
    assert chisquare(rank.bincount(minlength=5).numpy()).pvalue > 1e-3


def test_pairs_of_the_single_form_lie_anywhere_alike():
    """Of 5 slots 2 hold a pair: ten layouts, and one of two pairs is asked for."""
    batch = MQAR(length=8, vocabulary=16, pairs=2).draw(8000, 0)
    values = (batch.tokens >= 8).int()
    layout = (values * 2 ** torch.arange(8)).sum(dim=1)
    counts = layout.unique(return_counts=True)[1]
    assert len(counts) == math.comb(5, 2)
    assert chisquare(counts.numpy()).pvalue > 1e-3
    first = values.argmax(dim=1) - 1 == batch.evidence
    assert chisquare(first.long().bincount().numpy()).pvalue > 1e-3


def test_keys_values_and_their_pairing_are_uniform():
    for task in (MQAR(length=12, vocabulary=16, pairs=3), multi(length=12, pairs=3, vocabulary=16)):
        batch = task.draw(6000, 0)
        key = batch.tokens[range(6000), batch.query]
        counts = ((key - 1) * 8 + batch.label - 8).bincount(minlength=7 * 8)
        assert chisquare(counts.numpy()).pvalue > 1e-3


def test_random_filler_of_the_single_form_is_any_token_but_the_key():
    task = MQAR(length=40, vocabulary=12, pairs=2, filler="random")
    batch = task.draw(6000, 0)
    key = batch.tokens[range(6000), -1]
    plain = task.model_copy(update={"filler": "zero"}).draw(6000, 0)
    assert torch.equal(plain.evidence, batch.evidence)
    for asked in (1, 3, 5):
        rows = key == asked
        held = batch.tokens[rows][plain.tokens[rows] == FILLER].bincount(minlength=12)
        assert held[asked] == 0
        others = [t for t in range(12) if t != asked]
        assert chisquare(held[others].numpy()).pvalue > 1e-3


# Gaps, by their law and by the recipe of the original.


@pytest.mark.parametrize("power", [0.01, 0.3, 1.0])
@pytest.mark.parametrize(("length", "pairs"), [(64, 4), (64, 16), (100, 8)])
def test_gaps_of_the_first_query_follow_the_power_law(length, pairs, power):
    task = multi(length, pairs, power)
    places = all_queries(task, 8000, 1)[2]
    gaps = (places[:, 0] - 2 * pairs) // 2
    space = (length - 2 * pairs) // 2
    weights = np.arange(1, space + 1) ** (power - 1)
    expected = 8000 * weights / weights.sum()
    assert expected.min() > 5
    assert chisquare(gaps.bincount(minlength=space).numpy(), expected).pvalue > 1e-3
    np.testing.assert_allclose(task.gap_weights().numpy(), expected / 8000)


def test_gaps_in_order_have_the_chance_of_draws_without_replacement():
    """All 24 ways to place 3 queries on 4 gaps, each with its chance worked out."""
    places = all_queries(multi(length=14, pairs=3, power=0.2), 12000, 0)[2]
    weights = np.arange(1, 5) ** -0.8
    ways = list(itertools.permutations(range(4), 3))
    expected = []
    for way in ways:
        left, chance = weights.sum(), 1.0
        for gap in way:
            chance, left = chance * weights[gap] / left, left - weights[gap]
        expected.append(12000 * chance)
    found = [tuple(row) for row in ((places - 6) // 2).tolist()]
    counts = [found.count(way) for way in ways]
    assert sum(counts) == 12000
    assert chisquare(counts, expected).pvalue > 1e-3


def zoology(count, length, vocabulary, pairs, power, random_filler, seed):
    """Sequences and labels by the recipe of the original, a row at a time."""
    rng = np.random.RandomState(seed)
    half, space = vocabulary // 2, (length - 2 * pairs) // 2
    chances = power * np.arange(1, space + 1) ** (power - 1)
    chances /= chances.sum()
    tokens = np.zeros((count, length), dtype=np.int64)
    labels = np.full((count, length), IGNORED)
    for row in range(count):
        keys = rng.choice(np.arange(1, half), pairs, replace=False)
        values = rng.choice(np.arange(half, vocabulary), pairs, replace=False)
        gaps = rng.choice(space, pairs, replace=False, p=chances)
        tokens[row, 0 : 2 * pairs : 2], tokens[row, 1 : 2 * pairs : 2] = keys, values
        tokens[row, 2 * pairs + 2 * gaps] = keys
        labels[row, 2 * pairs + 2 * gaps] = values
    if random_filler:
        empty = tokens == 0
        tokens[empty] = rng.randint(vocabulary, size=empty.sum())
    return tokens, labels


def same_distribution(ours, theirs, bins):
    """Whether two samples of integers of [0, bins) could be of one distribution."""
    table = np.stack([np.bincount(np.ravel(x), minlength=bins) for x in (ours, theirs)])
    assert table.shape == (2, bins)
    common = table.sum(axis=0) >= 20
    rest = table[:, ~common].sum(axis=1, keepdims=True)
    table = np.hstack([table[:, common], rest]) if rest.sum() >= 20 else table[:, common]
    return table.shape[1] == 1 or chi2_contingency(table).pvalue > 1e-3


@pytest.mark.parametrize("random_filler", [False, True], ids=["zero", "random"])
@pytest.mark.parametrize(
    ("length", "pairs", "power"), [(64, 8, 0.01), (40, 10, 0.01), (48, 4, 0.5), (32, 4, 1.0)]
)
def test_sequences_are_distributed_as_those_of_the_original(length, pairs, power, random_filler):
    count, vocabulary = 4000, 32
    filler = "random" if random_filler else "zero"
    task = multi(length, pairs, power, vocabulary=vocabulary, filler=filler)
    ours = [t.numpy() for t in sequences(task, count, 5)]
    theirs = zoology(count, length, vocabulary, pairs, power, random_filler, 5)

    def gaps(tokens, labels):
        """Of the query of each pair, in the order of the pairs, `(B, N)`."""
        asked = labels[:, None, :] == tokens[:, 1 : 2 * pairs : 2, None]
        return (asked.argmax(axis=2) - 2 * pairs) // 2

    space = (length - 2 * pairs) // 2
    here, there = gaps(*ours), gaps(*theirs)
    for query in range(pairs):
        assert same_distribution(here[:, query], there[:, query], space), query
    assert same_distribution(here, there, space)
    # One gap after another, and how far the gaps lie apart.
    both = [gap[:, 0] // 6 * 20 + gap[:, 1] // 6 for gap in (here, there)]
    assert same_distribution(*both, 400)
    assert same_distribution(np.ptp(here, axis=1) // 4, np.ptp(there, axis=1) // 4, space)
    # Keys, values and filler, where there is any.
    for part in (slice(0, 2 * pairs, 2), slice(1, 2 * pairs, 2), slice(2 * pairs + 1, None, 2)):
        assert same_distribution(ours[0][:, part], theirs[0][:, part], vocabulary)
    empty = [(labels[:, ::2] == IGNORED)[:, pairs:] for _, labels in (ours, theirs)]
    filled = [t[0][:, 2 * pairs :: 2][e] for t, e in zip((ours, theirs), empty, strict=True)]
    if filled[0].size:
        assert same_distribution(*filled, vocabulary)


# Drawing without replacement.


def floyd(number, count, draws, rng):
    """Floyd's algorithm as Bentley has it, a row's set at a time, then `distinct`'s shuffle."""
    picks = [torch.randint(number - draws + j + 1, (count,), generator=rng) for j in range(draws)]
    rows = []
    for row in range(count):
        chosen = []
        for step in range(draws):
            pick, last = int(picks[step][row]), number - draws + step
            chosen.append(last if pick in chosen else pick)
        rows.append(chosen)
    order = torch.rand(count, draws, generator=rng).argsort(dim=1)
    return torch.tensor(rows, dtype=torch.int64).view(count, draws).gather(1, order)


@settings(max_examples=150, deadline=None)
@given(st.integers(1, 40), st.integers(0, 6), st.data(), st.integers(0, 2**31))
def test_distinct_is_floyds_algorithm_pick_by_pick(number, count, data, seed):
    draws = data.draw(st.integers(1, number))
    ours, theirs = (torch.Generator().manual_seed(seed) for _ in range(2))
    assert torch.equal(distinct(number, count, draws, ours), floyd(number, count, draws, theirs))
    assert torch.equal(ours.get_state(), theirs.get_state())


@pytest.mark.parametrize(("number", "draws"), [(5, 2), (4, 3), (4, 4), (6, 1)])
def test_distinct_draws_every_subset_in_every_order_alike(number, draws):
    found = distinct(number, 12000, draws, torch.Generator().manual_seed(0))
    code = (found * number ** torch.arange(draws)).sum(dim=1)
    counts = code.unique(return_counts=True)[1]
    assert len(counts) == math.perm(number, draws)
    assert chisquare(counts.numpy()).pvalue > 1e-3


@settings(max_examples=60, deadline=None)
@given(st.integers(1, 40), st.integers(0, 40), st.integers(0, 2**31))
def test_distinct_integers_are_distinct_and_in_range(number, draws, seed):
    draws = min(draws, number)
    found = distinct(number, 7, draws, torch.Generator().manual_seed(seed))
    assert found.shape == (7, draws)
    assert all(len(set(row)) == draws for row in found.tolist())
    assert draws == 0 or (found.min() >= 0 and found.max() < number)


def test_as_many_draws_as_integers_are_a_permutation():
    found = distinct(9, 200, 9, torch.Generator().manual_seed(0))
    assert torch.equal(found.sort(dim=1).values, torch.arange(9).expand(200, -1))
    assert len({tuple(row) for row in found.tolist()}) > 190


# Seeds.


def digest(batch):
    parts = (batch.tokens, batch.query, batch.evidence, batch.label)
    return hashlib.sha256(b"".join(t.numpy().tobytes() for t in parts)).hexdigest()


@pytest.mark.parametrize("filler", ["zero", "random"])
@pytest.mark.parametrize("form", ["single", "multi"])
def test_same_seed_same_bytes_whatever_was_built_before(form, filler):
    task = MQAR(length=64, pairs=8, form=form, filler=filler)
    before = digest(task.draw(64, 3))
    Attention(layers=2).build(Size(vocabulary=50, length=32, width=16))
    task.draw(7, 4)
    torch.manual_seed(99)
    torch.rand(1000)
    state = torch.get_rng_state()
    assert digest(task.draw(64, 3)) == before
    assert torch.equal(torch.get_rng_state(), state)


@pytest.mark.parametrize(
    ("sizes", "expected"),
    [
        ({}, "6228701800e92bde943a62844092788443b6490702a7ac466de89d7748c854d1"),
        ({"filler": "random"}, "b995dadb65a954e90f243e5cf416e4370ed828a616813120b4e7e4fa2e0ac162"),
        (
            {"form": "multi", "filler": "random"},
            "3df685cd456000d1a4cf6eb8f46e051bedcd73199d6175cf69f7a1214856ee2d",
        ),
    ],
    ids=["paper", "random", "multi"],
)
def test_draws_are_of_this_version_on_any_machine(sizes, expected):
    """A change of how the generator is used calls for a new NUMERICS."""
    assert digest(MQAR(**sizes).draw(64, 3)) == expected


def test_all_questions_are_those_of_which_one_is_asked():
    one, every = multi(), multi(asks="all")
    drawn, whole = one.draw(50, 3), every.draw(50, 3)
    assert torch.equal(drawn.tokens, whole.tokens)
    assert whole.query.shape == whole.evidence.shape == whole.label.shape == (50, 8)
    asked = (whole.query == drawn.query[:, None]).int().argmax(dim=1, keepdim=True)
    for name in ("query", "evidence", "label"):
        assert torch.equal(getattr(whole, name).gather(1, asked)[:, 0], getattr(drawn, name))
    assert (whole.evidence == 2 * torch.arange(8)).all()
    first = whole.first
    assert torch.equal(first.label, whole.label[:, 0])
    assert torch.equal(first.tokens, whole.tokens)
    assert drawn.first is drawn


def test_a_single_query_has_no_others():
    with pytest.raises(ValueError, match="asks"):
        MQAR(asks="all")


@pytest.mark.parametrize("form", ["single", "multi"])
def test_splits_and_seeds_are_independent(form):
    task = MQAR(length=64, pairs=8, form=form)
    drawn = [task.draw(4, s, split).tokens for s in (0, 1) for split in ("train", "test")]
    assert all(not torch.equal(x, y) for i, x in enumerate(drawn) for y in drawn[:i])


# Refusals.


@pytest.mark.parametrize(
    ("field", "sizes"),
    [
        ("pairs", {"pairs": 8, "vocabulary": 16}),
        ("pairs", {"pairs": 0}),
        ("length", {"pairs": 16, "length": 32}),
        ("length", {"pairs": 16, "length": 62, "form": "multi"}),
        ("length", {"pairs": 4, "length": 65, "form": "multi"}),
        ("length", {"length": 3}),
        ("length", {"length": 256.5}),
        ("vocabulary", {"vocabulary": 33}),
        ("vocabulary", {"vocabulary": 2}),
        ("power", {"power": 0.0}),
        ("power", {"power": 1.5}),
        ("form", {"form": "triple"}),
        ("filler", {"filler": "noise"}),
        ("colour", {"colour": "red"}),
    ],
)
def test_bad_fields_are_named(field, sizes):
    with pytest.raises(ValueError, match=field):
        MQAR(**sizes)


@pytest.mark.parametrize(
    "sizes",
    [
        {"length": 33, "pairs": 16},
        {"length": 64, "pairs": 16, "form": "multi"},
        {"length": 4, "pairs": 1, "vocabulary": 4, "form": "multi"},
        {"length": 16, "pairs": 7, "vocabulary": 16},
    ],
)
def test_the_tightest_sizes_are_possible(sizes):
    batch = MQAR(**sizes).draw(50, 0)
    assert (batch.tokens[range(50), batch.evidence + 1] == batch.label).all()


def test_a_negative_seed_is_refused():
    with pytest.raises(ValueError, match="seed"):
        MQAR().draw(1, seed=-1)
