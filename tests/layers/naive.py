"""Outside implementations read from their files: importing them needs Triton, or changes torch."""

import __future__

import ast
import importlib.util
import math
from pathlib import Path

import pytest
import torch
from torch import nn
from torch.nn import functional as F


def installed(package, *parts):
    """A file of a package, which is not imported."""
    spec = importlib.util.find_spec(package)
    folders = (spec and spec.submodule_search_locations) or []
    path = next((path for folder in folders if (path := Path(folder, *parts)).exists()), None)
    if path is None:
        pytest.skip(f"{package}/{'/'.join(parts)} is not installed; pip install -e .[oracles]")
    return path


def naive(name):
    """The module `fla/ops/<name>/naive.py` of fla-core."""
    pytest.importorskip("einops", reason="fla-core's plain forms use it; pip install -e .[oracles]")
    path = installed("fla", "ops", name, "naive.py")
    spec = importlib.util.spec_from_file_location("naive", path)
    module = importlib.util.module_from_spec(spec)
    spec.loader.exec_module(module)
    return module


def defined(path, *names, **scope):
    """Classes and functions of a file, undecorated; `scope` stands for what else it imports."""
    einops = pytest.importorskip("einops", reason="pip install -e .[oracles]")
    scope |= {"torch": torch, "nn": nn, "F": F, "math": math, "rearrange": einops.rearrange}
    kinds = ast.ClassDef, ast.FunctionDef
    tree = ast.walk(ast.parse(path.read_text()))
    found = [node for node in tree if isinstance(node, kinds) and node.name in names]
    for node in found:
        node.decorator_list.clear()
    module = ast.Module(found, type_ignores=[])
    exec(compile(module, path, "exec", __future__.annotations.compiler_flag), scope)
    return {name: scope[name] for name in names}


def gradients(y, leaves):
    """The output, and of a weighted sum of it the gradients of the leaves."""
    cotangent = torch.randn(y.shape, generator=torch.Generator().manual_seed(4))
    return [y, *torch.autograd.grad(y, leaves, cotangent)]


def assert_same(found, expected, tolerance=2e-5):
    """Pairs of tensors are as close as rounding lets two orders of the same sums be."""
    for got, want in zip(found, expected, strict=True):
        scale = max(want.abs().max().item(), 0.1)
        assert (got - want).abs().max() <= tolerance * scale
