"""Records: whole or absent, and refused by name where anything in them is off."""

import json

import pytest
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st

from fcilib.representations import Embedding
from fcilib.routers import Investigator
from fcilib.storage.sealed import seal
from fcilib.study.profiles import PROFILES
from fcilib.training.experiment import Experiment
from fcilib.training.records import RecordError, Records, read
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
        read(path)


def test_a_foreign_record_is_refused(store, tmp_path):
    other = SPEC.with_seed(1)
    moved = Records(tmp_path)
    moved.path(other).write_bytes(store.path(SPEC).read_bytes())
    with pytest.raises(RecordError, match="another experiment"):
        moved.find(other)


def test_a_well_formed_record_of_other_fields_is_refused(store, tmp_path):
    content = json.loads(store.path(SPEC).read_bytes())
    content.pop("checksum")
    content["mood"] = "good"
    path = tmp_path / "x.json"
    path.write_bytes(seal(content))
    with pytest.raises(RecordError, match="another version"):
        read(path)
