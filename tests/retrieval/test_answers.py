"""Right or wrong: by hand, and against SQuAD's metric as torchmetrics computes it."""

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from fcilib.retrieval.answers import exact_match, f1, holds, is_closed, normalise


@pytest.mark.parametrize(
    ("text", "normal"),
    [
        ("The  Tower of\tLondon!", "tower of london"),
        ("an A.N. Other", "other"),
        ("3,677 seated", "3677 seated"),
        ("Kimber-Brown's", "kimberbrowns"),
        ("“quoted”", "“quoted”"),  # only ASCII's punctuation goes
        ("the", ""),
    ],
)
def test_texts_are_compared_without_case_articles_and_punctuation(text, normal):
    assert normalise(text) == normal
    assert normalise(normal) == normal


@pytest.mark.parametrize(
    ("prediction", "answer", "exact", "shared"),
    [
        ("the Eiffel Tower", "Eiffel tower.", True, 1),
        ("Walt Disney", "Walt Disney Pictures", False, 4 / 5),
        ("New York New York", "New York", False, 2 / 3),
        ("Oslo", "Bergen", False, 0),
        ("yes", "Yes.", True, 1),
        ("yes it is", "yes", False, 0),  # HotpotQA's rule; SQuAD's would give a half
        ("no man", "no", False, 0),
        ("", "Oslo", False, 0),
        ("the", "a", True, 0),  # nothing is left of either
    ],
)
def test_exact_match_and_f1_by_hand(prediction, answer, exact, shared):
    assert exact_match(prediction, answer) == exact
    assert f1(prediction, answer) == pytest.approx(shared)


TEXT = st.text(st.sampled_from("ab the.,-é1 xy\t"), min_size=1, max_size=30)


@settings(deadline=None, max_examples=50)
@given(TEXT, TEXT)
def test_both_are_those_of_torchmetrics(prediction, answer):
    text = pytest.importorskip(
        "torchmetrics.functional.text.squad", reason="needs torchmetrics, of the extra oracles"
    )
    theirs = text.squad(
        {"prediction_text": prediction, "id": "1"},
        {"answers": {"answer_start": [0], "text": [answer]}, "id": "1"},
    )
    assert exact_match(prediction, answer) == (theirs["exact_match"] == 100)
    if normalise(prediction) and normalise(answer):  # SQuAD 2 has a rule of its own for no words
        assert f1(prediction, answer) == pytest.approx(theirs["f1"].item() / 100, abs=1e-6)


def test_an_answer_stands_in_a_text_as_whole_words_in_a_row():
    text = "The film was directed by Joan-Ann Pell, in 1991."
    assert holds(text, "directed by JoanAnn Pell")
    assert holds(text, "1991")
    assert not holds(text, "199")
    assert not holds(text, "Pell 1991")
    assert holds("It was an art.", "was art")
    assert not holds(text, "the")
    assert not holds("", "x")


def test_only_yes_and_no_are_closed():
    assert is_closed("Yes.")
    assert is_closed("no")
    assert not is_closed("no one")
