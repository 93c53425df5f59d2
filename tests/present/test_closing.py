"""What every chapter glues for its head: which texts, under which names; sentences on its cost."""

import sys
from types import ModuleType, SimpleNamespace

import pytest

from fcilib.present import closing
from fcilib.representations import Embedding
from fcilib.study.profiles import PROFILES
from fcilib.tasks import Evidence
from fcilib.training.experiment import Experiment

STUDY = SimpleNamespace(profile="quick")


def results(*rows, device="cpu: a core"):
    """Runs by width, seed and seconds, each under a name of its own."""
    experiment = Experiment(task=Evidence(), representation=Embedding(), router=None)
    runs = {
        (f"a {width}", seed): SimpleNamespace(
            experiment=experiment.model_copy(update={"width": width, "seed": seed}),
            seconds=seconds,
            device=device,
        )
        for width, seed, seconds in rows
    }
    return SimpleNamespace(records=runs)


@pytest.fixture
def glued(monkeypatch):
    """Every glued name and value, in order, and whether it is displayed."""
    calls = []
    stub = ModuleType("myst_nb")
    stub.glue = lambda name, value, display: calls.append((name, value, display))
    monkeypatch.setitem(sys.modules, "myst_nb", stub)
    return calls


def test_a_model_counts_once_with_its_mean_over_seeds_wherever_it_is_run():
    two = results((8, 0, 60.0), (8, 1, 180.0), (16, 0, 300.0), (16, 1, 300.0))
    one = results((32, 0, 240.0))
    assert closing.trained(STUDY, [two, one, one]) == (
        "trains 3 models; a seed took 11 core-minutes at profile quick."
    )
    assert closing.trained(STUDY, iter([one]), "{profile}: {minutes}, {models}") == "quick: 4, 1"


def test_seconds_on_a_gpu_are_no_core_minutes():
    here, there = results((8, 0, 60.0)), results((8, 1, 9.0), (16, 0, 9.0), device="cuda: a card")
    assert closing.trained(STUDY, [here, there]) == (
        "trains 2 models; a seed took 1 core-minutes at profile quick. "
        "1 of them was trained on a GPU, outside these minutes."
    )


def test_what_a_chapter_opens_with_is_glued_and_its_answer_once_more_behind_a_link(glued):
    pytest.importorskip("IPython")
    closing.close("01_a", "A title", answer="Yes.", sure="3 seeds.", verdict="More.", cost="none.")
    texts = {name: getattr(value, "data", value) for name, value, _ in glued}
    assert texts == {
        "answer": "Yes.",
        "finding": '<p><a href="01_a.html">1. A title</a>. Yes.</p>',
        "sure": "3 seeds.",
        "verdict": "More.",
        "cost": "none.",
    }
    assert not any(display for *_, display in glued)


def test_what_was_measured_is_said_beside_the_papers_size():
    one, study = (SimpleNamespace(sizes=PROFILES["quick"], seeds=n) for n in (1, 3))
    assert closing.measured(study) == (
        "Measured on 128 tokens of 64 kinds, in 5 epochs, with 3 seeds. The paper has 512 tokens "
        "of 256 kinds and 40 epochs."
    )
    assert "with 1 seed." in closing.measured(one)
