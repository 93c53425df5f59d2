"""What other options do, as prose says it: the records' numbers, and none without a record."""

import math
import re
from pathlib import Path

import pytest

from fcilib.present.recorded import choice_text, choices
from fcilib.publish.project import find_project
from fcilib.representations import Attention
from fcilib.routers import Investigator
from fcilib.study import Study
from fcilib.study.notation import percent

ROOT = find_project(Path(__file__).parent).root
QUICK = ROOT / "records" / "quick"


def test_a_number_is_that_of_the_records():
    parameters = {"profile": "quick", "seeds": 1, "executor": "inline", "records": ""}
    study = Study.from_parameters(parameters)
    task = study.sizes.evidence.model_copy(update={"collisions": True})
    run = study.experiment(task=task, representation=Attention(), router=Investigator())
    found = study.records.find(run).metrics["precision"]
    text = choice_text(QUICK, "attention, copies")
    assert text == (percent(found), "08_protocol_audit")
    assert not math.isclose(found, 1.0)


def test_every_choice_of_a_page_has_a_record():
    pages = "".join(page.read_text(encoding="utf-8") for page in (ROOT / "book").glob("*.md"))
    named = set(re.findall(r"\{choice\}`([^`]+)`", pages))
    assert named
    for name in named:
        text, chapter = choice_text(QUICK, name)
        assert text.endswith("%")
        assert (ROOT / "chapters" / f"{chapter}.py").is_file()


def test_a_choice_that_was_not_measured_is_refused(tmp_path):
    with pytest.raises(KeyError, match="no such"):
        choice_text(QUICK, "no such")
    (tmp_path / "quick").mkdir()
    with pytest.raises(KeyError, match="attention: no record"):
        choice_text(tmp_path / "quick", "attention")


def test_what_is_changed_makes_another_experiment():
    found = choices(Study.from_parameters(
        {"profile": "quick", "seeds": 1, "executor": "inline", "records": ""}
    ).sizes)  # fmt: skip
    identities = [choice.experiment.identity for choice in found.values()]
    assert len(set(identities)) == len(identities)
