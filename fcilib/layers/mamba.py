"""The Mamba block: the recurrent layer of the Flow backbone.

| name here | symbol | shape |
| --- | --- | --- |
| `width` | D, the model's width | |
| `inner` | E D, the expanded width (`expand` = E) | |
| `state` | N | |
| `dt_rank` | R, rank of the step-size projection | |
| `A_log` | log(-A) | `(inner, N)` |
| `D` | skip weight | `(inner,)` |
"""

from __future__ import annotations

import math
from typing import Literal

import torch
from torch import Tensor, nn
from torch.nn import functional as F

from fcilib.scan import causal_conv_silu, selective_scan

# The range the step sizes start in (Gu and Dao, 2023, section 3.6).
STEP_MIN, STEP_MAX, STEP_FLOOR = 1e-3, 1e-1, 1e-4


class MambaBlock(nn.Module):
    """Selective state space layer, `(B, L, width)` to `(B, L, width)`; no norm, no residual.

    Names and layouts of the parameters are those of `MambaMixer` in transformers, so either
    loads the other's state dict. Layer and initial values: Gu and Dao, 2023 (arXiv:2312.00752),
    figure 3 and section 3.6.

    Args:
        width: model width.
        state: state size N.
        conv: taps of the depthwise convolution.
        expand: inner width as a multiple of `width`.
        dt_rank: rank of the step-size projection; "auto" is `ceil(width / 16)`.
        reverse: read from right to left: convolution and scan both look only at what comes after.
            Equal to `flip(block(flip(x)))` without the flips.
        scan: False leaves the recurrence out, and its parameters with it. What is left is a short
            convolution with a gate, which sees the last `conv` tokens and no others.

    Raises:
        ValueError: a size that is not a positive integer.
    """

    def __init__(
        self,
        width: int,
        state: int = 16,
        conv: int = 4,
        expand: int = 2,
        dt_rank: int | Literal["auto"] = "auto",
        reverse: bool = False,
        scan: bool = True,
    ) -> None:
        super().__init__()
        sizes = {"width": width, "state": state, "conv": conv, "expand": expand}
        if dt_rank != "auto":
            sizes["dt_rank"] = dt_rank
        for name, size in sizes.items():
            if not isinstance(size, int) or size < 1:
                raise ValueError(f"{name} must be a positive integer, got {size!r}")
        rank = math.ceil(width / 16) if dt_rank == "auto" else dt_rank
        inner = expand * width
        self.state, self.dt_rank, self.reverse, self.scan = state, rank, reverse, scan
        self.in_proj = nn.Linear(width, 2 * inner, bias=False)
        self.conv1d = nn.Conv1d(inner, inner, conv, groups=inner, padding=conv - 1)
        if scan:
            self.x_proj = nn.Linear(inner, rank + 2 * state, bias=False)
            self.dt_proj = nn.Linear(rank, inner)
            self.A_log = nn.Parameter(torch.empty(inner, state))
            self.D = nn.Parameter(torch.empty(inner))
        self.out_proj = nn.Linear(inner, width, bias=False)
        if scan:
            self.reset_scan_parameters()

    @torch.no_grad()
    def reset_scan_parameters(self) -> None:
        """S4D-real `A = -(1, ..., N)`, `D = 1`, step sizes log-uniform in [1e-3, 1e-1]."""
        inner, state = self.A_log.shape
        self.A_log.copy_(torch.arange(1, state + 1).log().expand(inner, state))
        self.D.fill_(1.0)
        self.dt_proj.weight.uniform_(-(self.dt_rank**-0.5), self.dt_rank**-0.5)
        low, high = math.log(STEP_MIN), math.log(STEP_MAX)
        step = torch.exp(low + (high - low) * torch.rand(inner)).clamp(min=STEP_FLOOR)
        # softplus(bias) = step
        self.dt_proj.bias.copy_(step + torch.log(-torch.expm1(-step)))

    def forward(self, x: Tensor, mask: Tensor | None = None) -> Tensor:
        """`(B, L, width)` to `(B, L, width)`; what `mask`, `(B, L)`, has zeros for is no input."""
        if mask is not None:
            x = x * mask[:, :, None].to(x.dtype)
        u, z = self.in_proj(x).chunk(2, dim=-1)  # each (B, L, inner)
        taps, bias = self.conv1d.weight[:, 0], self.conv1d.bias
        u = causal_conv_silu(u, taps, bias, reverse=self.reverse)
        if mask is not None:  # the convolution has carried its bias and what came before there
            u = u * mask[:, :, None].to(u.dtype)
        if not self.scan:
            return self.out_proj(u * F.silu(z))
        delta, B, C = self.x_proj(u).split([self.dt_rank, self.state, self.state], dim=-1)
        y = selective_scan(
            u,
            F.linear(delta, self.dt_proj.weight),  # its bias is added inside the scan
            -torch.exp(self.A_log),
            B,
            C,
            self.D,
            z,
            self.dt_proj.bias,
            delta_softplus=True,
            reverse=self.reverse,
        )
        return self.out_proj(y)
