"""Cutting a context, against counting by hand."""

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from fcilib.retrieval.questions import Question
from fcilib.retrieval.segments import Segments


def with_words(counts, supporting=(0,)):
    """A question whose sentences have that many words."""
    sentences = tuple(" ".join(["w"] * count) for count in counts)
    return Question("q", "who?", "w", sentences, frozenset(supporting))


def homes(counts, number):
    """The segment of every sentence."""
    alone = (Segments.of(with_words(counts, (at,)), number).gold for at in range(len(counts)))
    return tuple(home for (home,) in alone)


@pytest.mark.parametrize(
    ("words", "number", "expected"),
    [
        ([3, 3, 3, 3], 2, (0, 0, 1, 1)),
        ([1, 1, 1, 9], 2, (0, 0, 0, 1)),
        ([9, 1, 1, 1], 2, (0, 1, 1, 1)),
        ([2, 4, 2], 2, (0, 1, 1)),  # 2 and 6 are as near to 4: the earlier
        ([2, 2, 8, 2, 2], 4, (0, 0, 1, 2, 3)),
        ([20, 1, 1], 3, (0, 1, 2)),
        ([1, 1, 20], 3, (0, 1, 2)),  # 20 words hold two cuts' places
        ([5, 5], 1, (0, 0)),
        ([5, 5], 16, (0, 1)),  # fewer sentences than segments
        ([0, 0, 0], 2, (0, 1, 1)),
        ([4], 16, (0,)),
    ],
)
def test_cuts_are_at_the_sentence_ends_nearest_to_even_shares(words, number, expected):
    assert homes(words, number) == expected


def test_segments_know_their_text_and_their_supporting_sentences():
    sentences = ("One two.", " Three four.", "", " \t", "Five  six.", " Seven.")
    segments = Segments.of(Question("q", "?", "!", sentences, frozenset({0, 1, 5})), 3)
    assert segments.texts == ("One two.", "Three four.", "Five  six. Seven.")
    assert segments.gold == {0, 1, 2}
    together = Segments.of(Question("q", "?", "!", sentences, frozenset({4, 5})), 3)
    assert together.gold == {2}
    assert len(together) == 3


@settings(max_examples=300, deadline=None)
@given(st.data(), st.lists(st.integers(0, 40), min_size=1, max_size=60), st.integers(1, 20))
def test_segments_are_a_partition_in_order_that_finds_all_support(data, words, number):
    supporting = data.draw(st.sets(st.integers(0, len(words) - 1), min_size=1))
    places = homes(words, number)
    assert sorted(places) == list(places)
    assert set(places) == set(range(min(number, len(words))))
    question = with_words(words, supporting)
    segments = Segments.of(question, number)
    assert len(segments) == min(number, len(words))
    assert " ".join(segments.texts).split() == " ".join(question.sentences).split()
    assert segments.gold == {places[sentence] for sentence in supporting}
    for home, text in enumerate(segments.texts):
        held = [count for count, place in zip(words, places, strict=True) if place == home]
        assert len(text.split()) == sum(held)
    if sum(words):
        # Cuts are off their places by half a sentence at most, or else a segment is one sentence.
        longest = max(len(text.split()) for text in segments.texts)
        assert longest <= sum(words) / len(segments) + max(words)


def test_bad_arguments_are_named():
    with pytest.raises(ValueError, match="number: 0"):
        Segments.of(with_words([1]), 0)
    for supporting in ((), (1,), (-1,)):
        with pytest.raises(ValueError, match="q: supporting"):
            with_words([3], supporting)
