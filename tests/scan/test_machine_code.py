"""The kernels' object files: found again, not trusted blindly, and not needed."""

import os
import subprocess
import sys

import pytest
import torch

from fcilib.scan.cpu import machine_code
from fcilib.scan.cpu.machine_code import Kernel


@pytest.fixture
def folder(tmp_path, monkeypatch):
    monkeypatch.setenv("NUMBA_CACHE_DIR", str(tmp_path))
    return tmp_path


def adds_up(kernel):
    parts = torch.arange(210.0).view(3, 70)
    total = torch.full((71,), -1.0)
    kernel(parts.data_ptr(), 3, parts.stride(0), 70, total.data_ptr())
    return torch.equal(total[:70], parts.sum(0)) and total[70] == -1  # no byte beyond the end


def add_up():
    return Kernel("sum_kernels", "add_up")


def forbid_compiling(monkeypatch):
    monkeypatch.setattr(Kernel, "_compile", lambda self: pytest.fail("compiled again"))


def test_machine_code_is_kept_and_found_again(folder, monkeypatch):
    assert adds_up(add_up())
    (file,) = folder.iterdir()
    assert file.name.startswith("add_up-")
    forbid_compiling(monkeypatch)
    assert adds_up(add_up())


@pytest.mark.parametrize(
    "damage", [lambda code: code[:-1], lambda code: b"", lambda code: code + b"\0"]
)
def test_a_damaged_file_is_replaced(folder, damage, monkeypatch):
    assert adds_up(add_up())
    (file,) = folder.iterdir()
    file.write_bytes(damage(file.read_bytes()))
    assert adds_up(add_up())
    forbid_compiling(monkeypatch)
    assert adds_up(add_up())


def test_another_processor_or_version_has_files_of_its_own(folder, monkeypatch):
    assert adds_up(add_up())
    monkeypatch.setattr(machine_code, "version", lambda package: "another")
    machine_code._fingerprint.cache_clear()
    try:
        assert adds_up(add_up())
    finally:
        machine_code._fingerprint.cache_clear()
    assert len(list(folder.iterdir())) == 2


def test_nothing_needs_to_be_writable(folder, monkeypatch):
    (folder / "file").touch()
    monkeypatch.setenv("NUMBA_CACHE_DIR", str(folder / "file" / "below"))
    assert adds_up(add_up())


def test_a_process_that_finds_machine_code_does_not_import_numba(folder):
    command = """
import sys, torch
from fcilib.scan import causal_conv_silu, selective_scan
u, B = torch.randn(2, 9, 70, requires_grad=True), torch.randn(2, 9, 3)
y = causal_conv_silu(u, torch.randn(70, 4))
selective_scan(y, u.abs(), -torch.ones(70, 3), B, B).sum().backward()
print("numba" in sys.modules)
"""

    def run():
        return subprocess.run(
            [sys.executable, "-c", command],
            env=os.environ,
            check=True,
            capture_output=True,
            text=True,
        ).stdout.strip()

    assert [run(), run()] == ["True", "False"]
