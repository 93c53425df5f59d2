"""What every chapter ends with: sentences on its cost, and what is glued under which name."""

import sys
from types import ModuleType, SimpleNamespace

import pandas as pd
import pytest

from fcilib.present import closing

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


def test_the_verdict_is_glued_whole_and_its_first_sentence_behind_a_link(glued):
    pytest.importorskip("IPython")
    closing.close("01_a", "A title", "It holds at 1.2% of 4. Here is more.", "trains nothing.")
    names, values, displays = zip(*glued, strict=True)
    assert names == ("verdict", "finding", "cost")
    assert not any(displays)
    assert (values[0], values[2]) == ("It holds at 1.2% of 4. Here is more.", "trains nothing.")
    assert values[1].data == '<p><a href="01_a.html">A title</a>. It holds at 1.2% of 4.</p>'


@pytest.mark.parametrize(
    ("text", "first"),
    [
        ("One alone.", "One alone."),
        ("It is at 98.4% (chance 0.2%). Measured here.", "It is at 98.4% (chance 0.2%)."),
        ("Does it? Öfter als nicht. Ja.", "Does it?"),
        ("No stop at all", "No stop at all"),
        ("On L = 512. of two. Then", "On L = 512. of two."),
    ],
)
def test_a_first_sentence_ends_where_the_next_one_begins(text, first):
    assert closing.first_sentence(text) == first
