"""A study: a chapter's parameters, and what `run` gives back."""

import json
import math
from pathlib import Path

import pytest

from fcilib.cost import Bench, Route
from fcilib.execution.progress import VARIABLE, Running, describe
from fcilib.ledger.catalogue import CHANCE
from fcilib.present.figures import style
from fcilib.representations import Embedding, GlobalMean
from fcilib.routers import Investigator, RandomRouter, RankOne
from fcilib.storage.places import default_records, weights_folder
from fcilib.study import Study
from fcilib.study.results import numbers

PARAMETERS = {"profile": "smoke", "seeds": 2, "executor": "inline", "records": ""}


def study(tmp_path, **more):
    return Study.from_parameters({**PARAMETERS, "records": str(tmp_path), **more})


def conditions(study, candidates):
    return {
        "raw embeddings": study.experiment(
            representation=Embedding(), router=Investigator(candidates=candidates)
        ),
        "global mean": study.experiment(
            representation=GlobalMean(), router=Investigator(candidates=candidates)
        ),
        CHANCE: study.experiment(
            representation=Embedding(), router=RandomRouter(candidates=candidates)
        ),
    }


@pytest.fixture(scope="module")
def results(tmp_path_factory):
    here = study(tmp_path_factory.mktemp("records"))
    return here.run_protocols({c: conditions(here, c) for c in ("all", "others")})


def test_a_mistyped_parameter_stops_the_chapter(tmp_path):
    with pytest.raises(TypeError, match="unknown parameter profil; a chapter takes profile, seeds"):
        study(tmp_path, profil="smoke")


def test_a_chapter_can_run_again_in_the_same_kernel(tmp_path):
    """Its own names, such as `rows`, were once called unknown parameters then."""
    ran_before = study(tmp_path)
    again = study(tmp_path, study=ran_before, rows=[1])
    assert (again.profile, again.chosen) == (ran_before.profile, ran_before.chosen)
    with pytest.raises(TypeError, match="unknown parameter rows"):
        study(tmp_path, rows=[1])
    with pytest.raises(ValueError, match="profile"):
        study(tmp_path, study=ran_before, profile="big")


@pytest.mark.parametrize(
    ("name", "value"),
    [
        *(("seeds", seeds) for seeds in ("2", True, 0, 2.0, [], [-1], [1, 1], [True], ["1"])),
        ("profile", "big"),
        ("executor", "cloud"),
        ("executor", "ray:"),
        ("device", "gpu"),
        ("device", 0),
        ("records", None),
    ],
)
def test_a_bad_parameter_is_named(tmp_path, name, value):
    with pytest.raises((TypeError, ValueError), match=name):
        Study.from_parameters({**PARAMETERS, name: value})


def test_the_device_is_the_cpu_unless_it_is_chosen_and_reaches_the_executor(tmp_path, monkeypatch):
    assert study(tmp_path).device == "cpu"
    chosen = []
    monkeypatch.setattr(
        "fcilib.study.study.execute", lambda *arguments: chosen.append(arguments[4])
    )
    here = study(tmp_path, device="cuda:1")
    spec = here.experiment(representation=Embedding(), router=Investigator())
    with pytest.raises(KeyError):  # nothing was trained
        here.run({"raw": spec})
    assert chosen == ["cuda:1"]


def test_what_a_notebook_has_by_itself_is_no_parameter(tmp_path):
    namespace = {"_i1": "x", "In": [], "Out": {}, "exit": print, "Study": Study, "json": json}
    assert study(tmp_path, **namespace).seeds == 2


def test_weights_are_kept_beside_other_records(tmp_path, monkeypatch):
    monkeypatch.setenv("FCI_BACKBONES", "mine")
    study(tmp_path)
    assert weights_folder() == Path("mine")
    monkeypatch.delenv("FCI_BACKBONES")
    Study.from_parameters(PARAMETERS)
    assert weights_folder() == default_records() / "backbones"
    monkeypatch.chdir(tmp_path)
    Study.from_parameters({**PARAMETERS, "records": "here"})
    monkeypatch.chdir("/")
    assert weights_folder() == tmp_path / "here" / "backbones"


def test_records_default_to_the_checkouts(tmp_path):
    folder = Study.from_parameters(PARAMETERS).records.folder
    assert (folder.parent.name, folder.name) == ("records", "smoke")


def test_what_takes_long_may_have_fewer_seeds(tmp_path):
    here = study(tmp_path, seeds=2)
    first, *others = conditions(here, "others").items()
    assert not here.has(first[1])
    both = here.run(dict([first])) | here.run(dict(others), seeds=1)
    assert list(both.summary("precision").n) == [2, 1, 1]
    assert here.has(first[1])
    assert not here.has(others[0][1])
    assert len(here.run(dict([first]), seeds=5).frame) == 2


def test_seeds_may_be_chosen(tmp_path):
    few, one = study(tmp_path, seeds=[7, 3]), study(tmp_path, seeds=[3])
    assert (few.seeds, few.chosen, study(tmp_path).chosen) == (2, (7, 3), (0, 1))
    assert "seeds=[7, 3]" in str(few)
    assert "seeds=2" in str(study(tmp_path))
    named = dict([*conditions(few, "others").items()][1:])
    frame = few.run(named).frame
    assert list(frame.seed) == [7, 3, 7, 3]
    assert all(one.has(experiment) for experiment in named.values())
    assert list(few.run(named, seeds=1).frame.seed) == [7, 7]
    assert few.run_protocols({"others": named})["others"].frame.equals(frame)
    assert list(one.run(named).summary("precision").n) == [1, 1]


def test_frames_are_tidy(results):
    frame = results["all"].frame
    assert list(frame[["condition", "seed"]].itertuples(index=False, name=None)) == [
        (name, seed) for name in ("raw embeddings", "global mean", CHANCE) for seed in (0, 1)
    ]
    assert frame.precision.between(0, 1).all()
    curves = results["all"].curves
    assert len(curves) == 3 * 2 * 2
    last = curves[curves.epoch == 2].precision.to_numpy()
    assert (last == frame.precision.to_numpy()).all()
    summary = results["all"].summary("precision")
    expected = frame[frame.condition == "raw embeddings"].precision
    assert summary.loc["raw embeddings", "mean"] == pytest.approx(expected.mean())
    assert summary.loc["raw embeddings", "sd"] == pytest.approx(expected.std())
    assert summary.loc["raw embeddings", "n"] == 2


def test_a_mean_over_all_tokens_is_exactly_at_chance(results):
    """Every candidate ties, so the evidence's share is one over their number."""
    for candidates, count in (("all", 32), ("others", 31)):
        summary = results[candidates].summary("precision")
        assert summary.loc["global mean", "mean"] == pytest.approx(1 / count)


def test_what_is_recorded_is_not_run_again(tmp_path, monkeypatch):
    here = study(tmp_path, seeds=1)
    first = here.run(conditions(here, "all"))
    monkeypatch.setattr("fcilib.study.study.execute", None)
    assert here.run(conditions(here, "all")).frame.equals(first.frame)


def test_progress_goes_to_the_file_that_is_asked_for(tmp_path, monkeypatch, capfd):
    target = tmp_path / "progress.json"
    monkeypatch.setenv(VARIABLE, str(target))
    here = study(tmp_path / "records", seeds=1, executor="process")
    here.run(conditions(here, "all"))
    state = json.loads(target.read_text())
    assert (state["done"], state["total"]) == (3, 3)
    assert capfd.readouterr() == ("", "")


def test_a_bench_is_measured_once_for_each_seed(tmp_path, monkeypatch):
    progress = tmp_path / "progress.json"
    monkeypatch.setenv(VARIABLE, str(progress))
    workloads = {"rank-1": Route(router=RankOne()), "chance": Route(router=RandomRouter())}
    bench = Bench(workloads=workloads, lengths=(16, 32), rounds=1)
    first = study(tmp_path).measure(bench)
    assert [cost.bench.seed for cost in first] == [0, 1]
    state = json.loads(progress.read_text())
    assert (state["done"], state["total"], state["running"]) == (7, 8, [])
    assert len(list((tmp_path / "smoke" / "costs").glob("*.json"))) == 2
    progress.unlink()
    assert study(tmp_path).measure(bench) == first
    assert not progress.exists(), "nothing was left to measure"


def test_a_run_is_described_in_a_few_words():
    run = Running(name="raw", epoch=2, epochs=5, precision=0.914)
    assert describe(run) == "raw: epoch 2/5, precision 91%"
    assert describe(run.model_copy(update={"precision": math.nan})) == "raw: epoch 2/5"


def test_probes_are_in_the_frame_or_by_their_index(results):
    frame = results["all"].frame
    assert (frame.rank_share.dropna() == frame.rank_90.dropna() / 16).all()
    values = results["all"].probe("singular_values")
    assert list(values["index"].unique()) == list(range(1, 17))
    assert len(values) == 2 * 2 * 16
    assert results["all"].probe("precision_top").empty


def test_the_longest_family_name_gives_the_style():
    assert style("causal attention, 1 layer")["marker"] == "v"
    assert style("attention, depth 2")["marker"] == "o"
    assert style("never heard of") == {"color": "#555555", "marker": "o"}


@pytest.mark.parametrize(
    ("curve", "rise", "epoch", "fall", "best"),
    [
        ([0.1, 0.9, 0.85, 0.95], 0.8, 2, 0.05, 0.95),
        ([0.7, 0.2, 0.4], 0.7, 1, 0.5, 0.7),  # the first epoch rises from zero
        ([0.25], 0.25, 1, -0.25, 0.25),
    ],
)
def test_rises_and_falls_of_a_curve_are_from_epoch_to_epoch(
    results, curve, rise, epoch, fall, best
):
    record = results["all"].records["raw embeddings", 0]
    found = numbers(record.model_copy(update={"curve": {"precision": curve}}))
    assert found["largest_rise"] == pytest.approx(rise)
    assert found["rise_epoch"] == epoch
    assert found["largest_fall"] == pytest.approx(fall)
    assert found["best_precision"] == best


def test_a_run_without_a_router_has_no_curve_of_precision(results):
    record = results["all"].records["raw embeddings", 0]
    found = numbers(record.model_copy(update={"curve": {"accuracy": [0.1, 0.2]}}))
    names = ("largest_rise", "rise_epoch", "largest_fall", "best_precision")
    assert all(math.isnan(found[name]) for name in names)


@pytest.mark.parametrize(("precision", "gain"), [(1.0, 1.0), (0.25, 4.0), (0.0, math.inf)])
def test_the_most_gain_is_the_factor_to_a_precision_of_one(results, precision, gain):
    record = results["all"].records["raw embeddings", 0]
    metrics = {**record.metrics, "precision": precision}
    assert numbers(record.model_copy(update={"metrics": metrics}))["most_gain"] == gain


def test_the_numbers_of_a_run_are_its_metrics_its_probes_and_its_cost(results):
    record = results["others"].records["raw embeddings", 1]
    found = numbers(record)
    assert found.items() >= record.metrics.items()
    assert found["rank_share"] == record.probes["rank_90"] / 16
    assert (found["parameters"], found["seconds"]) == (record.parameters, record.seconds)
    assert "singular_values" not in found
    blind = record.model_copy(update={"probes": {}})
    assert math.isnan(numbers(blind)["rank_share"])


def test_names_that_would_hide_a_run_are_refused(tmp_path, results):
    both = results["all"] | results["all"]
    assert both.frame.equals(results["all"].frame)
    with pytest.raises(ValueError, match="names different experiments; rename one"):
        results["all"] | results["others"]
    here = study(tmp_path)
    plain = here.experiment(representation=Embedding(), router=Investigator())
    with pytest.raises(ValueError, match="read alike: a, b, c"):
        here.run_protocols({"c": {"a, b": plain}, "b, c": {"a": plain.with_seed(7)}})


@pytest.mark.parametrize("seeds", [0, -1])
def test_less_than_one_seed_is_refused(tmp_path, seeds):
    with pytest.raises(ValueError, match=f"seeds: {seeds} is less than one"):
        study(tmp_path).run({}, seeds=seeds)


def test_a_relative_folder_of_records_begins_at_the_checkouts_root(tmp_path, monkeypatch):
    """So that a notebook means the same folder wherever in the checkout it is executed."""
    (tmp_path / "chapters").mkdir()
    (tmp_path / "_toc.yml").touch()
    (tmp_path / "_runs" / "deep").mkdir(parents=True)
    monkeypatch.delenv("FCI_BACKBONES", raising=False)
    for inside in (tmp_path, tmp_path / "_runs" / "deep"):
        monkeypatch.chdir(inside)
        here = Study.from_parameters({**PARAMETERS, "records": "_runs/records"})
        assert here.records.folder == tmp_path / "_runs" / "records" / "smoke"
    (tmp_path / "_toc.yml").unlink()
    assert (
        Study.from_parameters({**PARAMETERS, "records": "mine"}).records.folder
        == tmp_path / "_runs" / "deep" / "mine" / "smoke"
    )


def test_prose_is_checked_under_the_books_profile_and_seeds_alone(tmp_path):
    def published(**more):
        return study(tmp_path, **more).as_published

    assert published(profile="quick", seeds=1)
    assert published(profile="quick", seeds=[0, 1, 2])
    assert not published(profile="quick", seeds=[7])
    assert not published(profile="smoke", seeds=3)
    assert "conclusions mean nothing" in str(study(tmp_path))
    assert "mean nothing" not in str(study(tmp_path, profile="quick"))


def test_a_metric_that_no_run_has_is_named_with_those_there_are(results):
    with pytest.raises(KeyError, match=r"metric: 'precison' is none of .*accuracy.*precision"):
        results["all"].summary("precison")
