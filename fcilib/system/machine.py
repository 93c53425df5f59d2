"""What computer this is, in words that do not say whose."""

from __future__ import annotations

import os
import platform
from datetime import UTC, datetime
from importlib.metadata import PackageNotFoundError, version
from pathlib import Path
from typing import Any


def cores() -> int:
    """Cores this process may use."""
    return len(os.sched_getaffinity(0)) if hasattr(os, "sched_getaffinity") else os.cpu_count() or 1


def processor() -> str:
    """The processor's model name, as the system tells it."""
    try:
        for line in Path("/proc/cpuinfo").read_text(encoding="utf-8").splitlines():
            if line.startswith("model name"):
                return line.partition(":")[2].strip()
    except OSError:
        pass
    return platform.processor() or platform.machine()


def provenance() -> dict[str, Any]:
    """Where, when (UTC, to the second) and with what a record is made; fields of every record."""
    return {
        "device": f"cpu: {processor()}",
        "finished": datetime.now(UTC).strftime("%Y-%m-%dT%H:%M:%SZ"),
        "versions": {
            "python": platform.python_version(),
            **{name: _version(name) for name in ("fcilib", "torch", "numpy", "numba")},
        },
    }


def _version(package: str) -> str:
    """Of an installed package; a source tree on the path is none, and what it makes says so."""
    try:
        return version(package)
    except PackageNotFoundError:
        return "not installed"
