"""The audit: what is repeated exactly, what drifts, what is damaged, and that it writes nothing."""

import json

import pytest
from typer.testing import CliRunner

from fcilib.backbones import ByteLM
from fcilib.cli import app
from fcilib.ledger import audit
from fcilib.ledger.audit import (
    BEYOND,
    EXACT,
    SKIPPED,
    WITHIN,
    described,
    draw,
    hold_against,
    passed,
)
from fcilib.representations import Attention, Embedding, Frozen
from fcilib.routers import Investigator
from fcilib.storage.sealed import seal, seal_model
from fcilib.study.profiles import PROFILES
from fcilib.system.threads import threads
from fcilib.training.experiment import Experiment
from fcilib.training.loop import DivergedError
from fcilib.training.records import Record, Records
from fcilib.training.run import run_one

SMOKE = PROFILES["smoke"]


def experiment(seed=0, representation=None):
    return Experiment(
        task=SMOKE.evidence,
        width=SMOKE.width,
        representation=representation or Embedding(),
        router=Investigator(),
        training=SMOKE.training,
        seed=seed,
    )


@pytest.fixture(scope="module")
def made(tmp_path_factory):
    """Records of two experiments under three seeds, of one thread as a worker has."""
    records = Records(tmp_path_factory.mktemp("made") / "smoke")
    with threads(1):
        for seed in range(3):
            run_one(experiment(seed), records)
            run_one(experiment(seed, Attention()), records)
    return records


@pytest.fixture
def store(made, tmp_path):
    """A copy of them, as version control has it: without a workspace."""
    folder = tmp_path / "smoke"
    folder.mkdir()
    for path in made.folder.glob("*.json"):
        (folder / path.name).write_bytes(path.read_bytes())
    return Records(folder)


def fci(store, *options):
    given = ["audit", "--profile", "smoke", "--executor", "inline", *map(str, options)]
    return CliRunner().invoke(app, [*given, "--records", str(store.folder.parent)])


def change(store, spec, **parts):
    """Store another record of an experiment, whose seal is right."""
    record = store.find(spec)
    store.path(spec).write_bytes(seal_model(record.model_copy(update=parts)))
    return record


def bytes_of(store):
    root = store.folder.parent
    return {p.relative_to(root): p.read_bytes() for p in root.rglob("*") if p.is_file()}


def test_what_is_made_again_on_the_same_machine_is_exact_and_the_store_untouched(store):
    before = bytes_of(store)
    result = fci(store, "--sample", 2, "--seed", "a")
    assert result.exit_code == 0, result.output
    assert result.output.count(": exact\n") == 2
    assert "2 of 6 records of " in result.output
    assert "--seed a\n" in result.output
    assert audit.AUDIT_RULE in result.output
    assert result.output.endswith(
        "exact: 2, drift within the margin: 0, drift beyond the margin: 0, not audited: 0\n"
    )
    assert bytes_of(store) == before


def test_the_process_executor_gives_the_same(store):
    before = bytes_of(store)
    findings = list(audit.audit(draw(store, 1, "a"), "process"))
    assert [f.verdict for f in findings] == [EXACT]
    assert findings[0].again.threads == 1
    assert bytes_of(store) == before


def test_a_record_that_was_changed_and_sealed_again_is_found_and_named(store):
    spec = experiment()
    was = change(store, spec, metrics={**store.find(spec).metrics, "precision": 0.9})
    now = was.metrics["precision"]
    result = fci(store, "--sample", 6)
    assert result.exit_code == 1
    assert result.output.count("beyond the margin\n") == 1
    (line,) = [x for x in result.output.splitlines() if x.endswith(BEYOND)]
    assert line == f"{spec.identity}  evidence, embedding, investigator, seed 0: {BEYOND}"
    said = f"precision: 90.00%, now {100 * now:.2f}% ({100 * (now - 0.9):+.2f} points); its margin"
    assert said in result.output


def test_the_same_as_json(store):
    spec = experiment()
    change(store, spec, metrics={**store.find(spec).metrics, "precision": 0.9})
    result = fci(store, "--sample", 9, "--seed", "b", "--json")
    assert result.exit_code == 1
    found = json.loads(result.output)
    assert (found["sample"], found["among"], found["seed"]) == (9, 6, "b")
    assert found["summary"] == {EXACT: 5, WITHIN: 0, BEYOND: 1, SKIPPED: 0}
    (drifted,) = [f for f in found["findings"] if f["verdict"] == BEYOND]
    assert drifted["identity"] == spec.identity
    assert drifted["metric"]["name"] == "precision"
    assert drifted["metric"]["stored"] == 0.9


def test_a_damaged_record_is_an_error_by_its_name(store):
    path = store.path(experiment())
    path.write_bytes(path.read_bytes().replace(b"evidence", b"evidense", 1))
    result = fci(store)
    assert result.exit_code == 2
    assert result.stderr.startswith(f"fci: {path}: its content does not match its checksum")
    assert result.stdout == ""


def test_a_record_that_describes_no_experiment_is_an_error_by_its_name(store):
    path = store.path(experiment())
    content = json.loads(path.read_bytes())
    content.pop("checksum")
    content["experiment"]["router"]["oracle"] = True
    path.write_bytes(seal(content))
    result = fci(store)
    assert result.exit_code == 2
    assert f"{path}: is from another version of fcilib" in result.stderr


def test_a_record_of_a_kind_that_is_not_known_here_is_left_out_with_a_warning(store):
    path = store.path(experiment())
    content = json.loads(path.read_bytes())
    content.pop("checksum")
    content["experiment"]["router"]["kind"] = "oracle"
    path.write_bytes(seal(content))
    with pytest.warns(UserWarning, match="kind 'oracle' is not known here"):
        drawn = draw(store, 9, "a")
    assert drawn.among == 5


def test_no_records_are_one_line(made, store, tmp_path):
    for path in store.folder.glob("*.json"):
        path.unlink()
    costly = made.find(experiment()).model_copy(update={"seconds": 100.0})
    store.add(costly)
    nowhere = Records(tmp_path / "nowhere" / "smoke")
    for result in (fci(nowhere), fci(store, "--most", 50)):
        assert result.exit_code == 2
        assert result.stderr.count("\n") == 1
        assert "holds no record to draw from" in result.stderr


def test_a_draw_is_repeated_by_its_seed_and_is_else_another(store):
    def names(*arguments):
        return [record.identity for record in draw(store, *arguments).records]

    assert names(3, "a") == names(3, "a")
    assert len({tuple(names(3, str(seed))) for seed in range(10)}) > 1
    assert sorted(names(99, "a")) == sorted(path.stem for path in store.folder.glob("*.json"))
    assert len(set(names(6, "a"))) == 6


def test_a_random_seed_is_told_and_draws_the_same_again(store):
    first = json.loads(fci(store, "--sample", 1, "--json").output)
    again = json.loads(fci(store, "--sample", 1, "--json", "--seed", first["seed"]).output)
    other = json.loads(fci(store, "--sample", 1, "--json").output)
    assert [f["identity"] for f in again["findings"]] == [f["identity"] for f in first["findings"]]
    assert other["seed"] != first["seed"]


def test_what_is_left_out_of_the_draw_is_told(store, monkeypatch):
    change(store, experiment(0), seconds=100.0)
    old = store.find(experiment(1)).model_copy(update={"numerics": 0, "identity": "0" * 16})
    store.path(experiment(1)).unlink()
    (store.folder / f"{old.identity}.json").write_bytes(seal_model(old))
    drawn = draw(store, 9, "a", most=50)
    assert (drawn.among, drawn.costly, drawn.foreign) == (4, 1, 1)
    assert not {experiment(0).identity, old.identity} & {r.identity for r in drawn.records}
    monkeypatch.setattr(audit, "audit", lambda *_: iter(()))
    said = fci(store, "--most", 50, "--seed", "a").output
    assert "; left out: 1 that took more than 50 s, 1 of other numerics\n" in said


# What is compared, and by which rule.


def record_of(made, **parts) -> Record:
    return made.find(experiment()).model_copy(update=parts)


def test_a_metric_may_drift_by_two_points_or_two_deviations_over_seeds(made):
    stored = record_of(made, metrics={"accuracy": 0.5, "precision": 0.5})

    def verdict(off, spread):
        now = record_of(made, metrics={"accuracy": 0.5, "precision": 0.5 + off})
        return hold_against(stored, now, spread).verdict

    assert verdict(0.0, {}) == EXACT
    assert verdict(0.001, {}) == WITHIN
    assert verdict(-0.02, {}) == WITHIN
    assert verdict(0.021, {}) == BEYOND
    assert verdict(0.021, {"precision": 0.01}) == BEYOND
    assert verdict(0.021, {"precision": 0.02}) == WITHIN
    assert verdict(0.021, {"accuracy": 0.02}) == BEYOND
    assert verdict(-0.2, {"precision": 0.1}) == WITHIN


def test_the_metric_that_is_told_is_the_one_nearest_to_its_margin(made):
    stored = record_of(made, metrics={"accuracy": 0.5, "precision": 0.5})
    now = record_of(made, metrics={"accuracy": 0.6, "precision": 0.53})
    found = hold_against(stored, now, {"accuracy": 0.1})
    assert (found.metric.name, found.verdict) == ("precision", BEYOND)
    assert "precision: 50.00%, now 53.00% (+3.00 points); its margin is 2.00" in described(found)


def test_a_probe_or_an_epoch_that_differs_is_told_and_no_fault(made):
    stored = record_of(made)
    probes = {**stored.probes, "singular_values": [*stored.probes["singular_values"][:-1], 9.0]}
    curve = {**stored.curve, "precision": [1.0, *stored.curve["precision"][1:]]}
    found = hold_against(stored, record_of(made, probes=probes, curve=curve), {})
    assert found.verdict == WITHIN
    said = described(found)
    assert "every metric is the same" in said
    assert "by epoch: precision 1: " in said
    assert "probes: singular_values 16 " in said
    assert ", now 9\n" in said


def test_noise_in_the_smallest_entry_of_a_list_is_small(made):
    """Of singular values the last is next to nothing, and differs by a large share of itself."""
    stored = record_of(made, probes={"singular_values": [4.0, 1.0, 0.002], "cosine_gap": 0.5})
    now = record_of(made, probes={"singular_values": [4.0, 1.0, 0.001], "cosine_gap": 0.51})
    assert hold_against(stored, now, {}).probe.name == "cosine_gap"


def test_what_is_not_measured_any_more_is_a_fault_and_what_is_new_is_none(made):
    stored = record_of(made)
    fewer = {name: value for name, value in stored.metrics.items() if name != "precision"}
    found = hold_against(stored, record_of(made, metrics=fewer), {})
    assert found.verdict == BEYOND
    assert "now not measured" in described(found)
    assert found.plain()["metric"]["now"] is None
    assert hold_against(record_of(made, metrics=fewer), stored, {}).verdict == EXACT
    shorter = {**stored.probes, "singular_values": stored.probes["singular_values"][:-1]}
    assert hold_against(stored, record_of(made, probes=shorter), {}).verdict == WITHIN


def test_the_spread_is_that_over_the_other_seeds_of_the_store(store):
    """A record's own number must not widen its margin."""
    for seed, precision in enumerate([0.1, 0.2, 0.9]):
        spec = experiment(seed)
        change(store, spec, metrics={**store.find(spec).metrics, "precision": precision})
    spread = draw(store, 6, "a").spread
    for seed, expected in enumerate([0.7 / 2**0.5, 0.8 / 2**0.5, 0.1 / 2**0.5]):
        assert spread[experiment(seed).identity]["precision"] == pytest.approx(expected)
    store.path(experiment(1)).unlink()
    spread = draw(store, 6, "a").spread
    assert spread[experiment(0).identity] == {}, "one other seed has no spread"


def test_what_has_changed_since_is_told(made):
    found = hold_against(record_of(made, device="cpu: Abacus", threads=7), record_of(made), {})
    assert found.verdict == EXACT
    assert "processor cpu: Abacus, now cpu" in described(found)
    assert f"threads 7, now {record_of(made).threads}" in described(found)
    same = hold_against(record_of(made), record_of(made), {})
    assert described(same).endswith("processor, threads and versions of the same names")


# What can't be trained.


def test_a_backbone_that_is_not_here_is_not_audited_and_says_why(store, monkeypatch, tmp_path):
    monkeypatch.setenv("FCI_BACKBONES", str(tmp_path / "backbones"))
    spec = experiment(representation=Frozen(backbone=ByteLM(family="mamba", layers=1)))
    record = store.find(experiment())
    record = record.model_copy(update={"experiment": spec, "identity": spec.identity})
    store.add(record)
    result = fci(store, "--sample", 7)
    assert result.exit_code == 0, result.output
    assert (
        f"{spec.identity}  evidence, frozen, investigator, seed 0: not audited\n" in result.output
    )
    assert "holds no weights of its backbone" in result.output
    assert "not audited: 1" in result.output
    assert not (tmp_path / "backbones").exists(), "none is pretrained in passing"
    for path in store.folder.glob("*.json"):
        if path.stem != spec.identity:
            path.unlink()
    assert fci(store).exit_code == 1, "an audit of nothing is none"


def test_an_import_that_fails_is_not_audited_and_a_loss_that_diverges_is_a_fault(
    store, monkeypatch
):
    def raises(error):
        def fail(*_):
            raise error

        monkeypatch.setattr("fcilib.execution.executors.run_one", fail)
        return list(audit.audit(draw(store, 1, "a"), "inline"))

    (found,) = raises(ImportError("no such back end"))
    assert (found.verdict, found.reason) == (SKIPPED, "no such back end")
    assert not passed([found])
    (found,) = raises(DivergedError("loss is nan"))
    assert (found.verdict, found.reason) == (BEYOND, "loss is nan")
    assert "loss is nan" in described(found)
    with pytest.raises(ZeroDivisionError):
        raises(ZeroDivisionError())


def test_mistakes_are_one_line(store):
    for options, said in (
        (["--profile", "huge"], "profile: 'huge' is none of smoke, quick, paper"),
        (["--executor", "cloud"], "executor: 'cloud' is none of"),
    ):
        result = fci(store, *options)
        assert result.exit_code == 2
        assert result.stderr.count("\n") == 1
        assert said in result.stderr
