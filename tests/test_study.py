"""A study: a chapter's parameters, and what `run` gives back."""

import json
import math

import pytest

from fcilib.claims import CHANCE, TOLERANCE, Claim, claims, compare, number, spread, table, texts
from fcilib.cost import Bench, Route
from fcilib.figures import claims_figure, style
from fcilib.progress import VARIABLE, describe
from fcilib.representations import Embedding, GlobalMean
from fcilib.routers import Investigator, RandomRouter, RankOne
from fcilib.study import Study

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


@pytest.mark.parametrize(
    ("name", "value"),
    [("seeds", "2"), ("seeds", True), ("seeds", 0), ("profile", "big"), ("records", None)],
)
def test_a_bad_parameter_is_named(tmp_path, name, value):
    with pytest.raises((TypeError, ValueError), match=name):
        Study.from_parameters({**PARAMETERS, name: value})


def test_what_a_notebook_has_by_itself_is_no_parameter(tmp_path):
    namespace = {"_i1": "x", "In": [], "Out": {}, "exit": print, "Study": Study, "json": json}
    assert study(tmp_path, **namespace).seeds == 2


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
    monkeypatch.setattr("fcilib.study.execute", None)
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
    run = {"name": "raw", "epoch": 2, "epochs": 5, "precision": 0.914}
    assert describe(run) == "raw: epoch 2/5, precision 91%"
    assert describe({**run, "precision": math.nan}) == "raw: epoch 2/5"


def test_every_claim_is_well_formed():
    assert len(claims()) > 45
    assert {c.metric for c in claims().values()} == {
        "precision",
        "accuracy",
        "cosine_gap",
        "random_form_precision",
        "rank_share",
        "effective_rank",
        "place",
        "any_hit",
    }
    with pytest.raises(ValueError, match="is no share"):
        Claim(source="", statement="", metric="precision", value=1.6)


def test_verdicts():
    claim = Claim(source="", statement="", metric="precision", value=0.5)
    near, far = 0.5 + TOLERANCE - 1e-9, 0.5 - TOLERANCE - 1e-9
    assert claim.verdict({"all": near, "others": 0.5}) == "reproduced"
    assert claim.verdict({"all": near, "others": far}) == "only under all"
    assert claim.verdict({"all": far, "others": 1.0}) == "not reproduced"
    assert claim.verdict({}) == "not tested"
    most = claim.model_copy(update={"relation": "at most"})
    assert most.agrees(0.0)
    assert not most.agrees(0.56)
    assert (str(claim), str(most)) == ("50.0%", "≤ 50.0%")
    rank = Claim(
        source="",
        statement="",
        metric="",
        unit="number",
        value=130,
        relation="at least",
        tolerance=13,
    )
    assert (rank.agrees(117.5), rank.agrees(116.5), rank.agrees(300.0)) == (True, False, True)
    assert str(rank) == "≥ 130"


def test_a_condition_may_have_its_own_chance_or_no_claim(results):
    rows = {"raw embeddings": "raw", "global mean": None}
    comparison = compare(rows, results, chance={"global mean": "raw embeddings"})
    raw, mean = (comparison[comparison.condition == name] for name in rows)
    assert list(mean.chance) == list(raw["mean"])
    assert mean.paper.isna().all()
    assert set(mean.verdict) == {"–"}
    assert len(claims_figure(comparison).axes) == 2


def test_what_is_no_share_is_written_as_a_number(results):
    assert (number(0.584, 0.021), number(-9.96, 0.18)) == ("0.58 ± 0.02", "-10.0 ± 0.2")
    assert number(0.584, math.nan) == "0.58"
    shown = table(compare({"raw embeddings": "cosine-gap"}, results)).loc["raw embeddings"]
    gaps = texts(results["all"].summary("cosine_gap"), number)
    assert (shown["paper"], shown["“all”"]) == ("-0.154", gaps["raw embeddings"])
    assert "%" not in "".join(shown)
    unclaimed = compare({"global mean": None}, results, metric="cosine_gap")
    assert set(unclaimed.metric) == {"cosine_gap"}
    found = results["all"].summary("cosine_gap")
    assert unclaimed["mean"].iloc[0] == found.loc["global mean", "mean"]
    assert unclaimed.chance.iloc[0] == found.loc[CHANCE, "mean"]


def test_probes_are_in_the_frame_or_by_their_index(results):
    frame = results["all"].frame
    assert (frame.rank_share.dropna() == frame.rank_90.dropna() / 16).all()
    values = results["all"].probe("singular_values")
    assert list(values["index"].unique()) == list(range(1, 17))
    assert len(values) == 2 * 2 * 16
    assert results["all"].probe("precision_top").empty


def test_comparison_table_and_figure(results):
    comparison = compare({"raw embeddings": "raw", "global mean": "global-mean"}, results)
    assert len(comparison) == 4
    assert comparison.chance.between(0, 0.2).all()
    shown = table(comparison)
    assert list(shown.columns) == ["paper", "“all”", "“others”", "chance (all / others)", "verdict"]
    assert shown.loc["global mean", "paper"] == "1.9%"
    figure = claims_figure(comparison)
    assert [t.get_text() for t in figure.axes[0].get_yticklabels()][-1] in shown.index
    assert figure.axes[1].get_xlabel() == 'routing precision (%), candidates "others"'


def test_spread():
    assert spread(0.984, 0.003) == "98.4 ± 0.3%"
    assert spread(0.984, math.nan) == "98.4%"


def test_the_longest_family_name_gives_the_style():
    assert style("causal attention, 1 layer")["marker"] == "v"
    assert style("attention, depth 2")["marker"] == "o"
    assert style("never heard of") == {"color": "#555555", "marker": "o"}
