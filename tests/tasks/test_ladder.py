"""The context ladder: a reader in plain Python finds the evidence by each rung's definition."""

import hashlib
from itertools import combinations, pairwise, permutations
from math import comb
from typing import Annotated

import numpy as np
import pytest
import torch
from hypothesis import given, settings
from hypothesis import strategies as st
from pydantic import TypeAdapter
from scipy.stats import binomtest, chisquare

from fcilib.representations import Attention, Embedding
from fcilib.routers import Investigator
from fcilib.specs.kinds import ByKind
from fcilib.specs.size import Size
from fcilib.tasks import Ladder, Task
from fcilib.tasks.ladder import ALIAS, LOOKALIKES, MARKER, PIECE
from fcilib.training.experiment import Experiment, Training
from fcilib.training.loop import train

RUNGS = ("token", "left", "right", "hop", "alias")

SMALLEST = {
    "token": (15, 10),
    "left": (15, 7),
    "right": (15, 7),
    "hop": (27, 14),
    "alias": (15, 14),
}
"""Length and vocabulary below which there is no layout, counted by hand: 3 tokens a piece; the two
special tokens, the keys, and four more, for four different contexts or for filler."""

every_rung = pytest.mark.parametrize("rung", RUNGS)


def found_by(rung, tokens, query):
    """Where the evidence is, by the definition of a rung, from tokens and query alone."""
    key = tokens[query]
    others = [i for i in range(len(tokens)) if i != query]
    if rung == "token":
        return [i for i in others if tokens[i] == key]
    if rung == "left":
        context = tokens[query - 1]
        return [i for i in others if i and tokens[i] == key and tokens[i - 1] == context]
    if rung == "right":
        context, last = tokens[query + 1], len(tokens) - 1
        return [i for i in others if i < last and tokens[i] == key and tokens[i + 1] == context]
    defined = [i for i, token in enumerate(tokens) if token == ALIAS]
    (meant,) = [tokens[i + 2] for i in defined if tokens[i + 1] == key]
    defining = {i + 2 for i in defined}
    if rung == "alias":
        return [i for i in defining if tokens[i] == meant]
    return [i for i in range(len(tokens)) if tokens[i] == meant and i not in defining]


def label_of(rung, tokens, evidence):
    """What stands right after what identifies the evidence; with `alias` the evidence itself."""
    if rung == "alias":
        return tokens[evidence]
    return tokens[evidence + (2 if rung == "right" else 1)]


def sequences(task, count, seed):
    """Each example in plain Python: tokens, query, evidence, label, look-alikes."""
    batch = task.draw(count, seed)
    parts = (batch.tokens, batch.query, batch.evidence, batch.label, batch.lookalikes)
    return zip(*(part.tolist() for part in parts), strict=True)


def check(task, count, seed):
    """Every example is what the docstring says of its rung."""
    rung, held = task.rung, range(2, task.vocabulary)
    for tokens, query, evidence, label, lookalikes in sequences(task, count, seed):
        assert found_by(rung, tokens, query) == [evidence]
        assert label_of(rung, tokens, evidence) == label
        assert [i for i, token in enumerate(tokens) if token == MARKER] == [
            query - (2 if rung == "left" else 1)
        ]
        assert tokens.count(ALIAS) == (LOOKALIKES if rung in ("hop", "alias") else 0)
        assert set(tokens) - {MARKER, ALIAS} <= set(held)
        assert lookalikes[0] == evidence
        assert len({*lookalikes, query}) == LOOKALIKES + 1
        looks_alike(rung, tokens, query, lookalikes)


def looks_alike(rung, tokens, query, lookalikes):
    """The candidates differ in what distinguishes them, and in nothing else; no other exists."""
    keys = [tokens[i] for i in lookalikes]
    key = tokens[query]
    if rung in ("left", "right"):
        side = -1 if rung == "left" else 1
        assert keys == [key] * LOOKALIKES
        assert len({tokens[i + side] for i in lookalikes}) == LOOKALIKES
        assert tokens.count(key) == LOOKALIKES + 1
        return
    assert len(set(keys)) == LOOKALIKES
    if rung == "token":
        assert [tokens.count(k) for k in keys] == [2, 1, 1, 1]
        return
    meaning = {tokens[i + 1]: tokens[i + 2] for i, token in enumerate(tokens) if token == ALIAS}
    assert sorted(meaning.values()) == sorted(keys)
    assert len({*meaning, *keys}) == 2 * LOOKALIKES
    assert meaning[key] == keys[0]
    # Each stands once in its definition, and with `hop` once by itself; of the defined only the
    # query's again.
    assert {tokens.count(k) for k in keys} == {2 if rung == "hop" else 1}
    assert sorted(tokens.count(k) for k in meaning) == [1, 1, 1, 2]


@every_rung
@pytest.mark.parametrize("seed", [0, 1])
def test_a_reader_finds_the_evidence_and_nothing_else(rung, seed):
    check(Ladder(rung=rung), 300, seed)


@every_rung
def test_so_it_does_where_filler_is_scarce_and_pieces_touch(rung):
    length, vocabulary = SMALLEST[rung]
    check(Ladder(rung=rung, length=length, vocabulary=vocabulary), 300, 0)


@pytest.mark.parametrize(
    ("tokens", "query", "rung", "expected"),
    [
        ([0, 7, 5, 7, 9, 7], 1, "token", [3, 5]),
        ([0, 4, 7, 4, 7, 9, 5, 7], 2, "left", [4]),
        ([7, 0, 4, 7, 7, 7], 3, "left", []),
        ([0, 7, 4, 7, 5, 7, 4, 9, 7], 1, "right", [5]),
        ([0, 7, 3, 8, 9, 1, 7, 8, 1, 6, 5], 1, "hop", [3]),
        ([0, 7, 3, 8, 9, 1, 7, 8, 1, 6, 5], 1, "alias", [7]),
    ],
)
def test_the_reader_reads(tokens, query, rung, expected):
    """The oracle itself, on sequences written by hand."""
    assert found_by(rung, tokens, query) == expected


@every_rung
def test_shapes_and_types(rung):
    task = Ladder(rung=rung, length=40, vocabulary=20)
    batch = task.draw(7, 0)
    assert batch.tokens.shape == (7, 40)
    assert batch.lookalikes.shape == (7, LOOKALIKES)
    flat = (batch.query, batch.evidence, batch.label)
    assert {part.shape for part in flat} == {(7,)}
    assert {part.dtype for part in (batch.tokens, batch.lookalikes, *flat)} == {torch.int64}
    assert task.classes == 20
    assert len(batch) == 7
    assert len(task.draw(0, 0)) == 0


# Possible layouts, and impossible ones.


@settings(max_examples=150, deadline=None)
@given(st.sampled_from(RUNGS), st.integers(1, 70), st.integers(1, 40), st.integers(0, 2**31))
def test_every_layout_is_drawn_or_the_field_at_fault_is_named(rung, length, vocabulary, seed):
    needed = dict(zip(("length", "vocabulary"), SMALLEST[rung], strict=True))
    given_sizes = {"length": length, "vocabulary": vocabulary}
    at_fault = [name for name, least in needed.items() if given_sizes[name] < least]
    if not at_fault:
        check(Ladder(rung=rung, **given_sizes), 8, seed)
        return
    with pytest.raises(ValueError, match=f"({'|'.join(at_fault)}): "):
        Ladder(rung=rung, **given_sizes)


@every_rung
def test_one_less_than_the_smallest_is_impossible(rung):
    length, vocabulary = SMALLEST[rung]
    with pytest.raises(ValueError, match=rf"length: \d pieces take {length} tokens"):
        Ladder(rung=rung, length=length - 1)
    with pytest.raises(ValueError, match=rf"vocabulary: \d keys and filler take {vocabulary} "):
        Ladder(rung=rung, vocabulary=vocabulary - 1)


@pytest.mark.parametrize(
    ("field", "sizes"),
    [
        ("rung", {}),
        ("rung", {"rung": "up"}),
        ("length", {"rung": "left", "length": 0}),
        ("length", {"rung": "left", "length": 128.0}),
        ("vocabulary", {"rung": "left", "vocabulary": "64"}),
        ("height", {"rung": "left", "height": 3}),
    ],
)
def test_bad_fields_are_named(field, sizes):
    with pytest.raises(ValueError, match=field):
        Ladder(**sizes)


def test_a_negative_seed_is_refused():
    with pytest.raises(ValueError, match="seed"):
        Ladder(rung="left").draw(1, seed=-1)


# The same bytes, whatever ran before.


def drawn_bytes(rung, seed=3, split="train"):
    batch = Ladder(rung=rung).draw(64, seed, split)
    parts = (batch.tokens, batch.query, batch.evidence, batch.label, batch.lookalikes)
    return b"".join(part.numpy().tobytes() for part in parts)


def test_same_seed_same_bytes_whatever_was_built_before():
    before = [drawn_bytes(rung) for rung in RUNGS]
    Attention().build(Size(vocabulary=50, length=32, width=16))
    torch.manual_seed(99)
    torch.rand(1000)
    assert [drawn_bytes(rung) for rung in reversed(RUNGS)][::-1] == before
    # Of this version, on any machine: a change of the generator's use calls for a new NUMERICS.
    digest = hashlib.sha256(b"".join(before[:4])).hexdigest()
    assert digest == "648389999794d2dbdd179d64032457bd9f91de3c90e883d7eab552db2b585f4e"


@every_rung
def test_a_draw_leaves_torchs_own_stream_alone(rung):
    torch.manual_seed(5)
    expected = torch.rand(3)
    torch.manual_seed(5)
    Ladder(rung=rung).draw(4, 0)
    assert torch.equal(torch.rand(3), expected)


@every_rung
def test_splits_and_seeds_are_independent(rung):
    drawn = {drawn_bytes(rung, seed, split) for seed in (0, 1) for split in ("train", "test")}
    assert len(drawn) == 4


# What a glance, a place or an order gives away.

COUNT = 4000


@pytest.mark.parametrize("rung", ["left", "right"])
def test_tokens_alone_leave_one_in_four(rung):
    """A picker that looks for the query's token, and takes the first, last or any such."""
    rng = np.random.default_rng(0)
    hits = {"first": 0, "last": 0, "any": 0}
    for tokens, query, evidence, *_ in sequences(Ladder(rung=rung), COUNT, 0):
        same = found_by("token", tokens, query)
        assert len(same) == LOOKALIKES
        picks = {"first": same[0], "last": same[-1], "any": rng.choice(same)}
        for how, pick in picks.items():
            hits[how] += pick == evidence
    assert all(binomtest(n, COUNT, 1 / LOOKALIKES).pvalue > 1e-3 for n in hits.values()), hits


def test_a_definition_is_needed_on_top_of_tokens():
    """With `hop`, the query's own token leads into its definition, and to no look-alike."""
    for tokens, query, _, _, lookalikes in sequences(Ladder(rung="hop"), 300, 0):
        (same,) = found_by("token", tokens, query)
        assert tokens[same - 1] == ALIAS
        assert same not in lookalikes


@every_rung
def test_each_of_the_look_alikes_is_as_likely_to_come_first(rung):
    order = Ladder(rung=rung).draw(COUNT, 0).lookalikes.argsort(dim=1).argsort(dim=1)
    for column in order.T:
        assert chisquare(column.bincount(minlength=LOOKALIKES).numpy()).pvalue > 1e-3


@every_rung
def test_the_nearest_look_alike_is_the_evidence_one_time_in_four(rung):
    batch = Ladder(rung=rung).draw(COUNT, 0)
    distance, which = (batch.lookalikes - batch.query[:, None]).abs().sort(dim=1)
    nearest = which[:, 0][distance[:, 0] < distance[:, 1]]
    assert len(nearest) > 0.9 * COUNT
    assert binomtest(int((nearest == 0).sum()), len(nearest), 1 / LOOKALIKES).pvalue > 1e-3


def shares_of_begins(length, pieces):
    """The chance that one of so many pieces begins at each place, every layout alike, by counting.

    A piece that begins at p has j pieces in the p tokens before it, and the others after it.
    """
    ways = [
        sum(
            comb(p - (PIECE - 1) * j, j) * comb(rest - (PIECE - 1) * (after - j), after - j)
            for j in range(after + 1)
            if p >= PIECE * j and rest >= PIECE * (after - j)
        )
        for p in range(length - PIECE + 1)
        for after, rest in [(pieces - 1, length - PIECE - p)]
    ]
    return np.array(ways) / sum(ways)


def test_the_shares_are_those_of_all_layouts_of_a_small_case():
    length, pieces = 13, 3
    layouts = [
        begins
        for begins in permutations(range(length - PIECE + 1), pieces)
        if all(abs(a - b) >= PIECE for a, b in combinations(begins, 2))
    ]
    first = np.bincount([begins[0] for begins in layouts], minlength=length - PIECE + 1)
    np.testing.assert_allclose(shares_of_begins(length, pieces), first / len(layouts))


@every_rung
@pytest.mark.parametrize("length", [31, 128])
def test_query_and_evidence_stand_where_a_uniform_layout_has_them(rung, length):
    pieces = SMALLEST[rung][0] // PIECE
    shares = shares_of_begins(length, pieces)
    np.testing.assert_allclose(shares, shares[::-1])  # either end alike
    # After a piece's beginning: the query's marker, and what stands before a look-alike.
    asking, after = int(rung == "left"), {"left": 1, "alias": 2}.get(rung, 0)
    batch = Ladder(rung=rung, length=length).draw(10 * COUNT, 0)
    begins = (batch.evidence - after, batch.query - 1 - asking, batch.lookalikes[:, 3] - after)
    for places in begins:
        counts = places.bincount(minlength=len(shares)).numpy()
        assert len(counts) == len(shares)
        assert chisquare(counts, shares * len(places)).pvalue > 1e-3


@every_rung
def test_the_best_guess_by_position_is_little_better_than_any(rung):
    pieces = SMALLEST[rung][0] // PIECE
    assert shares_of_begins(128, pieces).max() < 1.35 / 126
    batch = Ladder(rung=rung).draw(10 * COUNT, 1)
    assert batch.evidence.bincount().max() / (10 * COUNT) < 1.6 / 126


def test_every_layout_is_as_likely_as_any():
    """Five pieces in 17 tokens: the 21 sets of beginnings there are, and the orders of each."""
    batch = Ladder(rung="token", length=17).draw(21 * 2000, 0)
    begins = torch.cat([batch.query[:, None] - 1, batch.lookalikes], dim=1)
    sets = [tuple(row) for row in begins.sort(dim=1).values.tolist()]
    possible = [
        s for s in combinations(range(15), 5) if all(b - a >= PIECE for a, b in pairwise(s))
    ]
    assert set(sets) == set(possible)
    assert len(possible) == 21
    index = {s: i for i, s in enumerate(possible)}
    assert chisquare(np.bincount([index[s] for s in sets])).pvalue > 1e-3
    orders = [tuple(row) for row in begins.argsort(dim=1).tolist()]
    ranks = {order: i for i, order in enumerate(permutations(range(5)))}
    assert chisquare(np.bincount([ranks[o] for o in orders], minlength=120)).pvalue > 1e-3


@every_rung
def test_all_ordinary_tokens_serve_alike(rung):
    task = Ladder(rung=rung, length=40, vocabulary=20)
    batch = task.draw(COUNT, 0)
    rows = torch.arange(COUNT)
    for held in (batch.tokens[rows, batch.query], batch.tokens[rows, batch.evidence], batch.label):
        counts = held.bincount(minlength=20).numpy()
        assert not counts[:2].any()
        assert chisquare(counts[2:]).pvalue > 1e-3


@every_rung
def test_the_label_tells_nothing_of_the_key(rung):
    """Of the tokens that are no key each is as likely to be the value of the evidence."""
    task = Ladder(rung=rung, length=40, vocabulary=20)
    batch = task.draw(10 * COUNT, 0)
    key = batch.tokens[torch.arange(10 * COUNT), batch.query]
    counts = batch.label[key == 7].bincount(minlength=20).numpy()
    assert counts[7] == 0
    assert chisquare(np.delete(counts[2:], 5)).pvalue > 1e-3


@pytest.mark.parametrize("rung", RUNGS[:4])
def test_the_label_is_to_be_read_at_the_evidence_and_nowhere_else(rung):
    """It is what stands beside the query, or after a look-alike, no more often than any filler."""
    task = Ladder(rung=rung, length=40, vocabulary=20)
    batch = task.draw(COUNT, 0)
    rows, after = torch.arange(COUNT), 2 if rung == "right" else 1
    filler = 20 - SMALLEST[rung][1] + LOOKALIKES
    beside = batch.query + {"left": -1, "right": 1}.get(rung, 0)
    places = [beside, *(batch.lookalikes[:, 1:] + after).T]
    for place in places if rung in ("left", "right") else places[1:]:
        same = int((batch.tokens[rows, place] == batch.label).sum())
        assert binomtest(same, COUNT, 1 / filler).pvalue > 1e-3


# As a task of an experiment.


@every_rung
def test_a_task_by_its_kind_there_and_back(rung):
    task = Ladder(rung=rung, length=60)
    again = TypeAdapter(Annotated[Task, ByKind()]).validate_json(task.model_dump_json())
    assert again == task
    with pytest.raises(ValueError, match="rung"):
        TypeAdapter(Annotated[Task, ByKind()]).validate_python({"kind": "ladder"})


def test_a_run_reports_the_precision_among_look_alikes():
    experiment = Experiment(
        task=Ladder(rung="left", length=30, vocabulary=12),
        width=8,
        representation=Embedding(),
        router=Investigator(),
        training=Training(sequences=64, epochs=2, held_out=100),
    )
    outcome = train(experiment)
    among = outcome.metrics["precision_lookalike"]
    assert 0 <= outcome.metrics["precision"] <= among <= 1
    assert [epoch["precision_lookalike"] for epoch in outcome.curve][-1] == among
