"""Hidden states on disk: computed once, never believed when damaged, whoever asks and is killed."""

import threading
import time

import pytest
import torch

from fcilib.backbones import cached, features
from fcilib.storage.tensors import TensorsError

WHAT = {"name": "double"}


@pytest.fixture(autouse=True)
def small_pieces(monkeypatch):
    monkeypatch.setattr(features, "PIECE", 3)


class Compute:
    """States of tokens `(b, L)` to `(b, L, 2)` bf16, and how many sequences were asked of it."""

    def __init__(self):
        self.pieces = []

    def __call__(self, tokens):
        self.pieces.append(len(tokens))
        return torch.stack([tokens, 2 * tokens], dim=-1).to(torch.bfloat16)


def some_tokens(rows=8, seed=0):
    return torch.randint(50, (rows, 4), generator=torch.Generator().manual_seed(seed))


def expected(tokens):
    return Compute()(tokens)


def files(folder):
    return sorted(folder.rglob("*.safetensors"))


def test_states_are_computed_once_and_in_pieces(tmp_path):
    compute, tokens = Compute(), some_tokens()
    first = cached(WHAT, tokens, compute, tmp_path)
    assert compute.pieces == [3, 3, 2]
    second = cached(WHAT, tokens.clone(), lambda _: pytest.fail("again"), tmp_path)
    assert len(files(tmp_path)) == 3
    for found in (first, second):
        assert found.dtype == torch.bfloat16
        assert torch.equal(found, expected(tokens))


@pytest.mark.parametrize("shape", [(2,), (2, 3, 1)])
@pytest.mark.parametrize("dtype", [torch.float32, torch.bfloat16, torch.float64, torch.int64])
def test_states_of_any_shape_and_type_come_back_as_they_were(tmp_path, shape, dtype):
    made = torch.randn(8, *shape, generator=torch.Generator().manual_seed(0)).mul(9).to(dtype)
    pieces = iter(made.split(3))
    first = cached(WHAT, some_tokens(), lambda _: next(pieces), tmp_path)
    again = cached(WHAT, some_tokens(), lambda _: pytest.fail("again"), tmp_path)
    for found in (first, again):
        assert found.dtype == dtype
        assert torch.equal(found, made)


def test_without_a_folder_they_lie_in_the_cache(tmp_path, monkeypatch):
    monkeypatch.setenv("FCI_CACHE", str(tmp_path / "elsewhere"))
    cached(WHAT, some_tokens(), Compute())
    assert len(files(tmp_path / "elsewhere" / "states")) == 3
    assert files(tmp_path) == files(tmp_path / "elsewhere")


def test_tokens_of_any_layout_in_memory_are_the_same_tokens(tmp_path):
    tokens = some_tokens()
    cached(WHAT, tokens, Compute(), tmp_path)
    strided = tokens.t().contiguous().t()
    assert not strided.is_contiguous()
    cached(WHAT, strided, lambda _: pytest.fail("again"), tmp_path)


@pytest.mark.parametrize("changed", ["tokens", "order", "shape", "rows", "description"])
def test_what_differs_has_files_of_its_own(tmp_path, changed):
    tokens = some_tokens()
    cached(WHAT, tokens, Compute(), tmp_path)
    what = {"name": "other"} if changed == "description" else WHAT
    other = {
        "tokens": tokens + (torch.arange(32).view(8, 4) == 31),
        "order": tokens.flip(0),
        "shape": tokens.view(16, 2),
        "rows": tokens[:6],
        "description": tokens,
    }[changed]
    compute = Compute()
    assert torch.equal(cached(what, other, compute, tmp_path), expected(other))
    assert sum(compute.pieces) == len(other)


def test_order_of_the_descriptions_keys_does_not_matter(tmp_path):
    cached({"a": 1, "b": [2]}, some_tokens(), Compute(), tmp_path)
    cached({"b": [2], "a": 1}, some_tokens(), lambda _: pytest.fail("again"), tmp_path)


def test_a_kill_costs_the_unfinished_piece_alone(tmp_path):
    compute, tokens = Compute(), some_tokens()

    def killed(piece):
        if len(compute.pieces) == 1:
            raise KeyboardInterrupt
        return compute(piece)

    with pytest.raises(KeyboardInterrupt):
        cached(WHAT, tokens, killed, tmp_path)
    assert len(files(tmp_path)) == 1
    later = Compute()
    assert torch.equal(cached(WHAT, tokens, later, tmp_path), expected(tokens))
    assert later.pieces == [3, 2]


def test_a_kill_while_a_piece_is_written_leaves_no_half_of_it(tmp_path, monkeypatch):
    def killed(*_):
        raise KeyboardInterrupt

    tokens = some_tokens()
    with monkeypatch.context() as patch:
        patch.setattr("fcilib.storage.files.os.replace", killed)
        with pytest.raises(KeyboardInterrupt):
            cached(WHAT, tokens, Compute(), tmp_path)
    assert files(tmp_path) == []
    assert torch.equal(cached(WHAT, tokens, Compute(), tmp_path), expected(tokens))


def flipped(data):
    return data[:-1] + bytes([data[-1] ^ 1])


def flipped_head(data):
    return data[:20] + bytes([data[20] ^ 1]) + data[21:]


DAMAGES = {
    "flipped": flipped,
    "flipped head": flipped_head,
    "truncated": lambda data: data[:-5],
    "half": lambda data: data[: len(data) // 2],
    "longer": lambda data: data + b"\0",
    "empty": lambda data: b"",
    "other": lambda data: b"no tensors here",
}


@pytest.mark.parametrize("number", [0, 2])
@pytest.mark.parametrize("damage", DAMAGES.values(), ids=DAMAGES)
def test_a_damaged_file_is_named_and_neither_used_nor_deleted(tmp_path, damage, number):
    tokens = some_tokens()
    cached(WHAT, tokens, Compute(), tmp_path)
    path = files(tmp_path)[number]
    damaged = damage(path.read_bytes())
    path.write_bytes(damaged)
    for _ in range(2):
        with pytest.raises(TensorsError) as refusal:
            cached(WHAT, tokens, Compute(), tmp_path)
        assert str(path) in str(refusal.value)
        assert "Delete the file" in str(refusal.value)
        assert path.read_bytes() == damaged
    path.unlink()
    compute = Compute()
    assert torch.equal(cached(WHAT, tokens, compute, tmp_path), expected(tokens))
    assert compute.pieces == [len(tokens[3 * number : 3 * number + 3])]


def test_a_file_without_a_checksum_or_of_another_piece_is_refused(tmp_path):
    from safetensors.torch import save_file

    tokens = some_tokens()
    cached(WHAT, tokens, Compute(), tmp_path)
    *_, last = files(tmp_path)
    whole = last.read_bytes()
    save_file({"states": expected(tokens)[6:].contiguous()}, last)
    with pytest.raises(TensorsError, match=last.name):
        cached(WHAT, tokens, Compute(), tmp_path)
    last.write_bytes(files(tmp_path)[0].read_bytes())  # of three sequences in place of two
    with pytest.raises(TensorsError, match=last.name):
        cached(WHAT, tokens, Compute(), tmp_path)
    last.write_bytes(whole)
    cached(WHAT, tokens, lambda _: pytest.fail("again"), tmp_path)


def test_two_that_want_the_same_states_do_not_compute_them_twice(tmp_path):
    slow, tokens, found = Compute(), some_tokens(), []
    begun = threading.Barrier(2)

    def compute(piece):
        time.sleep(0.05)
        return slow(piece)

    def ask():
        begun.wait()
        found.append(cached(WHAT, tokens, compute, tmp_path))

    workers = [threading.Thread(target=ask) for _ in range(2)]
    for worker in workers:
        worker.start()
    for worker in workers:
        worker.join()
    assert slow.pieces == [3, 3, 2]
    assert len(found) == 2
    assert all(torch.equal(states, expected(tokens)) for states in found)
