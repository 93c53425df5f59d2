"""The memory that the Triton scan holds, counted on tensors without memory, by their storages."""

import weakref
from importlib.util import find_spec

import pytest
import torch
from torch.utils._python_dispatch import TorchDispatchMode
from torch.utils._pytree import tree_leaves

from fcilib.scan.backend import ScanInputs

pytestmark = pytest.mark.skipif(
    find_spec("triton") is None, reason="triton is not installed: pip install 'fcilib[cuda]'"
)

# B, L, d, N; MB that the official kernel (state-spaces/mamba 2.3.2) held above its inputs, forward
# and backward, on an H200, with float32 and bfloat16 rows
OFFICIAL = {
    (8, 2048, 1536, 16): (508, 257),
    (8, 512, 1536, 16): (129, 66),
    (1, 8192, 1536, 16): (254, 128),
    (64, 512, 512, 16): (346, 181),
    (2, 65536, 256, 16): (690, 363),
    (64, 128, 256, 64): (59, None),
}


class Alive(TorchDispatchMode):
    """Bytes of all storages that operations have made and that still live, and their peak."""

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
        if storage._cdata in self.known:
            return
        self.known.add(storage._cdata)
        self.bytes += storage.nbytes()
        self.peak = max(self.peak, self.bytes)
        weakref.finalize(storage, self._gone, storage._cdata, storage.nbytes())

    def _gone(self, key, size):
        self.known.discard(key)
        self.bytes -= size


class Counter:
    """In the place of a kernel: counts its launches."""

    def __init__(self, counts):
        self.counts = counts

    def __getitem__(self, grid):
        return self.launch

    def launch(self, *_, **__):
        self.counts.append(1)


@pytest.mark.parametrize("dtype", [torch.float32, torch.bfloat16], ids=str)
@pytest.mark.parametrize("shape", OFFICIAL, ids=str)
def test_no_more_memory_than_the_official_kernel(shape, dtype, monkeypatch):
    from fcilib.scan.cuda import triton_scan

    official = OFFICIAL[shape][dtype is torch.bfloat16]
    if official is None:
        pytest.skip("the official kernel was not measured there")
    counts = []
    for name in dir(triton_scan):
        if name.endswith("_kernel"):
            monkeypatch.setattr(triton_scan, name, Counter(counts))
    batch, length, width, states = shape

    def empty(*size, dtype=dtype):
        return torch.empty(size, dtype=dtype, device="meta", requires_grad=True)

    u, delta, z = (empty(batch, length, width) for _ in range(3))
    B, C = (empty(batch, length, states) for _ in range(2))
    A, D, bias = (empty(*s, dtype=torch.float32) for s in ((width, states), (width,), (width,)))
    inputs = ScanInputs(u, delta, A, B, C, D, z, bias, None, True, False)
    alive = Alive()
    with alive:
        y, _ = triton_scan.selective_scan(inputs, want_last=False)
        forward = len(counts)
        loss = y.float().sum()
        del y
        found = torch.autograd.grad(loss, [t for t in inputs if isinstance(t, torch.Tensor)])
    gradients = sum(t.nbytes for t in found)
    assert gradients <= alive.bytes <= alive.peak
    print(
        f"\n{shape} {dtype}: {alive.peak / 1e6:.0f} MB of {official}, "
        f"launches {forward} and {len(counts) - forward}"
    )
    assert alive.peak <= 1e6 * official
