"""Interactive figures: what their HTML holds; how they answer is tested in test_pages."""

import json
import re

import pandas as pd
import pytest

from fcilib.ledger.claims import claims
from fcilib.model.film import FILMED
from fcilib.present import interactive
from fcilib.present.interactive import Widget
from fcilib.representations import Embedding
from fcilib.routers import Investigator
from fcilib.study import Study


def data_of(widget):
    return json.loads(re.search(r"^show\(.*?\), (.*)\);$", widget._repr_html_(), re.M)[1])


@pytest.fixture(scope="module")
def study(tmp_path_factory):
    parameters = {"profile": "smoke", "seeds": 1, "executor": "inline"}
    return Study.from_parameters({**parameters, "records": str(tmp_path_factory.mktemp("r"))})


def runs(study, probing):
    return {
        candidates: study.run(
            {
                "raw": study.experiment(
                    representation=Embedding(),
                    router=Investigator(candidates=candidates),
                    probing=probing,
                )
            }
        )
        for candidates in ("all", "others")
    }


def test_a_film_shows_what_the_records_hold(study):
    results = runs(study, "by-epoch")
    found = data_of(interactive.film("film", results, {"all": 0.03, "others": 0.04}))
    record = results["others"].records["raw", 0]
    (run,) = [row[1] for row in found["runs"]]
    epochs = record.experiment.training.epochs
    assert len(run["shares"]) == epochs + 1
    assert [x for frame in run["shares"] for row in frame for x in row] == record.probes[
        "shares_by_epoch"
    ]
    assert len(run["shares"][0]) == len(found["sequences"]) == FILMED
    assert (found["length"], found["group"], run["candidates"]) == (32, 1, 31)
    assert run["precision"] == record.curve["precision"]
    assert found["chance"] == [0.03, 0.04]
    batch = record.experiment.task.draw(record.experiment.training.held_out, 0, "test")
    assert [s["evidence"] for s in found["sequences"]] == batch.evidence[:FILMED].tolist()


def test_a_run_that_kept_no_scores_has_no_film(study):
    with pytest.raises(KeyError, match="shares_by_epoch"):
        interactive.film("film", runs(study, "standard"), {"all": 0.03, "others": 0.04})


MEASURED = pd.DataFrame(
    [
        ("raw", "all", "none", 0.2, 0.01, True),
        ("raw", "others", "none", 0.9, 0.02, False),
        ("raw", "all", "learned", 0.4, 0.01, False),
    ],
    columns=["approach", "candidates", "positions", "mean", "chance", "agrees"],
).assign(order="first")
CHOICES = {"candidates": ["all", "others"], "positions": ["none", "learned"], "order": ["first"]}


def pick(measured):
    claim = claims()["missing-ingredient-fails"]
    return interactive.picker("pick", measured, CHOICES, {"raw": claim})


def test_a_picker_offers_the_choices_that_vary_and_the_protocols_that_were_run():
    (approach,) = data_of(pick(MEASURED))["approaches"]
    assert [c["choice"] for c in approach["choices"]] == ["candidates", "positions"]
    assert [(p["options"], p["agrees"], p["chance"]) for p in approach["protocols"]] == [
        ([0, 0], True, 0.01),
        ([1, 0], False, 0.02),
        ([0, 1], False, 0.01),
    ]
    assert approach["says"] == "at most 35.0%"


@pytest.mark.parametrize(
    ("measured", "problem"),
    [
        (MEASURED[1:], "no number for its centre"),
        (pd.concat([MEASURED, MEASURED[:1].assign(mean=0.3)]), "two numbers for one protocol"),
    ],
)
def test_a_picker_refuses(measured, problem):
    with pytest.raises(ValueError, match=problem):
        pick(measured)


def test_a_widget_asks_for_nothing_and_escapes_what_it_is_given():
    widget = Widget("x", "picker.js", "", "a < b", '"quoted"', {"text": "</script><b>"})
    html = widget._repr_html_()
    assert "a &lt; b" in html
    assert "&quot;quoted&quot;" in html
    assert html.count("</script>") == 1
    assert not re.findall(r"(?:src|href)=|@import|url\(|fetch\(", html)
    assert data_of(widget) == {"text": "</script><b>"}


def test_a_widget_holds_numbers_only():
    with pytest.raises(ValueError, match="not JSON compliant"):
        Widget("x", "film.js", "", "", "", {"mean": float("nan")})._repr_html_()
