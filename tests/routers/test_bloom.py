"""Bloom filters: never a false no, and as many false yeses as the formula says."""

import math

import pytest
import torch
from hypothesis import given, settings
from hypothesis import strategies as st
from scipy.stats import chisquare

from fcilib.representations import Embedding
from fcilib.routers import BloomIndex
from fcilib.specs.size import Size
from fcilib.tasks import Evidence
from fcilib.training.experiment import Experiment


def build(vocabulary=200, **fields):
    return BloomIndex(**fields).build(Size(vocabulary, 64, 16))


def filled(index, tokens):
    """One filter that holds those tokens."""
    parts = torch.tensor(tokens, dtype=torch.long).view(1, 1, -1)
    return index.fill(parts, torch.ones_like(parts, dtype=torch.bool))


@settings(max_examples=150, deadline=None)
@given(
    st.lists(st.integers(0, 199), min_size=1, max_size=40),
    st.integers(1, 300),
    st.integers(1, 8),
    st.integers(0, 2**31),
)
def test_a_filter_never_denies_what_it_holds(tokens, bits, hashes, salt):
    index = build(bits=bits, hashes=hashes, salt=salt)
    filters = filled(index, tokens)
    assert filters.shape == (1, 1, bits)
    assert filters.dtype == torch.bool
    assert 1 <= filters.sum() <= hashes * len(set(tokens))
    for token in tokens:
        assert index.holds(filters, torch.tensor([[token]])).all()


@settings(max_examples=100, deadline=None)
@given(st.integers(1, 40), st.integers(1, 12), st.integers(1, 64), st.integers(0, 2**31))
def test_scores_are_a_set_of_bits_in_a_loop(length, segment, bits, seed):
    rng = torch.Generator().manual_seed(seed)
    tokens = torch.randint(30, (2, length), generator=rng)
    query = torch.randint(length, (2,), generator=rng)
    for candidates in ("all", "others"):
        index = build(30, bits=bits, hashes=3, segment=segment, candidates=candidates)
        table = index.table.tolist()
        scores = index(tokens, query)
        assert scores.shape == (2, math.ceil(length / segment))
        assert not scores.requires_grad
        for row in range(2):
            asked = set(table[tokens[row, query[row]]])
            for number, score in enumerate(scores[row].tolist()):
                own = range(number * segment, min((number + 1) * segment, length))
                held = [j for j in own if candidates == "all" or j != query[row]]
                written = {bit for j in held for bit in table[tokens[row, j]]}
                expected = float(asked <= written) if held else float("-inf")
                assert score == expected


@pytest.mark.parametrize(
    ("bits", "hashes", "held"),
    [(256, 4, 32), (64, 2, 8), (128, 1, 32), (512, 3, 60), (100, 5, 16), (1000, 7, 100)],
)
def test_false_positives_are_as_frequent_as_the_formula_says(bits, hashes, held):
    spec = BloomIndex(bits=bits, hashes=hashes)
    expected = spec.false_positive_rate(held)
    assert 0.005 < expected < 0.3
    vocabulary, wrong, asked = 20000, 0, 0
    for salt in range(4):
        index = build(vocabulary, bits=bits, hashes=hashes, salt=salt)
        order = torch.randperm(vocabulary, generator=torch.Generator().manual_seed(salt))
        parts = order[: 64 * held].view(64, held)
        filters = index.fill(parts, torch.ones_like(parts, dtype=torch.bool))
        others = order[64 * held :][:2000]
        for token in others.split(200):
            yes = index.holds(filters[:, None].expand(-1, len(token), -1), token)
            wrong, asked = wrong + int(yes.sum()), asked + yes.numel()
    assert wrong / asked == pytest.approx(expected, rel=0.2)


def test_the_formula_by_hand():
    # 32 tokens and 4 functions set 128 of 256 bits at most: exp(-1/2) of the bits stay clear.
    assert BloomIndex().false_positive_rate(32) == pytest.approx(0.39346934**4)
    # One function, one token, m bits: about one bit in m is set.
    assert BloomIndex(bits=1000, hashes=1).false_positive_rate(1) == pytest.approx(1e-3, rel=1e-3)


def test_an_empty_filter_holds_nothing():
    index = build(bits=64)
    parts = torch.arange(6).view(1, 1, 6)
    filters = index.fill(parts, torch.zeros_like(parts, dtype=torch.bool))
    assert not filters.any()
    assert not any(index.holds(filters, torch.tensor([[t]])).any() for t in range(200))
    assert BloomIndex().false_positive_rate(0) == 0


def test_a_token_that_does_not_count_is_not_written():
    index = build(bits=64)
    parts, counts = torch.tensor([[[7, 9]]]), torch.tensor([[[True, False]]])
    assert torch.equal(index.fill(parts, counts), filled(index, [7]))


def test_a_salt_chooses_the_functions_and_the_same_salt_the_same():
    tables = [build(salt=salt).table for salt in (0, 1, 2, 12345)]
    assert all(not torch.equal(a, b) for i, a in enumerate(tables) for b in tables[:i])
    torch.manual_seed(7)  # no random state has a say
    assert torch.equal(build(salt=1).table, tables[1])
    # Two salts agree on a token's bit as often as by accident.
    for a in tables[1:]:
        assert (a == tables[0]).double().mean() < 0.05
    assert tables[0].min() >= 0
    assert tables[0].max() < 256


def test_functions_spread_tokens_evenly_over_the_bits():
    for salt in range(3):
        table = build(20000, bits=97, hashes=3, salt=salt).table
        for column in table.T:
            assert chisquare(column.bincount(minlength=97).numpy()).pvalue > 1e-4


@pytest.mark.parametrize("candidates", ["all", "others"])
@pytest.mark.parametrize("length", [64, 61])
def test_the_segment_of_the_evidence_always_says_yes(candidates, length):
    task = Evidence(length=length, vocabulary=64, min_distance=20)
    router = BloomIndex(segment=8, candidates=candidates)
    torch.manual_seed(0)
    model = Experiment(task=task, width=16, representation=Embedding(), router=router).build()
    batch = task.draw(300, 0)
    output = model(batch.tokens, batch.query, batch.evidence)
    rows = torch.arange(300)
    assert (output.scores[rows, batch.evidence // 8] == 1).all()
    assert not output.scores.requires_grad
    elsewhere = output.scores.masked_fill(output.scores.isneginf(), 0).sum(dim=1) - 1
    if candidates == "all":
        assert (output.scores[rows, batch.query // 8] == 1).all()
        elsewhere = elsewhere - 1
    # Seven other segments of eight tokens, that rarely say yes.
    assert elsewhere.mean() / 7 < 2 * router.false_positive_rate(8)


def test_filters_have_no_parameters_and_leave_nothing_in_a_checkpoint():
    index = build()
    assert not list(index.parameters())
    assert not index.state_dict()


@pytest.mark.parametrize("field", ["bits", "hashes", "segment", "salt"])
def test_bad_fields_are_named(field):
    with pytest.raises(ValueError, match=field):
        BloomIndex(**{field: -1})


def test_hashes_are_the_outputs_of_splitmix64():
    """Its published outputs for the seed 0; and with a salt, those that come that much later."""
    published = [0xE220A8397B1DCDAF, 0x6E789E6AA1B965F4, 0x06C45D188009454F]
    bits = 2**62
    table = build(3, bits=bits, hashes=1).table[:, 0].tolist()
    assert table == [output % bits for output in published]
    assert build(2, bits=bits, hashes=2).table.flatten().tolist()[:3] == table

    def splitmix64(number):
        z = number * 0x9E3779B97F4A7C15 % 2**64
        z = (z ^ z >> 30) * 0xBF58476D1CE4E5B9 % 2**64
        z = (z ^ z >> 27) * 0x94D049BB133111EB % 2**64
        return z ^ z >> 31

    assert [splitmix64(number) for number in (1, 2, 3)] == published
    for salt in (1, 77, 2**32 - 1):
        expected = [splitmix64(1 + n + salt * 2**32) % bits for n in range(8)]
        assert build(4, bits=bits, hashes=2, salt=salt).table.flatten().tolist() == expected
