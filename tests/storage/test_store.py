"""Stores: the committed records are read and written as they are; what is missing is made once."""

import json
import threading

import pytest

from fcilib.backbones.byte_lm import Pretraining
from fcilib.cost import Cost
from fcilib.retrieval import RetrievalRecord
from fcilib.storage.making import find_or_make
from fcilib.storage.places import default_records
from fcilib.storage.sealed import seal, unseal, unseal_model
from fcilib.training.records import Record

COMMITTED = {
    "quick/*": Record,
    "scaling/*": Record,
    "quick/retrievals/*": RetrievalRecord,
    "quick/costs/*": Cost,
    "backbones/*/pretraining": Pretraining,
}


@pytest.mark.parametrize("where", COMMITTED)
def test_every_committed_record_is_read_and_sealed_again_to_the_same_bytes(where):
    """But for fields that joined the description since, with a default; its identity is kept."""
    paths = sorted(default_records().glob(f"{where}.json"))
    assert paths
    for path in paths:
        record, stored = unseal_model(path, COMMITTED[where]), unseal(path)
        described = {record.subject: stored[record.subject]}
        assert seal({**json.loads(record.model_dump_json()), **described}) == path.read_bytes()
        name = path.parent.name if path.stem == "pretraining" else path.stem
        assert getattr(record, record.subject).identity == name


def test_of_several_that_want_it_one_makes_it(tmp_path):
    place, left = tmp_path / "thing", tmp_path / ".thing.x.tmp"
    left.write_text("half of i")
    wanting, made = threading.Barrier(4), []

    def find():
        return place.read_text() if place.exists() else None

    def make():
        assert not left.exists()
        made.append(place.write_text(""))
        return find()

    def want():
        wanting.wait()
        results.append(find_or_make(find, make, tmp_path / ".cache" / "lock", place))

    results = []
    threads = [threading.Thread(target=want) for _ in range(4)]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join()
    assert (results, len(made)) == ([""] * 4, 1), "an empty text is found, too"


def test_what_is_found_leaves_no_lock(tmp_path):
    assert find_or_make(lambda: 0, pytest.fail, tmp_path / "lock") == 0
    assert not list(tmp_path.iterdir())


@pytest.mark.parametrize("cut_off", [KeyboardInterrupt, OSError])
def test_what_is_cut_off_in_the_making_leaves_nothing_half_written(tmp_path, cut_off):
    place, workspace = tmp_path / "made.json", tmp_path / ".cache"

    def make():
        assert not (tmp_path / ".made.json.before.tmp").exists()
        (tmp_path / ".made.json.now.tmp").touch()
        raise cut_off

    (tmp_path / ".made.json.before.tmp").touch()
    with pytest.raises(cut_off):
        find_or_make(lambda: None, make, workspace / "lock", place)
    assert [path.name for path in tmp_path.iterdir()] == [".cache"]
