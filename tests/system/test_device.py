"""Names of devices, and which of them this machine has."""

import pytest
import torch

from fcilib.system.device import check_device, device_here


@pytest.mark.parametrize("text", ["auto", "cpu", "cuda", "cuda:0", "cuda:11"])
def test_names(text):
    assert check_device(text) == text


@pytest.mark.parametrize("text", ["", "gpu", "CPU", "cpu:0", "cuda:", "cuda:x", "cuda:-1", "mps"])
def test_what_is_no_name(text):
    with pytest.raises(ValueError, match=r"^device: .* is none of auto, cpu, cuda, cuda:N$"):
        device_here(text)


@pytest.mark.parametrize(
    ("gpus", "text", "device"),
    [(0, "auto", "cpu"), (0, "cpu", "cpu"), (2, "auto", "cuda"), (2, "cuda:1", "cuda:1")],
)
def test_a_device_of_this_machine(monkeypatch, gpus, text, device):
    monkeypatch.setattr(torch.cuda, "is_available", lambda: gpus > 0)
    monkeypatch.setattr(torch.cuda, "device_count", lambda: gpus)
    assert device_here(text) == device


@pytest.mark.parametrize(
    ("gpus", "text", "said"), [(0, "cuda", "no GPU here"), (2, "cuda:2", "2 GPUs here")]
)
def test_a_gpu_that_is_not_here(monkeypatch, gpus, text, said):
    monkeypatch.setattr(torch.cuda, "is_available", lambda: gpus > 0)
    monkeypatch.setattr(torch.cuda, "device_count", lambda: gpus)
    with pytest.raises(ValueError, match=f"torch sees {said}, so '{text}' can't be used"):
        device_here(text)
