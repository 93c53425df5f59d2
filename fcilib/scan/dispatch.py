"""The two public functions of this room: check the arguments once, then hand over to a back end."""

from __future__ import annotations

from importlib import import_module
from importlib.util import find_spec
from typing import cast

import torch
from torch import Tensor

from fcilib.scan.backend import Backend, ScanInputs

# The module of each back end (see `Backend`), imported at its first use: choosing one back end
# never costs the import of another.
BACKENDS: dict[str, str] = {
    "reference": "fcilib.scan.reference",
    "numba": "fcilib.scan.cpu.scan",
    "torch": "fcilib.scan.plain_torch",
    "triton": "fcilib.scan.cuda.triton_scan",
    "mamba_ssm": "fcilib.scan.cuda.mamba_ssm",
}
# What "auto" tries, best first. The last runs anywhere.
PREFERENCE: tuple[str, ...] = ("numba", "triton", "mamba_ssm", "torch")
# What a back end stands on beyond the library's own dependencies, and how to get it.
NEEDS: dict[str, tuple[str, str]] = {
    "triton": ("triton", "pip install 'fcilib[cuda]'"),
    "mamba_ssm": (
        "mamba_ssm",
        "pip install 'fcilib[mamba-ssm]', which needs a CUDA device and compiler",
    ),
}


class MissingBackendError(ImportError):
    """A back end was asked for by name, and what it stands on is not installed."""


_DTYPES = (torch.float64, torch.float32, torch.bfloat16, torch.float16)


def selective_scan(
    u: Tensor,
    delta: Tensor,
    A: Tensor,
    B: Tensor,
    C: Tensor,
    D: Tensor | None = None,
    z: Tensor | None = None,
    delta_bias: Tensor | None = None,
    delta_softplus: bool = False,
    *,
    return_last_state: bool = False,
    reverse: bool = False,
    backend: str = "auto",
) -> Tensor | tuple[Tensor, Tensor]:
    """Run `h_t = exp(delta_t A) h_{t-1} + delta_t B_t u_t`, `y_t = C_t h_t + D u_t` along L.

    Argument names and meaning are those of `selective_scan_fn` of state-spaces/mamba (Gu and Dao,
    2023, algorithm 2), with one difference: theirs are `(B, d, L)` and `(B, N, L)`, ours keep the
    layout of the rest of the library.

    Args:
        u: input, `(B, L, d)`.
        delta: step size, `(B, L, d)`.
        A: real diagonal state matrix, `(d, N)`; negative for a state that decays.
        B: input map, `(B, L, N)`.
        C: output map, `(B, L, N)`.
        D: skip weight, `(d,)`.
        z: gate, `(B, L, d)`; the result is multiplied by `silu(z)`.
        delta_bias: added to `delta`, `(d,)`.
        delta_softplus: pass `delta + delta_bias` through softplus.
        return_last_state: also return the state after the last step taken, `(B, d, N)`.
        reverse: run from the last position to the first.
        backend: a name in `BACKENDS`, or "auto" for the best one that takes these tensors.

    Returns:
        `(B, L, d)` in the dtype of `u`. States are float32 (float64 if `u` is).

    Raises:
        ValueError: a shape, dtype, device or back end that does not fit, named.
        MissingBackendError: the back end is not installed; says what to install.
    """
    _check("u", u, None, 3, u)
    batch, length, width = u.shape
    _check("delta", delta, (batch, length, width), 3, u)
    _check("A", A, (width, None), 2, u)
    states = A.shape[1]
    _check("B", B, (batch, length, states), 3, u)
    _check("C", C, (batch, length, states), 3, u)
    for name, tensor, shape in (
        ("D", D, (width,)),
        ("z", z, (batch, length, width)),
        ("delta_bias", delta_bias, (width,)),
    ):
        if tensor is not None:
            _check(name, tensor, shape, len(shape), u)
    inputs = ScanInputs(u, delta, A, B, C, D, z, delta_bias, delta_softplus, reverse)
    module = _choose(backend, u, delta, A, B, C, D, z, delta_bias)
    y, last = module.selective_scan(inputs, return_last_state)
    return y if last is None or not return_last_state else (y, last)


def causal_conv_silu(
    x: Tensor,
    weight: Tensor,
    bias: Tensor | None = None,
    *,
    reverse: bool = False,
    backend: str = "auto",
) -> Tensor:
    """Convolve each channel with its own causal filter, then SiLU.

    Args:
        x: `(B, L, d)`.
        weight: `(d, K)`; the last tap meets the present position, as in `torch.nn.Conv1d`.
        bias: `(d,)`.
        reverse: look at the K - 1 positions after the present one instead of those before.
        backend: as in `selective_scan`.

    Returns:
        `(B, L, d)` in the dtype of `x`.

    Raises:
        ValueError: a shape, dtype, device or back end that does not fit, named.
        MissingBackendError: the back end is not installed; says what to install.
    """
    _check("x", x, None, 3, x)
    width = x.shape[2]
    _check("weight", weight, (width, None), 2, x)
    if bias is not None:
        _check("bias", bias, (width,), 1, x)
    return _choose(backend, x, weight, bias).causal_conv_silu(x, weight, bias, reverse)


def _check(
    name: str, tensor: object, shape: tuple[int | None, ...] | None, dims: int, like: Tensor
) -> None:
    if not isinstance(tensor, Tensor):
        raise ValueError(f"{name} must be a tensor, got {type(tensor).__name__}")
    if tensor.dtype not in _DTYPES:
        raise ValueError(f"{name} must be real floating point, got {tensor.dtype}")
    actual = tuple(tensor.shape)
    if len(actual) != dims:
        raise ValueError(f"{name} must have {dims} dimensions, got shape {actual}")
    if shape is not None and any(
        want is not None and want != have for want, have in zip(shape, actual, strict=True)
    ):
        wanted = ", ".join("any" if size is None else str(size) for size in shape)
        raise ValueError(f"{name} must have shape ({wanted}), got {actual}")
    if 0 in actual:
        raise ValueError(f"{name} must not be empty, got shape {actual}")
    if tensor.device != like.device:
        raise ValueError(f"{name} must be on {like.device}, got {tensor.device}")


def installed(backend: str) -> bool:
    """Whether what the back end stands on can be imported."""
    return backend not in NEEDS or find_spec(NEEDS[backend][0]) is not None


def _choose(backend: str, *tensors: Tensor | None) -> Backend:
    """The module of the back end: the one named, or the first that takes all these tensors."""
    present = [tensor for tensor in tensors if tensor is not None]
    if backend == "auto":
        for name in PREFERENCE:
            if name in NEEDS and not present[0].is_cuda:
                continue  # nothing to look for: they take CUDA tensors only
            if installed(name):
                module = _module(name)
                if all(module.supports(tensor) for tensor in present):
                    return module
    if backend not in BACKENDS:
        raise ValueError(f"backend must be one of auto, {', '.join(BACKENDS)}, got {backend!r}")
    if not installed(backend):
        package, remedy = NEEDS[backend]
        raise MissingBackendError(
            f"backend {backend!r} needs {package}, which is not installed: {remedy}", name=package
        )
    module = _module(backend)
    for tensor in present:
        if not module.supports(tensor):
            raise ValueError(
                f"backend {backend!r} does not take {tensor.dtype} on {tensor.device.type}"
            )
    return module


def _module(name: str) -> Backend:
    return cast(Backend, import_module(BACKENDS[name]))
