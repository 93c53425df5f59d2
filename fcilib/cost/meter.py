"""A clock and a scale for one call."""

from __future__ import annotations

import gc
import os
import time
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from dataclasses import dataclass
from typing import Any

from torch.profiler import ProfilerActivity, profile

SHORTEST = 0.02
"""Seconds: shorter calls are repeated and timed together."""


@dataclass(frozen=True)
class Call:
    """One unit of work, ready to go: inputs drawn, modules built."""

    forward: Callable[[], Any]
    backward: Callable[[Any], object] | None = None
    """Takes the result of `forward`; None where nothing is differentiated."""


def seconds(call: Call, number: int = 1) -> tuple[float, float]:
    """Seconds that one forward and one backward pass take, as the mean of `number` in a row."""
    spent = [0.0, 0.0]
    for _ in range(number):
        start = time.perf_counter()
        result = call.forward()
        between = time.perf_counter()
        if call.backward is not None:
            call.backward(result)
        # Freeing the graph is part of what the pass costs.
        del result
        spent[0] += between - start
        spent[1] += time.perf_counter() - between
    return spent[0] / number, spent[1] / number


def repeats(call: Call, once: float) -> int:
    """How many calls in a row make up `SHORTEST`, if the first one took `once` seconds."""
    if once < 10 * SHORTEST:  # the first one may have been slow for reasons of its own
        once = sum(seconds(call))
    return max(1, int(SHORTEST / max(once, 1e-7)))


def first_pass(call: Call) -> tuple[int, float]:
    """What a call holds at its peak, in bytes, and the seconds it took; warms up, too.

    The bytes are the most that tensors held at once, beyond what they held before, read off the
    CPU allocator's own events: the same at every call, whatever else the machine does. What
    libraries take past PyTorch's allocator is not seen.
    """
    start = time.perf_counter()
    with (
        _quiet_stderr(),
        _garbage_left_alone(),
        profile(activities=[ProfilerActivity.CPU], profile_memory=True) as trace,
    ):
        seconds(call)
    events = [e for e in trace.profiler.kineto_results.events() if e.name() == "[memory]"]
    held = peak = 0
    for event in sorted(events, key=lambda event: event.start_ns()):
        held += event.nbytes()
        peak = max(peak, held)
    return peak, time.perf_counter() - start


@contextmanager
def _garbage_left_alone() -> Iterator[None]:
    """Tensors in the reference cycles of earlier calls, freed now, would count against this one."""
    enabled = gc.isenabled()
    gc.collect()
    gc.disable()
    try:
        yield
    finally:
        if enabled:
            gc.enable()


@contextmanager
def _quiet_stderr() -> Iterator[None]:
    """The profiler announces its start and its end from C++, past `sys.stderr`."""
    kept, nowhere = os.dup(2), os.open(os.devnull, os.O_WRONLY)
    try:
        os.dup2(nowhere, 2)
        yield
    finally:
        os.dup2(kept, 2)
        os.close(kept)
        os.close(nowhere)
