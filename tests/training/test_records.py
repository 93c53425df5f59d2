"""Records: whole or absent, and refused by name where anything in them is off."""

import json

import pytest
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st

from fcilib.ledger.audit import draw
from fcilib.ledger.estimates import Estimates
from fcilib.representations import Embedding
from fcilib.routers import Investigator
from fcilib.specs.identity import NUMERICS
from fcilib.storage.sealed import UnknownKindError, seal
from fcilib.study.profiles import PROFILES
from fcilib.training.experiment import Experiment
from fcilib.training.records import RecordError, Records
from fcilib.training.run import run_one

SMOKE = PROFILES["smoke"]
SPEC = Experiment(
    task=SMOKE.evidence,
    width=SMOKE.width,
    representation=Embedding(),
    router=Investigator(),
    training=SMOKE.training,
)


@pytest.fixture(scope="module")
def store(tmp_path_factory):
    records = Records(tmp_path_factory.mktemp("records") / "smoke")
    run_one(SPEC, records)
    return records


def test_a_record_says_what_ran_and_what_came_of_it(store):
    record = store.find(SPEC)
    assert record.experiment == SPEC
    assert record.identity == SPEC.identity == store.path(SPEC).stem
    assert len(record.curve["precision"]) == SPEC.training.epochs
    assert record.curve["precision"][-1] == record.metrics["precision"]
    assert record.probes["rank_90"] <= SPEC.width
    assert record.versions.keys() >= {"python", "torch", "numba"}
    assert store.path(SPEC).stat().st_size < 20_000
    assert len(store) == len(list(store)) == 1
    assert store.find(SPEC.with_seed(1)) is None


def test_only_a_record_of_a_gpu_says_whether_its_step_was_captured(store, tmp_path):
    record = store.find(SPEC)
    assert record.step is None
    assert "step" not in json.loads(store.path(SPEC).read_text())
    other = Records(tmp_path)
    other.add(record.model_copy(update={"step": "eager", "device": "cuda: some"}))
    assert other.find(SPEC).step == "eager"
    with pytest.raises(ValueError, match="step"):
        type(record).model_validate({**dict(record), "step": "slow"})


def test_a_finished_run_leaves_its_weights_and_nothing_else(store):
    assert {p.name for p in store.workspace(SPEC).iterdir()} <= {"lock", "weights.safetensors"}


@settings(
    max_examples=200, deadline=None, suppress_health_check=[HealthCheck.function_scoped_fixture]
)
@given(st.data())
def test_any_flipped_byte_is_refused_by_name(store, tmp_path, data):
    content = bytearray(store.path(SPEC).read_bytes())
    where = data.draw(st.integers(0, len(content) - 1))
    content[where] ^= data.draw(st.integers(1, 255))
    damaged = Records(tmp_path)
    damaged.path(SPEC).write_bytes(content)
    with pytest.raises(RecordError, match=SPEC.identity):
        damaged.find(SPEC)
    with pytest.raises(RecordError, match=SPEC.identity):
        run_one(SPEC, damaged)
    assert damaged.path(SPEC).read_bytes() == content, "never silently deleted"


@pytest.mark.parametrize(
    "content", [b"", b"[]", b"{}", b"null", b"\xff", b'{"checksum": 1}', b"[" * 10**5]
)
def test_what_is_no_record_is_refused_by_name(tmp_path, content):
    path = tmp_path / "x.json"
    path.write_bytes(content)
    with pytest.raises(RecordError, match=r"x\.json.*Delete the file"):
        Records(path.parent).read(path)


def test_a_foreign_record_is_refused(store, tmp_path):
    other = SPEC.with_seed(1)
    moved = Records(tmp_path)
    moved.path(other).write_bytes(store.path(SPEC).read_bytes())
    with pytest.raises(RecordError, match="another experiment"):
        moved.find(other)


def test_a_record_under_another_name_is_refused_as_it_is_read(store, tmp_path):
    for name in (f"{SPEC.with_seed(1).identity}.json", "copy.json"):
        path = tmp_path / name
        path.write_bytes(store.path(SPEC).read_bytes())
        with pytest.raises(RecordError, match=f"{name}: holds another experiment than its name"):
            Records(tmp_path).read(path)
        path.unlink()


@pytest.mark.parametrize("field", ["identity", "experiment"])
def test_a_record_of_other_numerics_has_a_name_that_nobody_here_can_check(store, tmp_path, field):
    """With these numerics, what it says of itself has to fit its name."""
    content = json.loads(store.path(SPEC).read_text())
    content.pop("checksum")
    changed = {"identity": "0" * 16, "experiment": {**content["experiment"], "seed": 5}}[field]
    path = tmp_path / store.path(SPEC).name
    path.write_bytes(seal({**content, field: changed, "numerics": NUMERICS + 1}))
    assert Records(tmp_path).read(path).numerics == NUMERICS + 1
    path.write_bytes(seal({**content, field: changed}))
    with pytest.raises(RecordError, match="another experiment"):
        Records(tmp_path).read(path)


def test_a_run_works_in_a_hidden_folder_of_its_own(store):
    assert store.workspace(SPEC) == store.folder / ".cache" / SPEC.identity
    assert store.workspace(SPEC.with_seed(1)) != store.workspace(SPEC)


def test_a_well_formed_record_of_other_fields_is_refused(store, tmp_path):
    content = json.loads(store.path(SPEC).read_bytes())
    content.pop("checksum")
    content["mood"] = "good"
    path = tmp_path / "x.json"
    path.write_bytes(seal(content))
    with pytest.raises(RecordError, match="another version"):
        Records(path.parent).read(path)


def test_the_memory_of_a_process_is_not_written_as_that_of_a_run(store):
    assert "peak_memory_mb" not in json.loads(store.path(SPEC).read_text())


def test_a_record_that_has_it_is_still_read(store, tmp_path):
    old = Records(tmp_path)
    content = json.loads(store.path(SPEC).read_text())
    content.pop("checksum")
    old.path(SPEC).write_bytes(seal({**content, "peak_memory_mb": 423.0}))
    record = old.find(SPEC)
    assert record.peak_memory_mb == 423.0
    assert "peak_memory_mb" in record.model_dump_json()


@pytest.fixture
def mixed(store, tmp_path):
    """A record that is known here, and one of a task that nobody here has heard of."""
    records = Records(tmp_path / "smoke")
    records.add(store.find(SPEC))
    content = json.loads(store.path(SPEC).read_text())
    content.pop("checksum")
    content["experiment"]["task"] = {"kind": "unheard-of", "length": 8}
    (records.folder / "0123456789abcdef.json").write_bytes(seal(content))
    return records


def test_a_kind_that_is_not_known_is_said_and_the_rest_is_read(mixed):
    with pytest.warns(UserWarning, match="kind 'unheard-of' is not known here"):
        read_back = list(mixed)
    assert [record.experiment for record in read_back] == [SPEC]


def test_an_audit_draws_from_the_rest(mixed):
    with pytest.warns(UserWarning, match="unheard-of"):
        drawn = draw(mixed, 5, "any")
    assert [record.identity for record in drawn.records] == [SPEC.identity]


def test_the_time_of_a_run_is_estimated_from_the_rest(mixed):
    estimates = Estimates(mixed, Records(mixed.folder / "none"), SMOKE, "cpu")
    assert [record.experiment for record in estimates._known()] == [SPEC]


def test_asked_for_by_name_it_is_refused_with_the_true_reason(mixed):
    with pytest.raises(UnknownKindError, match="import what defines it"):
        mixed.read(mixed.folder / "0123456789abcdef.json")
