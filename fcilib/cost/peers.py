"""The same work as others do it: what our scan and block are held against."""

from __future__ import annotations

from collections.abc import Callable
from importlib.util import find_spec
from types import SimpleNamespace

import torch
from torch import Tensor, nn
from torch.nn import functional as F

from fcilib.layers.mamba import MambaBlock
from fcilib.scan import MissingBackendError, selective_scan
from fcilib.scan.dispatch import BACKENDS, installed

SCANS = ("slicing", "mambapy", *BACKENDS)
"""Back ends of `fcilib.scan`; a loop that slices; mambapy's parallel scan."""

GPU_ONLY = ("triton", "mamba_ssm")
"""Of these, what a bench on the CPU leaves out, installed or not."""

BLOCKS = ("fcilib", "mambapy", "transformers")


def available(name: str) -> bool:
    """Whether what a name in `SCANS` or `BLOCKS` stands on is installed."""
    if name in BACKENDS:
        return installed(name)
    return name in ("slicing", "fcilib") or find_spec(name) is not None


def require(name: str) -> None:
    """Raises MissingBackendError where the peer is not installed."""
    if not available(name):
        raise MissingBackendError(f"{name} is not installed: pip install 'fcilib[test]'")


def scan(name: str) -> Callable[..., Tensor]:
    """Takes what `fcilib.scan.selective_scan` takes, softplus on."""
    if name == "slicing":
        return _slicing
    if name == "mambapy":
        require(name)
        return _mambapy
    return lambda *inputs: selective_scan(*inputs, delta_softplus=True, backend=name)  # type: ignore


def block(name: str, width: int, state: int) -> nn.Module:
    """A Mamba block, `(B, L, width)` to `(B, L, width)`; expansion 2, convolution of 4 taps."""
    require(name)
    if name == "fcilib":
        return MambaBlock(width, state)
    if name == "mambapy":
        from mambapy.mamba import MambaBlock as MambapyBlock
        from mambapy.mamba import MambaConfig

        return MambapyBlock(MambaConfig(d_model=width, n_layers=1, d_state=state))
    from transformers import MambaConfig, MambaModel

    config = MambaConfig(
        vocab_size=2, hidden_size=width, num_hidden_layers=1, state_size=state, expand=2
    )
    return MambaModel(config).layers[0].mixer  # type: ignore[return-value]


def _slicing(
    u: Tensor, delta: Tensor, A: Tensor, B: Tensor, C: Tensor, D: Tensor, z: Tensor, bias: Tensor
) -> Tensor:
    """The loop as one first writes it: `[:, t]` at each step, whose gradient is `(B, L, d)`."""
    delta = F.softplus(delta + bias)
    h = u.new_zeros(u.shape[0], u.shape[2], A.shape[1])
    ys = []
    for t in range(u.shape[1]):
        decay = torch.exp(delta[:, t, :, None] * A)
        h = decay * h + (delta[:, t] * u[:, t])[:, :, None] * B[:, t, None, :]
        ys.append((h * C[:, t, None, :]).sum(-1))
    return (torch.stack(ys, dim=1) + D * u) * F.silu(z)


def _mambapy(
    u: Tensor, delta: Tensor, A: Tensor, B: Tensor, C: Tensor, D: Tensor, z: Tensor, bias: Tensor
) -> Tensor:
    """Its scan, which is a method of its block, with the bias and the gate that are not in it."""
    from mambapy.mamba import MambaBlock as MambapyBlock

    delta = F.softplus(delta + bias)
    y = MambapyBlock.selective_scan(SimpleNamespace(), u, delta, A, B, C, D)
    return y * F.silu(z)
