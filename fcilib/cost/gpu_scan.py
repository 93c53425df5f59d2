"""Times of the scan's back ends on a GPU, at the shapes that matter there.

    python -m fcilib.cost.gpu_scan [DEVICE]

prints a line of JSON for each back end, shape and dtype: milliseconds forward without gradients and
forward with backward, each the median of a second of calls, and the most memory that the latter
holds above its inputs. On `cpu`, where the shapes would take hours, they are small, to try it out.
What was printed on a card is kept in `records/gpu/scan.jsonl`, beside the official kernel's times.
"""

from __future__ import annotations

import json
import sys
from collections.abc import Callable, Iterator
from typing import Any

import torch
from torch.utils.benchmark import Timer

from fcilib.scan import selective_scan
from fcilib.scan.dispatch import installed
from fcilib.storage.places import default_records
from fcilib.system.device import device_here

SHAPES = {
    "cuda": (
        (8, 2048, 1536, 16),
        (8, 512, 1536, 16),
        (1, 8192, 1536, 16),
        (64, 512, 512, 16),
        (2, 65536, 256, 16),
        (64, 128, 256, 64),
    ),
    "cpu": ((2, 64, 32, 16), (1, 32, 16, 4)),
}
"""B, L, d and N, by kind of device."""

OURS = "ours"
BEFORE = "ours, before spans"
"""The version that walked a long sequence in one piece, and kept more for the way back."""
OFFICIAL = "state-spaces/mamba 2.3.2"

BACKENDS = {"cuda": ("triton", "mamba_ssm"), "cpu": ("numba", "torch")}

SECONDS = {"cuda": 1.0, "cpu": 0.05}
"""Of calls that a median is over."""


def recorded() -> list[dict[str, Any]]:
    """Rows from cards, each with the `scan` that was timed and its `device`; none where no file is.

    The scan is `OURS`, `BEFORE` or `OFFICIAL`. Of the version before, `replayed` are the
    milliseconds of forward and backward as one CUDA graph.
    """
    path = default_records() / "gpu" / "scan.jsonl"
    if not path.exists():
        return []
    return [json.loads(line) for line in path.read_text(encoding="utf-8").splitlines()]


def inputs(shape: tuple[int, int, int, int], dtype: torch.dtype, device: str) -> dict[str, Any]:
    """Random arguments of a scan as Mamba calls it, all of which want a gradient."""
    batch, length, width, states = shape
    rng = torch.Generator().manual_seed(0)

    def normal(*size: int, dtype: torch.dtype = dtype) -> torch.Tensor:
        return torch.randn(*size, generator=rng).to(device, dtype)

    wide, narrow = (batch, length, width), (batch, length, states)
    whole: dict[str, Any] = {"dtype": torch.float32}
    tensors = {
        "u": normal(*wide),
        "delta": normal(*wide),
        "A": -normal(width, states, **whole).exp(),
    }
    tensors |= {"B": normal(*narrow), "C": normal(*narrow), "z": normal(*wide)}
    tensors |= {"D": normal(width, **whole), "delta_bias": normal(width, **whole)}
    return {name: tensor.requires_grad_() for name, tensor in tensors.items()}


def measured(device: str) -> Iterator[dict[str, Any]]:
    """A row for each back end that is installed, shape and dtype; one that fails says why."""
    kind = device.partition(":")[0]
    for shape in SHAPES[kind]:
        for dtype in (torch.float32, torch.bfloat16):
            tensors = inputs(shape, dtype, device)
            for backend in filter(installed, BACKENDS[kind]):
                row = {"backend": backend, "shape": shape, "dtype": str(dtype).rpartition(".")[2]}
                try:
                    yield row | _times(tensors, backend, device)
                except Exception as error:  # the other rows are worth having
                    yield row | {"error": f"{type(error).__name__}: {error}"}


def _times(tensors: dict[str, Any], backend: str, device: str) -> dict[str, float]:
    def forward() -> torch.Tensor:
        y = selective_scan(**tensors, delta_softplus=True, backend=backend)
        assert isinstance(y, torch.Tensor)
        return y

    def alone() -> None:
        with torch.no_grad():
            forward()

    def both() -> None:
        torch.autograd.grad(forward().float().sum(), list(tensors.values()))

    times = {
        name: _milliseconds(call, device) for name, call in (("forward", alone), ("both", both))
    }
    if device.startswith("cuda"):
        torch.cuda.reset_peak_memory_stats(device)
        before = torch.cuda.memory_allocated(device)
        both()
        times["megabytes"] = (torch.cuda.max_memory_allocated(device) - before) / 1e6
    return {name: round(value, 3) for name, value in times.items()}


def _milliseconds(call: Callable[[], None], device: str) -> float:
    timer = Timer("call()", globals={"call": call}, num_threads=torch.get_num_threads())
    seconds = SECONDS[device.partition(":")[0]]
    return 1000 * timer.blocked_autorange(min_run_time=seconds).median


if __name__ == "__main__":
    for line in measured(device_here(sys.argv[1] if len(sys.argv) > 1 else "auto")):
        print(json.dumps(line), flush=True)
