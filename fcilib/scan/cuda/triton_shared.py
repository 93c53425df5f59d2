"""What the scan and the convolution in Triton share."""

from __future__ import annotations

from contextlib import nullcontext

import torch
import triton
import triton.language as tl
from torch import Tensor

from fcilib.scan.backend import in_memory

_DTYPES = (torch.float32, torch.bfloat16, torch.float16)
# Sizes that differ from call to call and are no use to the compiler as constants.
SIZES = ["length", "places", "spans", "span", "blocks", "chunks"]
SIZES += ["segments", "first", "groups", "share"]


@triton.jit
def sigmoid(x):
    """In a kernel: 1 / (1 + exp(-x))."""
    return 1.0 / (1.0 + tl.exp(-x))


@triton.jit
def load(at, mask):
    """In a kernel: numbers from memory in float32; zeros outside of the mask."""
    return tl.load(at, mask=mask, other=0.0).to(tl.float32)


# Under TRITON_INTERPRET=1 at import, the kernels are Python and take tensors of the CPU.
INTERPRETED = not isinstance(load, triton.JITFunction)


def supports(tensor: Tensor) -> bool:
    """float32 and narrower on a GPU, and on the CPU if the kernels are interpreted."""
    place = tensor.device.type
    here = place == "cuda" or (place == "cpu" and INTERPRETED)
    return here and tensor.dtype in _DTYPES and in_memory(tensor)


def empty(shape: tuple[int, ...], like: Tensor, dtype: torch.dtype = torch.float32) -> Tensor:
    """Memory to be written in full; a function of its own so that tests can fill it with NaN."""
    return torch.empty(shape, dtype=dtype, device=like.device)


def rows(tensor: Tensor | None, reverse: bool) -> tuple:
    """`(B, L, -)` from the first row taken, and its strides; in reverse the last, going back."""
    if tensor is None:
        return strided(None, 3)
    batch, step, last = tensor.stride()
    return (tensor[:, -1:], batch, -step, last) if reverse else (tensor, batch, step, last)


def strided(tensor: Tensor | None, dims: int) -> tuple:
    """The tensor and its strides; None and zeros."""
    return (None, *[0] * dims) if tensor is None else (tensor, *tensor.stride())


def on_device_of(tensor: Tensor):
    """Triton launches on the current device, which need not be the tensor's."""
    return torch.cuda.device(tensor.device) if tensor.is_cuda else nullcontext()
