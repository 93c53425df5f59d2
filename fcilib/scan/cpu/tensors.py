"""From tensors to the loops: addresses, memory, sums in a fixed order."""

from __future__ import annotations

from collections.abc import Callable, Sequence

import torch
from torch import Tensor

from fcilib.scan.cpu.lanes import FLOAT, LANES, Rows, compiled, read, write


def blocks_of(width: int) -> int:
    """Blocks of `LANES` channels; the last block may be partly filled."""
    return -(-width // LANES)


def empty(*shape: int) -> Tensor:
    """Memory to be written in full; a function of its own so that tests can fill it with NaN."""
    return torch.empty(shape, dtype=torch.float32, device="cpu")  # whatever the defaults are


def single(tensor: Tensor | None) -> Tensor | None:
    """In float32; outside the autograd function, so that the gradient is narrowed again."""
    return tensor if tensor is None or tensor.dtype is torch.float32 else tensor.float()


def dense(tensor: Tensor | None) -> Tensor | None:
    """Batch and step may have any stride (slices of one projection do); a row must be dense."""
    return tensor if tensor is None or tensor.stride(-1) == 1 else tensor.contiguous()


def address(tensor: Tensor | None) -> int:
    """0 is "not given"."""
    return 0 if tensor is None else tensor.data_ptr()


def rows(tensor: Tensor | None, reverse: bool) -> Rows:
    """Address of the first row taken, batch stride, step stride (negative in reverse)."""
    if tensor is None:
        return 0, 0, 0
    batch, step, _ = tensor.stride()
    if not reverse:
        return tensor.data_ptr(), batch, step
    return tensor.data_ptr() + FLOAT * step * (tensor.shape[1] - 1), batch, -step


def raised(alarm: Tensor) -> bool:
    """Whether a loop met a number that is not finite: its alarms are 0 or NaN, one per task."""
    return alarm.sum().item() != 0.0


def all_finite(*tensors: Tensor | None) -> bool:
    """Whether no number is infinite or NaN; for small tensors, for it reads them once more."""
    return all(tensor is None or bool(tensor.isfinite().all()) for tensor in tensors)


def gradients_by_autograd(
    function: Callable[..., Sequence[Tensor | None]],
    inputs: Sequence[Tensor | None],
    cotangents: Sequence[Tensor | None],
) -> list[Tensor | None]:
    """The gradient of each input, from the function's own operations; None for None.

    Args:
        function: from the inputs to outputs.
        cotangents: one for each output; None where nothing comes back.
    """
    leaves = [t if t is None else t.detach().requires_grad_() for t in inputs]
    with torch.enable_grad():
        outputs = function(*leaves)
    pairs = [pair for pair in zip(outputs, cotangents, strict=True) if pair[1] is not None]
    parts, received = zip(*pairs, strict=True)
    found = iter(torch.autograd.grad(parts, [t for t in leaves if t is not None], received))
    return [t if t is None else next(found) for t in leaves]


def blocked(matrix: Tensor) -> Tensor:
    """`(…, d, N)` as the loops hold it: `(…, blocks, N, LANES)`, zeros in the last lanes."""
    *outer, width, states = matrix.shape
    if missing := -width % LANES:
        matrix = torch.nn.functional.pad(matrix, (0, 0, 0, missing))
    return matrix.reshape(*outer, -1, LANES, states).transpose(-1, -2).contiguous()


def unblocked(blocks: Tensor, width: int) -> Tensor:
    """The inverse: `(…, blocks, N, LANES)` to `(…, d, N)`, contiguous."""
    return blocks.transpose(-1, -2).flatten(-3, -2)[..., :width, :].contiguous()


def sum_first(parts: Tensor) -> Tensor:
    """Sum over the first axis in a fixed order, whatever the number of threads."""
    if parts.shape[0] == 1:
        return parts[0]
    into = empty(*parts.shape[1:])
    add_up(parts.data_ptr(), parts.shape[0], parts.stride(0), into.numel(), into.data_ptr())
    return into


@compiled
def add_up(parts, number, stride, size, into):
    """`into[i] = sum over k of parts[k * stride + i]`, always in the order of k."""
    for i in range(0, size, LANES):
        count = min(LANES, size - i)
        value = read(parts, i, count)
        for k in range(1, number):
            value = value + read(parts, k * stride + i, count)
        write(into, i, value, count)
