"""The two public functions of this room: check the arguments once, then hand over to a back end."""

from __future__ import annotations

from importlib import import_module
from importlib.util import find_spec
from typing import Any, cast

import torch
from torch import Tensor

from fcilib.scan.backend import Backend, ScanInputs, in_memory

# The module of each back end (see `Backend`), imported at its first use: choosing one back end
# never costs the import of another.
BACKENDS: dict[str, str] = {
    "reference": "fcilib.scan.reference",
    "numba": "fcilib.scan.cpu.scan",
    "torch": "fcilib.scan.plain_torch",
    "triton": "fcilib.scan.cuda.triton_scan",
    "mamba_ssm": "fcilib.scan.cuda.mamba_ssm",
}
# What "auto" tries, best first. The last takes anything.
PREFERENCE: tuple[str, ...] = ("numba", "triton", "mamba_ssm", "torch", "reference")
# What a back end stands on beyond the library's own dependencies, and how to get it.
NEEDS: dict[str, tuple[str, str]] = {
    "triton": ("triton", "pip install 'fcilib[cuda]'"),
    "mamba_ssm": (
        "mamba_ssm",
        "pip install 'fcilib[mamba-ssm]', which needs a CUDA device and compiler",
    ),
}


# Their kernels begin with a state of zero.
_STARTS_AT_ZERO = ("mamba_ssm",)


class MissingBackendError(ImportError):
    """A back end was asked for by name, and what it stands on is not installed."""


_DTYPES = (torch.float64, torch.float32, torch.bfloat16, torch.float16)
# How the axes of u may lie, and those of B.
LAYOUTS = {"BLD": ("(B, L, d)", "(B, L, N)"), "BDL": ("(B, d, L)", "(B, N, L)")}


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
    return_last_state: bool = False,
    *,
    initial_state: Tensor | None = None,
    reverse: bool = False,
    layout: str = "BLD",
    backend: str = "auto",
) -> Tensor | tuple[Tensor, Tensor]:
    """Run `h_t = exp(delta_t A) h_{t-1} + delta_t B_t u_t`, `y_t = C_t h_t + D u_t` along L.

    Argument names, order and meaning are those of `selective_scan_fn` of state-spaces/mamba (Gu and
    Dao, 2023, algorithm 2), with one difference: theirs are `(B, d, L)` and `(B, N, L)`, which is
    `layout="BDL"` here; by default rows have the layout of the rest of the library. Where L, d and
    N are equal, shapes cannot tell the two layouts apart.

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
        initial_state: the state before the first step taken, `(B, d, N)`; zero if not given. The
            last state of one chunk of a sequence is the initial state of the next.
        reverse: run from the last position to the first.
        layout: "BLD", or "BDL" for u, delta, z and the result as `(B, d, L)` and B and C as
            `(B, N, L)` or `(B, 1, N, L)`.
        backend: a name in `BACKENDS`, or "auto" for the best one that takes these tensors.

    Returns:
        As `u`, in its shape and dtype. States are float32 (float64 if one of the tensors is).

    Raises:
        ValueError: a shape, dtype, device, layout or back end that does not fit, named.
        MissingBackendError: the back end is not installed; says what to install.
        NotImplementedError: on the way back, a second derivative from any back end but
            `reference`.
    """
    if layout not in LAYOUTS:
        raise ValueError(f"layout must be one of {', '.join(LAYOUTS)}, got {layout!r}")
    transposed = layout == "BDL"
    _check("u", u, None, 3, u)
    _check("A", A, None, 2, u)
    width, states = A.shape
    B, C = (_shared_by_channels(name, map_, layout) for name, map_ in (("B", B), ("C", C)))
    for name, rows, size in (("u", u, width), ("B", B, states), ("C", C, states)):
        own, other = (1, 2) if transposed else (2, 1)
        if isinstance(rows, Tensor) and rows.ndim == 3:
            if rows.shape[own] != size == rows.shape[other]:
                raise ValueError(
                    f"{name} must be {LAYOUTS[layout][name != 'u']}, got shape "
                    f"{tuple(rows.shape)}, which looks transposed: transpose it, or pass "
                    f"layout={'BLD' if transposed else 'BDL'!r} where u, delta, z, B and C are"
                )
    batch, length = u.shape[0], u.shape[2 if transposed else 1]

    def arranged(channels: int) -> tuple[int, ...]:
        return (batch, channels, length) if transposed else (batch, length, channels)

    for name, tensor, shape in (
        ("delta", delta, arranged(u.shape[1 if transposed else 2])),
        ("A", A, (u.shape[1 if transposed else 2], None)),
        ("B", B, arranged(states)),
        ("C", C, arranged(states)),
        ("D", D, (width,)),
        ("z", z, arranged(width)),
        ("delta_bias", delta_bias, (width,)),
        ("initial_state", initial_state, (batch, width, states)),
    ):
        if tensor is not None or name in ("delta", "B", "C"):
            _check(name, tensor, shape, len(shape), u)
    if transposed:
        u, delta, z, B, C = (t if t is None else t.transpose(1, 2) for t in (u, delta, z, B, C))  # type: ignore[assignment]
    tensors = _resolved(u, delta, A, B, C, D, z, delta_bias, initial_state)
    module = _choose(
        backend, *tensors, without=_STARTS_AT_ZERO if initial_state is not None else ()
    )
    inputs = ScanInputs._make([*tensors, bool(delta_softplus), bool(reverse)])
    y, last = module.selective_scan(inputs, bool(return_last_state))
    y = y.transpose(1, 2) if transposed else y
    return y if last is None or not return_last_state else (y, last)


def causal_conv_silu(
    x: Tensor,
    weight: Tensor,
    bias: Tensor | None = None,
    *,
    initial_state: Tensor | None = None,
    reverse: bool = False,
    backend: str = "auto",
) -> Tensor:
    """Convolve each channel with its own causal filter, then SiLU.

    Args:
        x: `(B, L, d)`.
        weight: `(d, K)`; the last tap meets the present position, as in `torch.nn.Conv1d`.
        bias: `(d,)`.
        initial_state: the K - 1 inputs before the first, `(B, K - 1, d)`, or with `reverse` those
            after the last, in the order of their positions; zero if not given.
        reverse: look at the K - 1 positions after the present one instead of those before.
        backend: as in `selective_scan`.

    Returns:
        `(B, L, d)` in the dtype of `x`.

    Raises:
        ValueError: a shape, dtype, device or back end that does not fit, named.
        MissingBackendError: the back end is not installed; says what to install.
        NotImplementedError: as in `selective_scan`.
    """
    _check("x", x, None, 3, x)
    batch, length, width = x.shape
    _check("weight", weight, (width, None), 2, x)
    if bias is not None:
        _check("bias", bias, (width,), 1, x)
    past = weight.shape[1] - 1
    context = x
    if initial_state is not None and past > 0:
        _check("initial_state", initial_state, (batch, past, width), 3, x)
        seen = initial_state.to(x.dtype)
        context = torch.cat([x, seen] if reverse else [seen, x], dim=1)
    context, weight, bias = _resolved(context, weight, bias)
    y = _choose(backend, context, weight, bias).causal_conv_silu(context, weight, bias, reverse)
    return y if context is x else y[:, :length] if reverse else y[:, past:]


def _check(
    name: str, tensor: object, shape: tuple[int | None, ...] | None, dims: int, like: Tensor
) -> None:
    if not isinstance(tensor, Tensor):
        raise ValueError(f"{name} must be a tensor, got {type(tensor).__name__}")
    if tensor.layout != torch.strided or tensor.is_nested:
        raise ValueError(f"{name} must be dense: neither sparse nor nested")
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


def _shared_by_channels(name: str, map_: Tensor, layout: str) -> Tensor:
    """B or C without the axis of groups, which the official function allows."""
    if not isinstance(map_, Tensor) or map_.ndim == 3:
        return map_
    if layout == "BDL" and map_.ndim == 4 and map_.shape[1] == 1:
        return map_[:, 0]
    raise ValueError(
        f"{name} must be {LAYOUTS[layout][1]}, one map for all channels, got shape "
        f"{tuple(map_.shape)}: constant maps and groups of channels are not supported"
    )


def _resolved(*tensors: Tensor | None) -> list[Any]:
    """Without the negations that a view may owe: kernels read what lies in memory."""
    return [tensor if tensor is None else tensor.resolve_neg() for tensor in tensors]


def installed(backend: str) -> bool:
    """Whether what the back end stands on can be imported."""
    return backend not in NEEDS or find_spec(NEEDS[backend][0]) is not None


def _choose(backend: str, *tensors: Tensor | None, without: tuple[str, ...] = ()) -> Backend:
    """The module of the back end: the one named, or the first that takes all these tensors."""
    present = [tensor for tensor in tensors if tensor is not None]
    if backend == "auto":
        for name in PREFERENCE:
            if name in without or (name in NEEDS and not present[0].is_cuda):
                continue  # the latter take CUDA tensors only
            if installed(name):
                module = _module(name)
                if all(module.supports(tensor) for tensor in present):
                    return module
    if backend not in BACKENDS:
        raise ValueError(f"backend must be one of auto, {', '.join(BACKENDS)}, got {backend!r}")
    if backend in without:
        raise ValueError(
            f"backend {backend!r} takes no initial_state: use 'triton', 'torch' or 'auto'"
        )
    if not installed(backend):
        package, remedy = NEEDS[backend]
        raise MissingBackendError(
            f"backend {backend!r} needs {package}, which is not installed: {remedy}", name=package
        )
    module = _module(backend)
    for tensor in present:
        if not module.supports(tensor):
            owed = "" if in_memory(tensor) else ", traced, transformed or not in memory: use 'auto'"
            raise ValueError(
                f"backend {backend!r} does not take {tensor.dtype} on {tensor.device.type}{owed}"
            )
    return module


def _module(name: str) -> Backend:
    return cast(Backend, import_module(BACKENDS[name]))
