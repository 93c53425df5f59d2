"""Tasks of a loop, shared out among threads."""

from __future__ import annotations

import os
from collections.abc import Callable
from concurrent.futures import ThreadPoolExecutor

import torch

from fcilib.scan.cpu.tensors import empty

# Ranges handed out per thread: enough that one slow core does not hold up the rest.
_RANGES_PER_THREAD = 4
_pools: dict[tuple[int, int], ThreadPoolExecutor] = {}


def spread_over_threads(
    loop: Callable[..., None], tasks: int, floats: int, arguments: tuple
) -> None:
    """Call `loop(first, last, *arguments, workspace)` until all tasks are done."""
    threads = min(torch.get_num_threads(), tasks)
    if threads == 1:
        work = empty(floats)
        loop(0, tasks, *arguments, work.data_ptr())
        return
    ranges = min(tasks, threads * _RANGES_PER_THREAD)
    bounds = [tasks * k // ranges for k in range(ranges + 1)]
    work = empty(ranges, floats)

    def run(k: int) -> None:
        loop(bounds[k], bounds[k + 1], *arguments, work[k].data_ptr())

    # list() so that what a worker raises is raised here
    list(_pool(threads).map(run, range(ranges)))


def _pool(threads: int) -> ThreadPoolExecutor:
    """One pool per size and process: threads do not survive a fork."""
    key = os.getpid(), threads
    if key not in _pools:
        _pools[key] = ThreadPoolExecutor(threads, thread_name_prefix="fcilib-scan")
    return _pools[key]
