"""What every chapter glues for its head: which texts, under which names; sentences on its cost."""

import sys
from types import ModuleType, SimpleNamespace

import pandas as pd
import pytest

from fcilib.present import closing
from fcilib.study.profiles import PROFILES

STUDY = SimpleNamespace(profile="quick")


def results(*rows):
    return SimpleNamespace(frame=pd.DataFrame(rows, columns=["condition", "seed", "seconds"]))


@pytest.fixture
def glued(monkeypatch):
    """Every glued name and value, in order, and whether it is displayed."""
    calls = []
    stub = ModuleType("myst_nb")
    stub.glue = lambda name, value, display: calls.append((name, value, display))
    monkeypatch.setitem(sys.modules, "myst_nb", stub)
    return calls


def test_a_condition_counts_once_with_its_mean_over_seeds_however_many_it_has():
    two = results(("a", 0, 60.0), ("a", 1, 180.0), ("b", 0, 300.0), ("b", 1, 300.0))
    one = results(("a", 0, 240.0))
    assert closing.trained(STUDY, [two, one]) == (
        "trains 3 models; a seed took 11 core-minutes at profile quick."
    )
    assert closing.trained(STUDY, iter([one]), "{profile}: {minutes}, {models}") == "quick: 4, 1"


def test_what_a_chapter_opens_with_is_glued_and_its_answer_once_more_behind_a_link(glued):
    pytest.importorskip("IPython")
    closing.close("01_a", "A title", answer="Yes.", sure="3 seeds.", verdict="More.", cost="none.")
    texts = {name: getattr(value, "data", value) for name, value, _ in glued}
    assert texts == {
        "answer": "Yes.",
        "finding": '<p><a href="01_a.html">A title</a>. Yes.</p>',
        "sure": "3 seeds.",
        "verdict": "More.",
        "cost": "none.",
    }
    assert not any(display for *_, display in glued)


def test_what_was_measured_is_said_beside_the_papers_size():
    study = SimpleNamespace(sizes=PROFILES["quick"], seeds=3)
    assert closing.measured(study) == (
        "Measured on 128 tokens of 64 kinds, in 5 epochs, with 3 seeds. The paper has 512 tokens "
        "of 256 kinds and 40 epochs."
    )
    assert "with 1 seed." in closing.measured(study, seeds=1)
