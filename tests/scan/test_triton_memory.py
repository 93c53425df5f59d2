"""The memory that the Triton scan holds, its launches and its work, on tensors without memory.

What is counted is every storage that a call makes, forward and backward, for as long as it lives.
"""

import math
import weakref
from importlib.util import find_spec
from pathlib import Path

import pytest
import torch
from hypothesis import given
from hypothesis import strategies as st
from torch.utils._python_dispatch import TorchDispatchMode
from torch.utils._pytree import tree_leaves

import fcilib.scan
from fcilib.cost import gpu_scan
from fcilib.scan.backend import ScanInputs

pytestmark = pytest.mark.skipif(
    find_spec("triton") is None, reason="triton is not installed: pip install 'fcilib[cuda]'"
)

README = Path(fcilib.scan.__file__).parent / "README.md"


# What an H100 can do in a second: bytes, instructions of a thread (60 Tflop/s count two each) and
# exponentials
BYTES, INSTRUCTIONS, EXPONENTIALS = 3.35e12, 30e12, 30e12 / 8
# Instructions and exponentials for each channel, state and step, as the machine code for sm_90 has
# them (float32, every option), by kernel, channels of a tile and N; 0 channels: without outputs
WORK = {
    ("states", 8, 16): (27.4, 2.0),
    ("states", 8, 64): (12.6, 1.3),
    ("states", 32, 16): (12.1, 1.3),
    ("states", 0, 16): (8.7, 1.1),
    ("carry", 32, 16): (9.5, 1.3),
    ("gradient", 4, 16): (40.5, 2.0),
    ("gradient", 4, 64): (33.1, 1.6),
}


class Alive(TorchDispatchMode):
    """Bytes of all storages that operations have made and that still live, and the most of them."""

    def __init__(self):
        super().__init__()
        self.bytes = self.peak = 0
        self.known = set()

    def __torch_dispatch__(self, function, types, args=(), kwargs=None):
        result = function(*args, **(kwargs or {}))
        for tensor in tree_leaves((args, kwargs)):
            if isinstance(tensor, torch.Tensor):
                self.known.add(tensor.untyped_storage()._cdata)
        for tensor in tree_leaves(result):
            if isinstance(tensor, torch.Tensor):
                self._add(tensor.untyped_storage())
        return result

    def _add(self, storage):
        if storage._cdata not in self.known:
            self.known.add(storage._cdata)
            self.bytes += storage.nbytes()
            self.peak = max(self.peak, self.bytes)
            weakref.finalize(storage, self._gone, storage._cdata, storage.nbytes())

    def _gone(self, key, size):
        self.known.discard(key)
        self.bytes -= size


class Counter:
    """In the place of a kernel: keeps what it would be launched with, of tensors the bytes."""

    def __init__(self, kernel, launches):
        self.kernel, self.launches = kernel, launches

    def __getitem__(self, grid):
        def launch(*arguments, **constants):
            tensors = {t.untyped_storage()._cdata: t for t in arguments if torch.is_tensor(t)}
            moved = sum(tensor.nbytes for tensor in tensors.values())
            given = dict(zip(self.kernel.arg_names, arguments, strict=False)) | constants
            told = {name: given.get(name) for name in ("first", "segments", "BLOCK", "LANES", "N")}
            told["outputs"] = given.get("y") is not None
            self.launches.append((self.kernel.__name__, moved, told))

        return launch


@pytest.fixture
def launches(monkeypatch):
    from fcilib.scan.cuda import triton_scan

    found = []
    for name in dir(triton_scan):
        if name.endswith("_kernel"):
            kernel = getattr(triton_scan, name)
            monkeypatch.setattr(triton_scan, name, Counter(kernel, found))
    return found


def least_seconds(launch, entries):
    """What an H100 needs for a launch at least; each tensor is read or written once."""
    name, moved, told = launch
    name = name.removeprefix("scan_").removesuffix("_kernel")
    if name == "join":
        return 2 * moved / BYTES  # in place
    channels = 2 * told["LANES"] if name == "gradient" else told["BLOCK"]
    if name == "states" and not told["outputs"]:
        channels = 0
    if name == "carry":
        entries *= 1 - told["first"] / told["segments"]
    instructions, exponentials = WORK[name, channels, told["N"]]
    entries *= told["N"]
    return max(
        moved / BYTES,
        entries * instructions / INSTRUCTIONS,
        entries * exponentials / EXPONENTIALS,
    )


def counted(shape, dtype, launches):
    """The most bytes above the inputs, launches forward and backward; as `gpu_scan` calls it."""
    from fcilib.scan.cuda import triton_scan

    batch, length, width, states = shape

    def leaf(*size, dtype=dtype):
        return torch.empty(size, dtype=dtype, device="meta", requires_grad=True)

    u, delta, z = (leaf(batch, length, width) for _ in range(3))
    B, C = (leaf(batch, length, states) for _ in range(2))
    A, D, bias = (leaf(*s, dtype=torch.float32) for s in ((width, states), (width,), (width,)))
    inputs = ScanInputs(u, delta, A, B, C, D, z, bias, None, True, False)
    launches.clear()
    with Alive() as alive:
        loss = triton_scan.selective_scan(inputs, want_last=False)[0].float().sum()
        forward = len(launches)
        gradients = torch.autograd.grad(loss, [t for t in inputs if torch.is_tensor(t)])
    assert sum(gradient.nbytes for gradient in gradients) <= alive.bytes <= alive.peak
    return alive.peak, forward, len(launches) - forward


def measured(scan):
    """Rows from cards, by shape and dtype."""
    rows = (row for row in gpu_scan.recorded() if row["scan"] == scan)
    return {(tuple(row["shape"]), row["dtype"]): row for row in rows}


def test_the_table_of_the_readme(launches):
    """Memory and launches of this code, and what cards have shown of it and of others."""
    ours, before, official = map(measured, (gpu_scan.OURS, gpu_scan.BEFORE, gpu_scan.OFFICIAL))
    lines = [
        "| B, L, d, N | rows | MB | before, MB | official, MB | launches | at least, ms "
        "| forward, ms | both, ms | before, ms | official, ms |",
        "| --- | --- | --- | --- | --- | --- | --- | --- | --- | --- | --- |",
    ]
    for shape in gpu_scan.SHAPES["cuda"]:
        for dtype in (torch.float32, torch.bfloat16):
            peak, forward, backward = counted(shape, dtype, launches)
            key = shape, str(dtype).removeprefix("torch.")
            here, earlier, theirs = ours[key], before[key], official.get(key)
            # What a card held is what is counted here.
            assert here["megabytes"] == pytest.approx(peak / 1e6, rel=0.01, abs=0.1)
            cells = [", ".join(map(str, shape)), key[1], f"{here['megabytes']:,.0f}"]
            cells += [f"{earlier['megabytes']:,.0f}"]
            cells += [f"{theirs['megabytes']:,.0f}" if theirs else "–"]
            work = [least_seconds(launch, math.prod(shape[:3])) for launch in launches]
            cells += [f"{forward} + {backward}"]
            cells += [f"{1e3 * sum(work[:forward]):.2f} + {1e3 * sum(work[forward:]):.2f}"]
            cells += [f"{here['forward']:.2f}", f"{here['both']:.2f}"]
            cells += [f"{earlier['both']:.2f} / {earlier['replayed']:.2f}"]
            cells += [f"{theirs['both']:.2f}" if theirs else "–"]
            lines.append(f"| {' | '.join(cells)} |")
            if theirs:
                assert peak / 1e6 <= theirs["megabytes"]
    table = "\n".join(lines)
    assert table in README.read_text(encoding="utf-8"), f"README.md should have\n\n{table}"


@pytest.mark.parametrize(("length", "backward"), [(1, 2), (128, 2), (129, 3), (1023, 3)])
def test_a_short_sequence_is_not_cut(length, backward, launches):
    """And where there is one segment no other sends it anything."""
    assert counted((1, length, 8, 16), torch.float32, launches)[1:] == (1, backward)


def test_sequences_that_fill_a_card_are_not_cut(launches):
    assert counted((4, 4096, 1024, 1), torch.float32, launches)[1:] == (1, 3)


@given(st.integers(1, 70), st.integers(1, 1 << 20), st.integers(1, 5000))
def test_spans_are_whole_segments_and_enough(batch, length, width):
    from fcilib.scan.cuda import triton_scan as ours

    span = ours._span(batch, length, width)
    if span < length:
        assert span % ours.SEGMENT == 0
        programs = batch * -(-width // ours.WIDE[0]) * -(-length // span)
        assert programs <= ours.AIM + ours.ENOUGH_PROGRAMS
