"""The plain forms of flash-linear-attention, read from their files: importing it needs Triton."""

import importlib.util
from pathlib import Path

import pytest


def naive(name):
    """The module `fla/ops/<name>/naive.py` of fla-core."""
    pytest.importorskip("einops", reason="fla-core's plain forms use it; pip install -e .[oracles]")
    package = importlib.util.find_spec("fla")
    if package is None or not package.submodule_search_locations:
        pytest.skip("fla-core is not installed; pip install -e .[oracles]")
    path = Path(package.submodule_search_locations[0], "ops", name, "naive.py")
    spec = importlib.util.spec_from_file_location("naive", path)
    module = importlib.util.module_from_spec(spec)
    spec.loader.exec_module(module)
    return module


def assert_same(found, expected, tolerance=2e-5):
    """Pairs of tensors are as close as rounding lets two orders of the same sums be."""
    for got, want in zip(found, expected, strict=True):
        scale = max(want.abs().max().item(), 0.1)
        assert (got - want).abs().max() <= tolerance * scale
