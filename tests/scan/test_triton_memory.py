"""The memory that the Triton scan holds and its launches, counted on tensors without memory.

What is counted is every storage that a call makes, forward and backward, for as long as it lives.
"""

import weakref
from importlib.util import find_spec
from itertools import pairwise
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
OFFICIAL = "state-spaces/mamba 2.3.2"  # the scan of that name in `gpu_scan.recorded()`


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
    """In the place of a kernel: counts its launches."""

    def __init__(self, launches):
        self.launches = launches

    def __getitem__(self, grid):
        return lambda *_, **__: self.launches.append(grid)


@pytest.fixture
def launches(monkeypatch):
    from fcilib.scan.cuda import triton_scan

    found = []
    for name in dir(triton_scan):
        if name.endswith("_kernel"):
            monkeypatch.setattr(triton_scan, name, Counter(found))
    return found


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
    """Memory and launches of this code, beside what cards have shown of others."""
    before, official = measured("ours"), measured(OFFICIAL)
    lines = [
        "| B, L, d, N | rows | predicted, MB | before, MB | official, MB | launches | "
        "before, ms | official, ms |",
        "| --- | --- | --- | --- | --- | --- | --- | --- |",
    ]
    for shape in gpu_scan.SHAPES["cuda"]:
        for dtype in (torch.float32, torch.bfloat16):
            peak, forward, backward = counted(shape, dtype, launches)
            key = shape, str(dtype).removeprefix("torch.")
            ours, theirs = before[key], official.get(key)
            cells = [", ".join(map(str, shape)), key[1], f"{peak / 1e6:,.0f}"]
            cells += [f"{ours['megabytes']:,.0f}", f"{theirs['megabytes']:,.0f}" if theirs else "–"]
            cells += [f"{forward} + {backward}", f"{ours['both']:.2f} / {ours['replayed']:.2f}"]
            cells += [f"{theirs['both']:.2f}" if theirs else "–"]
            lines.append(f"| {' | '.join(cells)} |")
    table = "\n".join(lines)
    assert table in README.read_text(encoding="utf-8"), f"README.md should have\n\n{table}"


@pytest.mark.parametrize("length", [1, 64, 1023])
def test_a_short_sequence_is_not_cut(length, launches):
    assert counted((1, length, 8, 16), torch.float32, launches)[1:] == (1, 3)


def test_sequences_that_fill_a_card_are_not_cut(launches):
    assert counted((4, 4096, 1024, 1), torch.float32, launches)[1:] == (1, 3)


@given(st.integers(1, 70), st.integers(1, 1 << 20), st.integers(1, 5000), st.integers(1, 64))
def test_spans_and_slabs_hold_every_step_once(batch, length, width, states):
    from fcilib.scan.cuda import triton_scan as ours

    span = ours._span(batch, length, width)
    whole = span >= length
    unit = ours.SEGMENT if whole else span
    if not whole:
        assert span % ours.SEGMENT == 0
        programs = batch * -(-width // ours.WIDE[0]) * -(-length // span)
        assert programs <= ours.AIM + ours.ENOUGH_PROGRAMS
    slabs = ours._slabs(batch, length, width, states, unit)
    ends = [0, *(after for _, after in reversed(slabs))]
    assert slabs[::-1] == list(pairwise(ends))
    assert ends[-1] == length
    assert all(end % unit == 0 for end in ends[:-1])
    floats = 2 * batch * (states + 1) * width * -(-(ends[1] - ends[0]) // ours.CHUNK)
    assert 4 * floats <= ours.SLAB_BYTES or ends[1] <= unit
