"""Pretraining on bytes: the same weights every time, whatever was killed; none that are damaged."""

import json
import math
import shutil
from pathlib import Path

import pytest
import torch

from fcilib.backbones import TRANSFORMER_3M, ByteLM, byte_lm, load, pretrained, read_pretraining
from fcilib.backbones.byte_lm import HELD_OUT_EVERY, Corpus, standard_library
from fcilib.storage.places import default_records
from fcilib.storage.sealed import RecordError

transformers = pytest.importorskip("transformers", reason="needs transformers, of the extra test")


def spec(family="transformer", **more):
    return ByteLM(family=family, **{"layers": 1, "width": 16, "context": 32, "steps": 4, **more})


def corpus(text=b"one two three four five six seven "):
    data = torch.frombuffer(bytearray(text * 40), dtype=torch.uint8)
    return Corpus(data, data[: 20 * len(text)])


@pytest.fixture(params=["transformer", "mamba"])
def family(request):
    return request.param


@pytest.fixture
def every_step(monkeypatch):
    monkeypatch.setattr(byte_lm, "CHECKPOINT_EVERY", 1)


def weights(folder):
    return (folder / "model.safetensors").read_bytes()


# The corpus.


def source_files(folder, number, content=lambda i: bytes([i]) * (10 + i)):
    """`number` source files, the first named 000.py; the i-th, from 1, is i times 10 + i."""
    folder.mkdir(parents=True, exist_ok=True)
    for i in range(1, number + 1):
        (folder / f"{i - 1:03d}.py").write_bytes(content(i))
    return folder


def test_files_held_out_are_not_trained_on(tmp_path):
    found = standard_library(source_files(tmp_path, 2 * HELD_OUT_EVERY + 5))
    held = {HELD_OUT_EVERY, 2 * HELD_OUT_EVERY}
    assert set(found.held_out.tolist()) == held
    assert set(found.train.tolist()) == set(range(1, 2 * HELD_OUT_EVERY + 6)) - held
    assert (found.train.dtype, found.held_out.dtype) == (torch.uint8, torch.uint8)
    assert len(found.train) + len(found.held_out) == sum(10 + i for i in range(1, 46))


def test_held_out_files_change_no_weight(tmp_path):
    """The weights are a matter of what is trained on alone; the loss is of what is held out."""
    one = pretrained(spec(), tmp_path / "one", corpus())
    other = corpus()
    other = Corpus(other.train, torch.randint(256, (500,), dtype=torch.uint8))
    two = pretrained(spec(), tmp_path / "two", other)
    assert weights(one) == weights(two)
    first, second = map(read_pretraining, (one, two))
    assert first.curve == second.curve
    assert first.held_out_loss != second.held_out_loss
    assert first.corpus != second.corpus


def test_the_corpus_does_not_depend_on_the_order_of_the_file_system(tmp_path, monkeypatch):
    names = [f"{folder}/{i}.py" for folder in ("b", "a", "a/b", "c") for i in range(12)]
    for name in names:
        path = tmp_path / name
        path.parent.mkdir(parents=True, exist_ok=True)
        path.write_text(name)
    expected = standard_library(tmp_path)
    found = [*Path.rglob(tmp_path, "*.py")]
    assert len(found) == len(names)
    for order in (sorted(found), sorted(found, reverse=True), sorted(found, key=lambda p: p.name)):
        monkeypatch.setattr(Path, "rglob", lambda *_, order=order: iter(order))
        again = standard_library(tmp_path)
        assert torch.equal(again.train, expected.train)
        assert torch.equal(again.held_out, expected.held_out)
        assert again.digest == expected.digest


@pytest.mark.parametrize("name", byte_lm.LEFT_OUT)
def test_what_not_every_installation_has_is_left_out(tmp_path, name):
    source_files(tmp_path, 25)
    expected = standard_library(tmp_path)
    source_files(tmp_path / "deeper" / name / "still", 7)
    (tmp_path / "notes.txt").write_text("no source")
    assert standard_library(tmp_path).digest == expected.digest


@pytest.mark.parametrize("name", byte_lm.LEFT_OUT)
def test_where_the_library_is_installed_does_not_matter(tmp_path, name):
    expected = standard_library(source_files(tmp_path / "lib", 25))
    assert standard_library(source_files(tmp_path / name / "lib", 25)).digest == expected.digest


def test_too_few_files_are_no_corpus(tmp_path):
    source_files(tmp_path, HELD_OUT_EVERY - 1)
    with pytest.raises(ValueError, match=f"{HELD_OUT_EVERY - 1} source files are no corpus"):
        standard_library(tmp_path)


def test_pythons_own_library_is_a_corpus():
    found = standard_library()
    assert 2e6 < len(found.train) < 1e8
    assert 0.01 < len(found.held_out) / len(found.train) < 0.2


# Pretraining.


def test_the_same_description_gives_the_same_bytes(tmp_path, family):
    torch.manual_seed(5)
    state = torch.get_rng_state()
    one = pretrained(spec(family), tmp_path / "one", corpus())
    assert torch.equal(torch.get_rng_state(), state)
    torch.manual_seed(6)
    two = pretrained(spec(family), tmp_path / "two", corpus())
    assert weights(one) == weights(two)
    assert (one / "config.json").read_bytes() == (two / "config.json").read_bytes()
    assert one.name == two.name == spec(family).identity
    told = [
        read_pretraining(folder).model_dump(exclude={"seconds", "finished"})
        for folder in (one, two)
    ]
    assert told[0] == told[1]


@pytest.mark.parametrize(
    "changed", [{"seed": 1}, {"steps": 3}, {"batch": 2}, {"learning_rate": 1e-3}, {"context": 16}]
)
def test_what_is_described_otherwise_has_other_weights_in_another_folder(tmp_path, changed):
    one = pretrained(spec(), tmp_path, corpus())
    two = pretrained(spec(**changed), tmp_path, corpus())
    assert one != two
    assert weights(one) != weights(two)


def test_every_step_of_every_seed_has_a_batch_of_its_own():
    data = torch.arange(256, dtype=torch.uint8)
    drawn = [byte_lm._windows(data, spec(seed=s), step) for s in (0, 1) for step in (0, 1, 2)]
    assert all(not torch.equal(x, y) for i, x in enumerate(drawn) for y in drawn[:i])
    for windows in drawn:
        assert windows.shape == (4, 32)
        assert (windows.diff(dim=1) == 1).all()
    assert torch.equal(byte_lm._windows(data, spec(seed=1), 2), drawn[-1])


def test_a_model_is_pretrained_once(tmp_path, monkeypatch):
    folder = pretrained(spec(), tmp_path, corpus())
    monkeypatch.setattr(byte_lm, "_pretrain", lambda *_: pytest.fail("again"))
    assert pretrained(spec(), tmp_path) == folder
    assert not [*(tmp_path / ".cache").rglob("*.safetensors")]


def test_weights_of_the_repositorys_records_are_read_where_they_lie(tmp_path, monkeypatch):
    monkeypatch.setattr(byte_lm, "_pretrain", lambda *_: pytest.fail("again"))
    stored = default_records() / "backbones" / TRANSFORMER_3M.identity
    assert pretrained(TRANSFORMER_3M, tmp_path / "mine") == stored
    assert not list(tmp_path.iterdir())
    assert load(TRANSFORMER_3M).model.config.hidden_size == TRANSFORMER_3M.width
    assert not list(tmp_path.iterdir())


def test_the_record_says_what_was_done(tmp_path, family):
    found = read_pretraining(pretrained(spec(family), tmp_path, corpus()))
    assert found.model == spec(family)
    assert found.tokens == 4 * 4 * 32
    assert found.corpus == corpus().digest
    assert found.corpus_bytes == len(corpus().train) + len(corpus().held_out)
    assert len(found.curve) == 4
    assert found.curve[0] == pytest.approx(math.log(256), rel=0.1)
    model = spec(family).build()
    assert found.parameters == sum(p.numel() for p in model.parameters())


def test_the_held_out_loss_is_that_of_the_weights_as_they_are_stored(tmp_path, family):
    made = corpus()
    folder = pretrained(spec(family), tmp_path, made)
    model = transformers.AutoModelForCausalLM.from_pretrained(folder, dtype=torch.float32).eval()
    assert {t.dtype for t in load_stored(folder).values()} == {torch.bfloat16}
    # Windows of 32 bytes that begin in the first, lie evenly, and end with the last.
    number = min(256, len(made.held_out) // 32)
    starts = torch.linspace(0, len(made.held_out) - 32, number).long()
    windows = torch.stack([made.held_out[s : s + 32].long() for s in starts])
    with torch.no_grad():
        logits = model(input_ids=windows).logits
    loss = torch.nn.functional.cross_entropy(logits[:, :-1].transpose(1, 2), windows[:, 1:])
    assert read_pretraining(folder).held_out_loss == pytest.approx(loss.item(), rel=1e-4)


def load_stored(folder):
    from safetensors.torch import load_file

    return load_file(folder / "model.safetensors")


def test_both_families_learn(tmp_path, family):
    chosen = spec(family, steps=80, learning_rate=1e-2)
    found = read_pretraining(pretrained(chosen, tmp_path, corpus(b"abcdefgh")))
    assert found.curve[0] > 5
    assert found.curve[-1] < 1.5
    assert found.held_out_loss < 1.5


def test_a_context_longer_than_the_corpus_is_refused(tmp_path):
    small = corpus()
    for made in (Corpus(small.train, small.held_out[:32]), Corpus(small.train[:32], small.train)):
        with pytest.raises(ValueError, match="context: 32"):
            pretrained(spec(), tmp_path, made)


# Killed.


class Killed(Exception):
    pass


@pytest.mark.parametrize("step", [1, 3, 4])
def test_a_pretraining_that_was_killed_ends_as_if_it_had_not_been(
    tmp_path, family, every_step, step
):
    whole = pretrained(spec(family), tmp_path / "whole", corpus())
    said = []

    def stop(text):
        said.append(text)
        if len(said) == step:
            raise Killed

    with pytest.raises(Killed):
        pretrained(spec(family), tmp_path / "cut", corpus(), stop)
    assert f"step {step} of 4" in said[-1]
    later = []
    folder = pretrained(spec(family), tmp_path / "cut", corpus(), later.append)
    assert len(later) == 4 - step
    assert weights(folder) == weights(whole)
    found, expected = map(read_pretraining, (folder, whole))
    assert found.curve == expected.curve
    assert found.held_out_loss == expected.held_out_loss
    assert not [*(tmp_path / "cut" / ".cache").rglob("*.safetensors")]


def test_weights_without_their_record_are_not_believed(tmp_path, monkeypatch, every_step):
    """Killed after the weights were written, and before their record was."""

    def killed(*_, **__):
        raise Killed

    for place in ("provenance", "seal_model"):
        root = tmp_path / place
        with monkeypatch.context() as patch:
            patch.setattr(byte_lm, place, killed)
            with pytest.raises(Killed):
                pretrained(spec(), root, corpus())
        folder = root / spec().identity
        assert not (folder / "pretraining.json").exists()
        whole = weights(folder)
        (folder / "model.safetensors").write_bytes(whole[:100])
        assert weights(pretrained(spec(), root, corpus())) == whole
        read_pretraining(folder)


def test_a_record_is_written_whole_or_not_at_all(tmp_path, monkeypatch):
    def killed(*_):
        raise Killed

    with monkeypatch.context() as patch:
        patch.setattr("fcilib.storage.files.os.replace", killed)
        with pytest.raises(Killed):
            pretrained(spec(), tmp_path, corpus())
    assert not (tmp_path / spec().identity / "pretraining.json").exists()
    read_pretraining(pretrained(spec(), tmp_path, corpus()))


# Damaged.


def flipped(data):
    return data[:-3] + bytes([data[-3] ^ 1]) + data[-2:]


DAMAGES = {
    "flipped": flipped,
    "truncated": lambda data: data[:-5],
    "longer": lambda data: data + b"\n",
    "empty": lambda data: b"",
    "other": lambda data: b"[]",
}


@pytest.mark.parametrize("name", ["model.safetensors", "pretraining.json"])
@pytest.mark.parametrize("damage", DAMAGES.values(), ids=DAMAGES)
def test_damage_is_named_and_neither_used_nor_deleted(tmp_path, monkeypatch, name, damage):
    monkeypatch.setattr(byte_lm, "standard_library", corpus)
    folder = pretrained(spec(), tmp_path / "backbones", corpus())
    path = folder / name
    damaged = damage(path.read_bytes())
    path.write_bytes(damaged)
    for call in (
        lambda: pretrained(spec(), tmp_path / "backbones", corpus()),
        lambda: read_pretraining(folder),
        lambda: load(spec()),
    ):
        with pytest.raises(RecordError) as refusal:
            call()
        assert str(path) in str(refusal.value)
        assert "elete" in str(refusal.value)
        assert path.read_bytes() == damaged
    load(spec(), "random")  # has no use for them
    shutil.rmtree(folder)
    assert read_pretraining(pretrained(spec(), tmp_path / "backbones", corpus())).model == spec()


def test_weights_that_are_missing_are_named(tmp_path):
    folder = pretrained(spec(), tmp_path, corpus())
    (folder / "model.safetensors").unlink()
    with pytest.raises(RecordError, match=r"model\.safetensors: is missing"):
        pretrained(spec(), tmp_path, corpus())


def test_weights_of_another_model_are_refused(tmp_path):
    """A whole folder, in the place of another's."""
    other = pretrained(spec(seed=1), tmp_path, corpus())
    place = tmp_path / spec().identity
    shutil.copytree(other, place)
    with pytest.raises(RecordError, match=f"{place.name}/pretraining.json"):
        pretrained(spec(), tmp_path, corpus())


def test_a_record_with_a_field_that_is_unknown_is_named(tmp_path):
    from fcilib.storage.sealed import seal, unseal

    folder = pretrained(spec(), tmp_path, corpus())
    path = folder / "pretraining.json"
    path.write_bytes(seal({**unseal(path), "colour": "red"}))
    with pytest.raises(RecordError, match="another version of fcilib"):
        read_pretraining(folder)


# Descriptions.


def test_the_two_families_are_of_a_size():
    sizes = []
    for family, layers in (("transformer", 4), ("mamba", 7)):
        config = ByteLM(family=family, layers=layers).config()
        with torch.device("meta"):
            model = transformers.AutoModelForCausalLM.from_config(config)
        sizes.append(sum(p.numel() for p in model.parameters()))
    assert all(2.7e6 < size < 3.6e6 for size in sizes)
    assert max(sizes) / min(sizes) < 1.15


def test_the_identity_is_the_descriptions_alone():
    assert spec().identity == spec().identity
    assert len({spec(family).identity for family in ("transformer", "mamba")}) == 2
    assert json.loads(spec().model_dump_json())["family"] == "transformer"
    assert ByteLM.model_validate_json(spec(seed=3).model_dump_json()) == spec(seed=3)
    # Weights lie in folders of these names.
    assert ByteLM(family="transformer", layers=4).identity == "52b26a78c6ebc94a"
    assert ByteLM(family="mamba", layers=7).identity == "556b6300ace85fa8"
