"""How long the compiled kernels keep their first caller waiting, with and without a cache."""

from __future__ import annotations

import json
import os
import subprocess
import sys
import tempfile

_CHILD = """
import json, time
import torch
marks = [time.perf_counter()]
import numba
marks.append(time.perf_counter())
import fcilib.scan.cpu.scan
from fcilib.scan import selective_scan
marks.append(time.perf_counter())
u, B = torch.randn(1, 4, 8, requires_grad=True), torch.randn(1, 4, 4)
for _ in range(2):
    selective_scan(u, u.abs(), -torch.ones(8, 4), B, B, backend="numba").sum().backward()
    marks.append(time.perf_counter())
names = ("numba", "module", "first", "second")
print(json.dumps(dict(zip(names, (b - a for a, b in zip(marks, marks[1:]))))))
"""


def measure_start() -> dict[str, dict[str, float]]:
    """Seconds in two fresh processes, `"cold"` (nothing compiled before) and `"warm"`.

    `numba` and `module`: the imports; `first` and `second`: a small scan, forward and backward.
    The JIT's share is `first` less `second`.

    Raises:
        subprocess.CalledProcessError: a process failed; its message is on stderr.
    """
    with tempfile.TemporaryDirectory() as cache:
        environment = {**os.environ, "NUMBA_CACHE_DIR": cache}
        command = [sys.executable, "-c", _CHILD]
        return {
            state: json.loads(subprocess.check_output(command, env=environment, text=True))
            for state in ("cold", "warm")
        }
