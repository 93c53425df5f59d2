"""What stands at the paper's size beside a study."""

import statistics

import pytest

from fcilib.ledger.catalogue import catalogue
from fcilib.present.paper_size import paper_records, paper_text
from fcilib.storage.places import default_records
from fcilib.study import Study
from fcilib.study.notation import NONE, percent
from fcilib.study.profiles import PROFILES
from fcilib.training.records import Records


def study(folder):
    return Study("quick", (0,), "inline", Records(folder / "quick"))


def test_runs_are_found_beside_the_studys_own():
    here = study(default_records())
    found = paper_records(here, "raw", "others")
    assert len(found) >= 3
    experiment = catalogue(PROFILES["paper"])["raw"].under["others"]
    assert [r.experiment for r in found] == [experiment.with_seed(r.experiment.seed) for r in found]
    values = [record.metrics["precision"] for record in found]
    text = paper_text(found, "precision")
    assert text.startswith(f"{percent(statistics.mean(values))[:-1]} ± ")
    assert text.endswith(f"({len(found)} seeds)")
    one = paper_text(found[:1], "precision")
    assert one == f"{percent(values[0])} (1 seed)"


def test_without_records_there_is_a_dash_and_nothing_is_trained(tmp_path):
    here = study(tmp_path)
    assert paper_records(here, "raw", "all", data="fresh") == []
    assert paper_text([], "precision") == NONE
    assert list(tmp_path.rglob("*.json")) == []


@pytest.mark.parametrize(
    ("name", "protocol", "error"),
    [("nothing", "all", KeyError), ("raw", "some", KeyError), ("bm25", "words", TypeError)],
)
def test_what_is_no_condition_is_named(tmp_path, name, protocol, error):
    with pytest.raises(error):
        paper_records(study(tmp_path), name, protocol)
