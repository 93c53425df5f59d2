"""Several processes on one GPU: how many it has room for, and NVIDIA's MPS for them.

Without MPS a GPU gives its time to one process after another; with it, their kernels run side by
side.
"""

from __future__ import annotations

import os
import shutil
import subprocess
import tempfile
from collections.abc import Iterator
from contextlib import contextmanager

import torch

from fcilib.system.machine import cores

CONTROL = "nvidia-cuda-mps-control"

RUN_BYTES = 4 * 2**30
"""What a process takes of a GPU's memory: the largest run that is recorded takes 3.0 GiB, and the
CUDA context comes on top."""

MPS_SECONDS = 30.0
"""Seconds that MPS has to start or to end."""


def places(device: str) -> int:
    """How many runs at a time the device has room for: at least one."""
    if device == "cpu":
        return cores()
    memory = torch.cuda.get_device_properties(device).total_memory
    return max(1, min(cores(), memory // RUN_BYTES))


@contextmanager
def shared(device: str) -> Iterator[bool]:
    """Have MPS serve the processes that are started within the block; gives whether it does.

    One that somebody else has started is used, and left running. It is stopped at the end
    otherwise. Where there is none, or it does not start, processes take turns.
    """
    folder = "CUDA_MPS_PIPE_DIRECTORY"
    if device == "cpu" or folder in os.environ or shutil.which(CONTROL) is None:
        yield device != "cpu" and folder in os.environ
        return
    with tempfile.TemporaryDirectory(prefix="fci-mps-", ignore_cleanup_errors=True) as made:
        own = {folder: made, "CUDA_MPS_LOG_DIRECTORY": made}
        os.environ |= own
        try:
            started = _control("-d")
            if not started:
                for name in own:
                    del os.environ[name]
            yield started
        finally:
            if folder in os.environ:
                _control(told="quit -t 5\n")
                for name in own:
                    os.environ.pop(name, None)


def _control(*arguments: str, told: str = "") -> bool:
    """Whether the control program did what it was called for."""
    try:
        done = subprocess.run(
            [CONTROL, *arguments],
            input=told,
            text=True,
            stdout=subprocess.DEVNULL,
            stderr=subprocess.DEVNULL,
            timeout=MPS_SECONDS,
        )
    except (OSError, subprocess.TimeoutExpired):
        return False
    return done.returncode == 0
