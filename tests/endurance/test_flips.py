"""A thousand flipped bytes in all that is kept on disk: each is noticed, none is believed."""

import random
from dataclasses import dataclass

import pytest
import torch

from fcilib import cost, retrieval
from fcilib.backbones import ByteLM, byte_lm, cached, load, pretrained, read_pretraining
from fcilib.backbones.byte_lm import Corpus
from fcilib.cost import Bench
from fcilib.cost.workloads import Route
from fcilib.representations import Attention
from fcilib.retrieval import Keywords, Retrieval, hotpotqa
from fcilib.routers import Investigator
from fcilib.storage.checkpoint import load_checkpoint
from fcilib.storage.sealed import RecordError
from fcilib.storage.tensors import TensorsError, unseal_tensors
from fcilib.study.profiles import PROFILES
from fcilib.training.experiment import Experiment
from fcilib.training.loop import train
from fcilib.training.records import Records
from fcilib.training.run import run_one

FLIPS = 1000

SMOKE = PROFILES["smoke"]
SPEC = Experiment(
    task=SMOKE.evidence,
    width=SMOKE.width,
    representation=Attention(),
    router=Investigator(),
    training=SMOKE.training,
)
BENCH = Bench(workloads={"route": Route(router=Investigator())}, lengths=(8, 16), rounds=1)
RETRIEVAL = Retrieval(retriever=Keywords(), questions=hotpotqa.STANDIN.digest)
LM = ByteLM(family="transformer", layers=1, width=16, context=32, steps=2)


@dataclass
class Kept:
    """A file, and what reads it before anything is done with it."""

    path: object
    read: object
    error: type


def parts(spec=SPEC):
    """A model and its optimizer, as `train` has them."""
    model = spec.build()
    optimizer = torch.optim.AdamW(model.parameters())
    return model, optimizer, torch.optim.lr_scheduler.OneCycleLR(optimizer, 1e-3, total_steps=9)


def states(tokens):
    return torch.stack([tokens, 2 * tokens], dim=-1).float()


@pytest.fixture(scope="module")
def kept(tmp_path_factory):
    """Every kind of file that is kept and read again."""
    pytest.importorskip("transformers", reason="needs transformers, of the extra test")
    root = tmp_path_factory.mktemp("kept")
    records = Records(root / "records")
    run_one(SPEC, records)
    retrieval.retrieve(RETRIEVAL, root / "retrievals", hotpotqa.standin)
    cost.measure_cost(BENCH, root / "costs")
    checkpoint = root / "checkpoint.safetensors"
    train(SPEC, checkpoint)
    text = torch.frombuffer(bytearray(b"one two three four " * 40), dtype=torch.uint8)
    folder = pretrained(LM, root / "backbones", Corpus(text, text))
    tokens = torch.arange(40).view(10, 4)
    cached({}, tokens, states, root / "states")
    (piece,) = (root / "states").rglob("*.safetensors")
    weights = records.workspace(SPEC) / "weights.safetensors"
    return {
        "record": Kept(records.path(SPEC), lambda: records.find(SPEC), RecordError),
        "retrieval": Kept(
            root / "retrievals" / f"{RETRIEVAL.identity}.json",
            lambda: retrieval.find(RETRIEVAL, root / "retrievals"),
            RecordError,
        ),
        "cost": Kept(
            root / "costs" / f"{BENCH.identity}.json",
            lambda: cost.find_cost(BENCH, root / "costs"),
            RecordError,
        ),
        "checkpoint": Kept(checkpoint, lambda: load_checkpoint(checkpoint, *parts()), TensorsError),
        "weights": Kept(weights, lambda: unseal_tensors(weights, "Delete it."), TensorsError),
        "states": Kept(
            piece,
            lambda: cached({}, tokens, lambda _: pytest.fail("again"), root / "states"),
            TensorsError,
        ),
        "backbone": Kept(
            folder / "model.safetensors", lambda: read_pretraining(folder), RecordError
        ),
        "pretraining": Kept(
            folder / "pretraining.json", lambda: read_pretraining(folder), RecordError
        ),
    }


SEALED = ("record", "retrieval", "cost", "pretraining")
TENSORS = ("checkpoint", "weights", "states")
KINDS = (*SEALED, *TENSORS, "backbone")


@pytest.mark.parametrize("kind", KINDS)
def test_every_flipped_byte_is_noticed_by_the_name_of_its_file(kept, kind):
    assert kept.keys() == {*KINDS}
    assert FLIPS % len(KINDS) == 0
    file, rng = kept[kind], random.Random(f"flips of a {kind}")
    whole = file.path.read_bytes()
    assert file.read() is not None
    for _ in range(FLIPS // len(KINDS)):
        damaged = bytearray(whole)
        damaged[rng.randrange(len(whole))] ^= rng.randint(1, 255)
        file.path.write_bytes(damaged)
        with pytest.raises(file.error) as refusal:
            file.read()
        assert str(file.path) in str(refusal.value)
        assert "elete" in str(refusal.value), "says what to do"
        assert file.path.read_bytes() == damaged, "never deleted"
    file.path.write_bytes(whole)
    assert file.read() is not None


@pytest.mark.parametrize("kind", TENSORS)
def test_a_flip_in_the_head_is_noticed_wherever_it_is(kept, kind):
    """Names, types, shapes and white space: every byte of it, and the last bit of each."""
    file = kept[kind]
    whole = file.path.read_bytes()
    head = 8 + int.from_bytes(whole[:8], "little")
    for position in range(0, head, max(1, head // 400)):
        damaged = bytearray(whole)
        damaged[position] ^= 1
        file.path.write_bytes(damaged)
        with pytest.raises(TensorsError):
            file.read()
    file.path.write_bytes(whole)


def test_a_damaged_checkpoint_changes_nothing_and_stops_the_run(tmp_path):
    records = Records(tmp_path)
    checkpoint = records.workspace(SPEC) / "checkpoint.safetensors"
    train(SPEC, checkpoint)
    damaged = bytearray(checkpoint.read_bytes())
    damaged[-1] ^= 1
    checkpoint.write_bytes(damaged)
    model, optimizer, scheduler = parts()
    before = {name: tensor.clone() for name, tensor in model.state_dict().items()}
    with pytest.raises(TensorsError):
        load_checkpoint(checkpoint, model, optimizer, scheduler)
    assert all(torch.equal(before[n], t) for n, t in model.state_dict().items())
    for _ in range(2):
        with pytest.raises(TensorsError, match=r"checkpoint\.safetensors: .* begin its training"):
            run_one(SPEC, records)
    assert len(records) == 0
    assert checkpoint.read_bytes() == damaged
    checkpoint.unlink()
    assert run_one(SPEC, records).identity == SPEC.identity


def test_a_checkpoint_without_a_checksum_is_refused(tmp_path):
    from safetensors.torch import load_file, save_file

    checkpoint = tmp_path / "checkpoint.safetensors"
    train(SPEC, checkpoint)
    save_file(load_file(checkpoint), checkpoint, metadata={"state": "{}"})
    with pytest.raises(TensorsError, match="is no sealed file"):
        train(SPEC, checkpoint)


def test_what_has_no_checksum_is_not_read(tmp_path, monkeypatch):
    """The configuration beside the weights of ours follows from the description."""
    pytest.importorskip("transformers", reason="needs transformers, of the extra test")
    monkeypatch.setenv("FCI_BACKBONES", str(tmp_path))
    text = torch.frombuffer(bytearray(b"one two three four " * 40), dtype=torch.uint8)
    folder = pretrained(LM, tmp_path, Corpus(text, text))
    monkeypatch.setattr(byte_lm, "standard_library", lambda: pytest.fail("pretrained again"))
    tokens = torch.arange(64).view(2, 32) % 16
    load.cache_clear()
    expected = load(LM).states(tokens, 16)
    for name in ("config.json", "generation_config.json"):
        path = folder / name
        for damage in (path.read_bytes().replace(b"1", b"2"), b"{", b""):
            path.write_bytes(damage)
            load.cache_clear()
            assert torch.equal(load(LM).states(tokens, 16), expected)
    load.cache_clear()
