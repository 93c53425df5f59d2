"""From tensors to the kernels: addresses, memory, sums in a fixed order, threads."""

from __future__ import annotations

import os
from collections.abc import Callable
from concurrent.futures import ThreadPoolExecutor

import torch
from torch import Tensor

from fcilib.scan.cpu.layout import FLOAT
from fcilib.scan.cpu.machine_code import Kernel

# Ranges handed out per thread: enough that one slow core does not hold up the rest.
_RANGES_PER_THREAD = 4
_add_up = Kernel("sum_kernels", "add_up")
_pools: dict[tuple[int, int], ThreadPoolExecutor] = {}


def empty(*shape: int) -> Tensor:
    """Memory to be written in full; a function of its own so that tests can fill it with NaN."""
    return torch.empty(shape)


def single(tensor: Tensor | None) -> Tensor | None:
    """In float32; outside the autograd function, so that the gradient is narrowed again."""
    return tensor if tensor is None or tensor.dtype is torch.float32 else tensor.float()


def dense(tensor: Tensor | None) -> Tensor | None:
    """Batch and step may have any stride (slices of one projection do); a row must be dense."""
    return tensor if tensor is None or tensor.stride(-1) == 1 else tensor.contiguous()


def address(tensor: Tensor | None) -> int:
    """0 is "not given"."""
    return 0 if tensor is None else tensor.data_ptr()


def rows(tensor: Tensor | None, reverse: bool) -> tuple[int, int, int]:
    """Address of the first row taken, batch stride, step stride (negative in reverse)."""
    if tensor is None:
        return 0, 0, 0
    batch, step, _ = tensor.stride()
    if not reverse:
        return tensor.data_ptr(), batch, step
    return tensor.data_ptr() + FLOAT * step * (tensor.shape[1] - 1), batch, -step


def sum_first(parts: Tensor) -> Tensor:
    """Sum over the first axis in a fixed order, whatever the number of threads."""
    if parts.shape[0] == 1:
        return parts[0]
    into = empty(*parts.shape[1:])
    _add_up(parts.data_ptr(), parts.shape[0], parts.stride(0), into.numel(), into.data_ptr())
    return into


def spread_over_threads(loop: Kernel, tasks: int, floats: int, arguments: tuple) -> None:
    """Call `loop(first, last, *arguments, workspace)` until all tasks are done."""
    threads = min(torch.get_num_threads(), tasks)
    if threads == 1:
        work = empty(floats)
        loop(0, tasks, *arguments, work.data_ptr())
        return
    ranges = min(tasks, threads * _RANGES_PER_THREAD)
    bounds = [tasks * k // ranges for k in range(ranges + 1)]
    work = empty(ranges, floats)
    # Arguments are converted here: in the threads each would hold up the others (GIL).
    calls = [
        loop.bind(bounds[k], bounds[k + 1], *arguments, work[k].data_ptr()) for k in range(ranges)
    ]
    # list() so that what a worker raises is raised here
    list(_pool(threads).map(_make, calls))


def _make(call: Callable[[], None]) -> None:
    call()


def _pool(threads: int) -> ThreadPoolExecutor:
    """One pool per size and process: threads do not survive a fork."""
    key = os.getpid(), threads
    if key not in _pools:
        _pools[key] = ThreadPoolExecutor(threads, thread_name_prefix="fcilib-scan")
    return _pools[key]
