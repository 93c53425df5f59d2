"""Distant Evidence Retrieval: what every example must satisfy, for any sizes that are possible."""

import hashlib

import pytest
import torch
from hypothesis import given, settings
from hypothesis import strategies as st
from scipy.stats import chisquare

from fcilib.representations import Attention
from fcilib.specs.size import Size
from fcilib.tasks import Evidence
from fcilib.tasks.evidence import MARKER, NEARBY

fields = st.fixed_dictionaries(
    {
        "length": st.integers(4, 160),
        "vocabulary": st.integers(3, 40),
        "min_distance": st.integers(3, 120),
        "distractors": st.integers(0, 9),
        "order": st.sampled_from(["query-first", "evidence-first", "either"]),
        "collisions": st.booleans(),
        "near": st.booleans(),
    }
)


def made(sizes):
    """The task of those sizes, or None where they are refused by the name of a field at fault."""
    try:
        return Evidence(**sizes)
    except ValueError as error:
        refusal = str(error)
    assert any(name in refusal for name in ("length", "min_distance", "distractors")), refusal
    return None


@settings(max_examples=150, deadline=None)
@given(fields, st.integers(0, 2**31))
def test_every_example_is_what_the_docstring_says_or_the_field_at_fault_is_named(sizes, seed):
    task = made(sizes)
    if task is None:
        return
    batch = task.draw(20, seed)
    rows = torch.arange(20)
    q, a = batch.query, batch.evidence
    key = batch.tokens[rows, q]
    assert batch.tokens.shape == (20, task.length)
    assert batch.tokens.dtype == torch.int64
    assert (batch.tokens[rows, q - 1] == MARKER).all()
    assert (batch.tokens == MARKER).sum() == 20
    assert (batch.tokens[rows, a] == key).all()
    assert (batch.tokens[rows, a + 1] == batch.label).all()
    assert (batch.label != key).all()
    assert batch.tokens.max() < task.vocabulary
    distance = (a - q).abs()
    assert (distance <= NEARBY).all() if task.near else (distance >= task.min_distance).all()
    if not task.collisions:
        assert ((batch.tokens == key[:, None]).sum(dim=1) == 2).all()
    if task.order != "either":
        assert ((a > q) == (task.order == "query-first")).all()


def test_either_order_draws_both():
    batch = Evidence(order="either").draw(200, 0)
    share = (batch.evidence > batch.query).float().mean()
    assert 0.3 < share < 0.7


def test_collisions_put_the_key_elsewhere_too():
    batch = Evidence(length=128, vocabulary=16, min_distance=50, collisions=True).draw(100, 0)
    key = batch.tokens[torch.arange(100), batch.query]
    assert (batch.tokens == key[:, None]).sum(dim=1).float().mean() > 4


@pytest.mark.parametrize("sizes", [{}, {"near": True, "order": "either"}], ids=["far", "near"])
def test_distractors_are_near_and_take_the_places_of_filler(sizes):
    with_pairs = Evidence(distractors=4, **sizes)
    batch = with_pairs.draw(300, 0)
    slots = with_pairs._distractor_slots(
        batch.query, batch.evidence, torch.Generator().manual_seed(0)
    )
    assert ((slots - batch.query[:, None]).abs() <= NEARBY).all()
    taken = torch.stack([batch.query, batch.query - 1, batch.evidence, batch.evidence + 1], dim=1)
    assert not (slots[:, :, None] == taken[:, None, :]).any()
    assert all(len(set(row)) == 8 for row in slots.tolist())


@pytest.mark.parametrize("order", ["query-first", "evidence-first"])
def test_distractors_reach_both_ends_of_a_sequence(order):
    task = Evidence(length=32, min_distance=8, distractors=4, order=order)
    batch = task.draw(2000, 0)
    slots = task._distractor_slots(batch.query, batch.evidence, torch.Generator().manual_seed(0))
    assert slots.min() == 0
    assert slots.max() == 31


def test_same_seed_same_bytes_whatever_was_built_before():
    def digest():
        batch = Evidence().draw(64, seed=3)
        parts = (batch.tokens, batch.query, batch.evidence, batch.label)
        return hashlib.sha256(b"".join(t.numpy().tobytes() for t in parts)).hexdigest()

    before = digest()
    Attention(layers=2).build(Size(vocabulary=50, length=32, width=16))
    torch.manual_seed(99)
    torch.rand(1000)
    assert digest() == before
    # Of this version, on any machine: a change of the generator's use calls for a new NUMERICS.
    assert before == "66b88bdb5b11b6e3fc8cfa03df5416a4fef7b335ad0207fc25303aa75a8f73cf"


@pytest.mark.parametrize(
    ("sizes", "digest"),
    [
        (
            {"order": "either", "collisions": True},
            "47e7c292217ed79fe8ecfc567357adc466d8b2f2693b55035473bb54c887fa58",
        ),
        (
            {"order": "evidence-first", "class_size": 5},
            "66cebd194bb99f72c8462a0ebb0f7ef8a792bed04636542f66b2dfd9fa5b4a61",
        ),
        (
            {"near": True, "order": "either"},
            "4614bf4c44b46a4827701784db5277d0b003fc1f3e4385b017fa3cd7566e44e9",
        ),
        (
            {"class_size": 5, "unseen": 2},
            "d9f5bfccf31be58c88a78fd60344e62d80bd1d917b6275bbda43747133969420",
        ),
        (
            {"class_size": 5, "unseen": 2, "unseen_as": "filler"},
            "851992d97bc42f0bba26dfa2a7a5ca40bca354e8e87425dbb5957b3e044c23da",
        ),
    ],
    ids=["collisions", "classes", "near", "absent", "filler"],
)
def test_other_layouts_are_of_this_version_on_any_machine(sizes, digest):
    """A change of how the generator is used calls for a new NUMERICS."""
    batch = Evidence(**sizes).draw(64, seed=3)
    parts = (batch.tokens, batch.query, batch.evidence, batch.label)
    assert hashlib.sha256(b"".join(t.numpy().tobytes() for t in parts)).hexdigest() == digest


def test_splits_and_seeds_are_independent():
    task = Evidence()
    drawn = [task.draw(4, s, split).tokens for s in (0, 1) for split in ("train", "test")]
    assert all(not torch.equal(x, y) for i, x in enumerate(drawn) for y in drawn[:i])


def test_positions_cover_what_is_allowed():
    task = Evidence(length=64, min_distance=40, distractors=0)
    batch = task.draw(4000, 0)
    assert batch.query.min() == 1
    assert batch.query.max() == 64 - 2 - 40
    assert batch.evidence.max() == 62
    assert (batch.evidence - batch.query).min() == 40


def test_positions_cover_what_is_allowed_where_the_evidence_is_first():
    batch = Evidence(length=64, min_distance=40, distractors=0, order="evidence-first").draw(
        4000, 0
    )
    assert batch.query.min() == 40
    assert batch.query.max() == 63
    assert batch.evidence.min() == 0
    assert (batch.query - batch.evidence).min() == 40


@pytest.mark.parametrize(
    ("order", "nearest", "queries"),
    [("query-first", 1, (1, 61)), ("evidence-first", 3, (3, 63))],
)
def test_near_evidence_lies_at_every_distance_that_leaves_room(order, nearest, queries):
    """Before the query stand its marker and the evidence's value; after it there is nothing."""
    batch = Evidence(length=64, near=True, distractors=0, order=order).draw(6000, 0)
    assert (batch.query.min(), batch.query.max()) == queries
    distance = (batch.evidence - batch.query) * (1 if order == "query-first" else -1)
    assert set(distance.tolist()) == {*range(nearest, NEARBY + 1)}


@pytest.mark.parametrize(
    ("field", "sizes"),
    [
        ("min_distance", {"min_distance": 510}),
        ("min_distance", {"length": 20, "min_distance": 40}),
        ("vocabulary", {"vocabulary": 2}),
        ("distractors", {"distractors": 11}),
        ("length", {"length": 3}),
        ("length", {"length": 512.5}),
        ("order", {"order": "sideways"}),
        ("colour", {"colour": "red"}),
    ],
)
def test_bad_fields_are_named(field, sizes):
    with pytest.raises(ValueError, match=field):
        Evidence(**sizes)


def test_a_negative_seed_is_refused():
    with pytest.raises(ValueError, match="seed"):
        Evidence().draw(1, seed=-1)


# The semantic variant: the evidence is another token of the query key's class.


@settings(max_examples=150, deadline=None)
@given(fields, st.integers(2, 6), st.integers(2, 9), st.integers(0, 2**31))
def test_evidence_of_a_class_is_another_of_its_tokens(sizes, size, classes, seed):
    sizes = {**sizes, "vocabulary": 1 + size * classes, "class_size": size}
    task = made(sizes)
    if task is None:
        return
    batch = task.draw(20, seed)
    rows = torch.arange(20)
    q, a = batch.query, batch.evidence
    key, match = batch.tokens[rows, q], batch.tokens[rows, a]
    of_class = (batch.tokens - 1) // size  # the marker's is -1
    own = (key - 1) // size
    assert ((match - 1) // size == own).all()
    assert (match != key).all()
    assert ((batch.label - 1) // size != own).all()
    assert (batch.tokens[rows, a + 1] == batch.label).all()
    assert (batch.tokens[rows, q - 1] == MARKER).all()
    assert (batch.tokens == MARKER).sum() == 20
    assert batch.tokens.max() < task.vocabulary
    if not task.collisions:
        assert ((of_class == own[:, None]).sum(dim=1) == 2).all()


def test_distractors_are_never_of_the_class_even_with_collisions():
    task = Evidence(
        length=64, vocabulary=7, min_distance=30, distractors=6, class_size=3, collisions=True
    )
    batch = task.draw(400, 0)
    of_class = (batch.tokens - 1) // 3 == ((batch.tokens[range(400), batch.query] - 1) // 3)[
        :, None
    ]
    place = torch.arange(64) - batch.query[:, None]
    near = (place.abs() <= NEARBY) & (place != 0) & (place != -1)
    far = (place.abs() > NEARBY + 1) & ((torch.arange(64) - batch.evidence[:, None]).abs() > 1)
    # Filler is of the one class as often as of the other; six pairs near the query never are.
    assert of_class[far].double().mean().item() == pytest.approx(0.5, abs=0.03)
    assert of_class[near].double().mean() < 0.42


def test_all_keys_members_and_classes_occur_alike():
    task = Evidence(length=64, vocabulary=25, min_distance=30, distractors=2, class_size=3)
    batch = task.draw(24000, 0)
    rows = torch.arange(24000)
    key, match = batch.tokens[rows, batch.query], batch.tokens[rows, batch.evidence]
    assert chisquare(key.bincount(minlength=25)[1:].numpy()).pvalue > 1e-3
    assert chisquare(match.bincount(minlength=25)[1:].numpy()).pvalue > 1e-3
    assert chisquare(batch.label.bincount(minlength=25)[1:].numpy()).pvalue > 1e-3
    # Of each key's two fellows each is as likely as the other.
    pairs = (key * 25 + match).bincount(minlength=25 * 25)
    found = pairs[pairs > 0]
    assert len(found) == 24 * 2
    assert chisquare(found.numpy()).pvalue > 1e-3


def test_filler_is_uniform_over_the_other_classes():
    task = Evidence(length=64, vocabulary=13, min_distance=30, distractors=2, class_size=3)
    batch = task.draw(2000, 0)
    key = batch.tokens[torch.arange(2000), batch.query]
    for asked in (1, 3, 5, 12):  # first, last and middle of a class, and the last token of all
        held = batch.tokens[key == asked].flatten().bincount(minlength=13)
        first = asked - (asked - 1) % 3
        others = [t for t in range(1, 13) if not first <= t < first + 3]
        assert chisquare(held[others].numpy()).pvalue > 1e-3


@pytest.mark.parametrize("order", ["query-first", "either"])
def test_classes_move_no_position(order):
    plain = Evidence(length=64, vocabulary=25, min_distance=30, order=order).draw(200, 0)
    classes = Evidence(length=64, vocabulary=25, min_distance=30, order=order, class_size=3)
    drawn = classes.draw(200, 0)
    assert torch.equal(plain.query, drawn.query)
    assert torch.equal(plain.evidence, drawn.evidence)
    again = classes.draw(200, 0)
    assert torch.equal(drawn.tokens, again.tokens)
    assert torch.equal(drawn.label, again.label)


@pytest.mark.parametrize(
    ("vocabulary", "size"), [(256, 2), (25, 24), (25, 48), (25, 5), (3, 2), (25, 0), (25, -3)]
)
def test_an_impossible_class_size_is_named(vocabulary, size):
    with pytest.raises(ValueError, match="class_size"):
        Evidence(vocabulary=vocabulary, class_size=size)


# A held-out vocabulary: the test asks about tokens of a class that training never asks about.


@settings(max_examples=150, deadline=None)
@given(
    fields,
    st.integers(2, 4),
    st.integers(2, 4),
    st.integers(2, 6),
    st.sampled_from(["absent", "filler"]),
    st.sampled_from(["train", "test"]),
    st.integers(0, 2**31),
)
def test_each_split_asks_about_its_own_part_of_every_class(
    sizes, seen, unseen, classes, unseen_as, split, seed
):
    size = seen + unseen
    named = {"class_size": size, "unseen": unseen, "unseen_as": unseen_as}
    task = made({**sizes, "vocabulary": 1 + size * classes, **named})
    if task is None:
        return
    batch = task.draw(20, seed, split)
    rows = torch.arange(20)
    q, a = batch.query, batch.evidence
    key, match = batch.tokens[rows, q], batch.tokens[rows, a]
    of_class = (batch.tokens - 1).div(size, rounding_mode="floor")  # the marker's is -1
    own = of_class[rows, q]
    held = (batch.tokens - 1) % size >= seen
    in_test = split == "test"
    assert (of_class[rows, a] == own).all()
    assert (match != key).all()
    assert (held[rows, q] == in_test).all()
    assert (held[rows, a] == in_test).all()
    assert (batch.tokens[rows, a + 1] == batch.label).all()
    assert ((batch.label - 1) // size != own).all()
    assert (batch.tokens[rows, q - 1] == MARKER).all()
    assert (batch.tokens == MARKER).sum() == 20
    assert batch.tokens.max() < task.vocabulary
    if unseen_as == "absent":
        assert (held[batch.tokens != MARKER] == in_test).all()
    if not task.collisions:
        assert ((of_class == own[:, None]).sum(dim=1) == 2).all()
    # Where things stand is decided as in the plain task.
    plain = Evidence(**sizes).draw(20, seed, split)
    assert torch.equal(plain.query, q)
    assert torch.equal(plain.evidence, a)


@pytest.mark.parametrize("unseen_as", ["absent", "filler"])
@pytest.mark.parametrize(("split", "part"), [("train", (0, 1, 2)), ("test", (3, 4))])
def test_every_pair_of_a_part_is_asked_alike_and_filler_is_what_it_is_said_to_be(
    unseen_as, split, part
):
    """By counting: classes times the ordered pairs of a part, and what filler is drawn from."""
    named = {"class_size": 5, "unseen": 2, "unseen_as": unseen_as}
    task = Evidence(length=64, vocabulary=21, min_distance=30, distractors=2, **named)
    batch = task.draw(12000, 0, split)
    rows = torch.arange(12000)
    key, match = batch.tokens[rows, batch.query], batch.tokens[rows, batch.evidence]
    askable = [1 + 5 * c + m for c in range(4) for m in part]
    possible = {(k, m) for k in askable for m in askable if k != m and (k - 1) // 5 == (m - 1) // 5}
    counts = dict.fromkeys(possible, 0)
    for pair in zip(key.tolist(), match.tolist(), strict=True):
        counts[pair] += 1  # a KeyError would be a pair that is none
    assert chisquare(list(counts.values())).pvalue > 1e-3
    filler = batch.tokens[key == askable[0]][:, 40:50].flatten()
    filler = filler[filler != match[key == askable[0]].repeat_interleave(10)]
    counted = filler.bincount(minlength=21)
    allowed = [t for t in range(6, 21) if unseen_as == "filler" or t in askable]
    assert counted[allowed].sum() == counted.sum() - counted[MARKER] - counted[1:6].sum()
    assert chisquare(counted[allowed].numpy()).pvalue > 1e-3


def test_training_on_a_part_is_the_small_task_under_other_names():
    """Whatever is not held out could as well be all there is."""
    held = Evidence(length=64, vocabulary=25, min_distance=30, class_size=6, unseen=3)
    small = Evidence(length=64, vocabulary=13, min_distance=30, class_size=3)
    for split, shift in (("train", 0), ("test", 3)):
        names = torch.tensor([0, *(1 + 6 * c + m + shift for c in range(4) for m in range(3))])
        drawn, expected = held.draw(50, 4, split), small.draw(50, 4, split)
        assert torch.equal(drawn.tokens, names[expected.tokens])
        assert torch.equal(drawn.label, names[expected.label])


@pytest.mark.parametrize(
    ("field", "sizes"),
    [
        ("unseen", {"unseen": 2}),
        ("unseen", {"class_size": 3, "unseen": 2}),
        ("unseen", {"class_size": 5, "unseen": 1}),
        ("unseen", {"class_size": 5, "unseen": 4}),
        ("unseen", {"class_size": 5, "unseen": 5}),
        ("unseen", {"class_size": 5, "unseen": 9}),
        ("unseen", {"class_size": 5, "unseen": -2}),
        ("unseen_as", {"class_size": 5, "unseen_as": "filler"}),
        ("unseen_as", {"class_size": 5, "unseen": 2, "unseen_as": "label"}),
    ],
)
def test_an_impossible_part_is_named(field, sizes):
    with pytest.raises(ValueError, match=rf"\b{field}\b"):
        Evidence(**sizes)


def test_a_plain_task_says_nothing_of_what_is_held_out():
    """So that its records keep their names."""
    assert Evidence(class_size=5, unseen=0, unseen_as="absent").essence() == {
        "kind": "evidence",
        "class_size": 5,
    }
