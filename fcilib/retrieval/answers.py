"""Is an answer right? By the evaluation scripts of SQuAD and HotpotQA.

Both compare normalised texts: lower case, without punctuation, without the articles a, an and the,
one space between words (Rajpurkar et al., 2016; Yang et al., 2018).
"""

from __future__ import annotations

import re
import string
from collections import Counter

CLOSED = ("yes", "no")
"""Answers to questions that ask for no name, number or phrase: a text need not hold them."""

_PUNCTUATION = str.maketrans("", "", string.punctuation)


def normalise(text: str) -> str:
    """A text as the scripts compare it: only ASCII's punctuation counts as such."""
    words = re.sub(r"\b(a|an|the)\b", " ", text.lower().translate(_PUNCTUATION))
    return " ".join(words.split())


def is_closed(answer: str) -> bool:
    """Whether it is yes or no."""
    return normalise(answer) in CLOSED


def holds(text: str, answer: str) -> bool:
    """Whether the answer's words stand in the text, one after the other, both normalised.

    Words have to be whole: "art" does not stand in "party". An answer that normalising leaves
    nothing of stands nowhere.
    """
    words = normalise(answer)
    return bool(words) and f" {words} " in f" {normalise(text)} "


def exact_match(prediction: str, answer: str) -> bool:
    """Whether both are the same once normalised."""
    return normalise(prediction) == normalise(answer)


def f1(prediction: str, answer: str) -> float:
    """The harmonic mean of precision and recall over the words of both, normalised.

    Repeated words count as often as both have them. HotpotQA's script gives nothing where one of
    the two is yes or no, or "noanswer", and the other is not the same.
    """
    ours, theirs = normalise(prediction), normalise(answer)
    if ours != theirs and {ours, theirs} & {*CLOSED, "noanswer"}:
        return 0.0
    common = Counter(ours.split()) & Counter(theirs.split())
    return 2 * common.total() / max(len(ours.split()) + len(theirs.split()), 1)
