"""The checkpointed scan in plain PyTorch: any device, float32 or float64, nothing to compile.

Same algorithm as the CPU kernels (see README.md): the forward pass keeps one state per chunk, the
backward pass recomputes a chunk's states before it needs them. All that does not depend on the
recurrence is one operation per chunk; only `h = a h + b` and its mirror run step by step, in place.
States are `(B, T, N, d)` for the T steps of a chunk: channels innermost, as in the inputs.
"""

from __future__ import annotations

import math

import torch
import torch.nn.functional as F
from torch import Tensor

from fcilib.scan.backend import ScanInputs, first_derivative, recorded, transformed
from fcilib.scan.reference import causal_conv_silu, widened

__all__ = ["causal_conv_silu", "selective_scan", "supports"]

# Steps per chunk. Fewer: more states are kept. More: the states of a chunk outgrow the caches.
STEPS = 8


def supports(tensor: Tensor) -> bool:
    """Any dtype on any device, but not where torch records or transforms what it does."""
    return not transformed() and not recorded()


def selective_scan(inputs: ScanInputs, want_last: bool) -> tuple[Tensor, Tensor | None]:
    """`(B, L, d)`, and the last state, `(B, d, N)`, or None if it is not wanted."""
    # Widened outside the autograd function, so that each gradient is narrowed again.
    *tensors, delta_softplus, reverse = inputs
    out, last = _Scan.apply(*widened(*tensors), delta_softplus, reverse, want_last)
    return out.to(inputs.u.dtype), last


class _Scan(torch.autograd.Function):
    """One dtype throughout. Keeps its inputs and one state per chunk."""

    @staticmethod
    def forward(
        ctx, u, delta, A, B, C, D, z, delta_bias, initial, use_softplus, reverse, want_last
    ):  # fmt: skip
        batch, length, width = u.shape
        differentiate = any(ctx.needs_input_grad)
        chunks = _chunks(length, reverse)
        kept = u.new_empty(len(chunks) + 1 if differentiate else 1, batch, A.shape[1], width)
        before = kept[0].zero_() if initial is None else kept[0].copy_(initial.transpose(1, 2))
        out = u.new_empty(u.shape)
        recurrence = _Recurrence(u, A, reverse, arrays=2)
        for k, chunk in enumerate(chunks, start=1):
            step = _raw_step(delta[:, chunk], delta_bias)
            step = F.softplus(step) if use_softplus else step
            _, h, last = recurrence.states(before, step, u[:, chunk], B[:, chunk])
            y = _skip(_rows_times(C[:, chunk], h), u[:, chunk], D)
            out[:, chunk] = y if z is None else y * F.silu(z[:, chunk])
            before = kept[k if differentiate else 0].copy_(last)
        if differentiate:
            ctx.save_for_backward(u, delta, A, B, C, D, z, delta_bias, kept)
            ctx.initial = initial is not None
            ctx.use_softplus, ctx.reverse = use_softplus, reverse
            ctx.set_materialize_grads(False)
        return out, before.transpose(1, 2).contiguous() if want_last else None

    @staticmethod
    @first_derivative
    def backward(ctx, dout, dlast):
        u, delta, A, B, C, D, z, delta_bias, kept = ctx.saved_tensors
        du, ddelta, dB, dC = (torch.empty_like(tensor) for tensor in (u, delta, B, C))
        dz = None if z is None else torch.empty_like(z)
        dD, dbias = (None if t is None else torch.zeros_like(t) for t in (D, delta_bias))
        dA = torch.zeros_like(kept[0])  # (B, N, d): the batch is summed at the end
        dout = u.new_zeros(()).expand(u.shape) if dout is None else dout
        carry = torch.zeros_like(kept[0]) if dlast is None else dlast.transpose(1, 2)
        recurrence = _Recurrence(u, A, ctx.reverse, arrays=3)
        for k, chunk in reversed(list(enumerate(_chunks(u.shape[1], ctx.reverse)))):
            u_t, B_t, C_t, ds = u[:, chunk], B[:, chunk], C[:, chunk], dout[:, chunk]
            raw = _raw_step(delta[:, chunk], delta_bias)
            step = F.softplus(raw) if ctx.use_softplus else raw
            a, h, _ = recurrence.states(kept[k], step, u_t, B_t)
            if z is not None:
                s = _skip(_rows_times(C_t, h), u_t, D)
                ds, dz[:, chunk] = _gate_gradients(ds, s, z[:, chunk])
            dC[:, chunk] = _rows_times(ds, h.mT)
            dh, e, carry = recurrence.gradients(carry, ds, C_t, a, h, kept[k])
            dB[:, chunk] = _rows_times(step * u_t, dh.mT)
            dinput = _rows_times(B_t, dh)
            du[:, chunk] = _skip(dinput * step, ds, D)
            for e_t, step_t in zip(e.unbind(1), step.unbind(1), strict=True):
                dA.addcmul_(e_t, step_t[:, None])
            dstep = e.mul_(recurrence.A).sum(2).addcmul_(dinput, u_t)
            if ctx.use_softplus:
                dstep *= torch.sigmoid(raw)
            ddelta[:, chunk] = dstep
            if D is not None:
                dD += (ds * u_t).sum((0, 1))
            if delta_bias is not None:
                dbias += dstep.sum((0, 1))
        dinitial = carry.transpose(1, 2) if ctx.initial else None
        return du, ddelta, dA.sum(0).t(), dB, dC, dD, dz, dbias, dinitial, None, None, None


class _Recurrence:
    """What runs step by step, within a chunk of T steps; its memory serves every chunk in turn."""

    def __init__(self, u: Tensor, A: Tensor, reverse: bool, arrays: int) -> None:
        batch, length, _ = u.shape
        self.A = A.t().contiguous()  # (N, d)
        # exp2 for exp: PyTorch's takes a third of the time on a CPU
        self.rate = self.A * math.log2(math.e)
        self.reverse = reverse
        size = batch * min(STEPS, length) * self.A.numel()
        self.memory = [u.new_empty(size) for _ in range(arrays)]

    def states(
        self, before: Tensor, step: Tensor, u: Tensor, B: Tensor
    ) -> tuple[Tensor, Tensor, Tensor]:
        """Decays and states, `(B, T, N, d)`, and the last state; `before` is the state before."""
        a, h = self._room(0, step), self._room(1, step)
        torch.mul(step[:, :, None], self.rate, out=a).exp2_()
        torch.mul((step * u)[:, :, None], B[..., None], out=h)
        for a_t, h_t in self._in_order(a, h):
            before = h_t.addcmul_(a_t, before)
        return a, h, before

    def gradients(
        self, carry: Tensor, ds: Tensor, C: Tensor, a: Tensor, h: Tensor, before: Tensor
    ) -> tuple[Tensor, Tensor, Tensor]:
        """Gradients of states and of exponents (in the memory of `a`), and the next carry.

        `carry` is what the steps after this chunk send back to its last state.
        """
        dh = self._room(2, ds)
        torch.mul(ds[:, :, None], C[..., None], out=dh)
        for a_t, dh_t in reversed(self._in_order(a, dh)):
            carry = a_t.mul_(dh_t.add_(carry))
        carry = carry.clone()
        for e_t, h_t in self._in_order(a, h):
            e_t.mul_(before)
            before = h_t
        return dh, a, carry

    def _room(self, which: int, rows: Tensor) -> Tensor:
        """`(B, T, N, d)` for rows `(B, T, d)`, to be written in full."""
        batch, steps, width = rows.shape
        shape = batch, steps, self.A.shape[0], width
        return self.memory[which][: math.prod(shape)].view(shape)

    def _in_order(self, *tensors: Tensor) -> list[tuple[Tensor, ...]]:
        """The steps, `(B, N, d)` of each tensor, in the order in which they are taken."""
        steps = list(zip(*(tensor.unbind(1) for tensor in tensors), strict=True))
        return steps[::-1] if self.reverse else steps


def _chunks(length: int, reverse: bool) -> list[slice]:
    """In the order in which they are taken."""
    chunks = [slice(first, min(first + STEPS, length)) for first in range(0, length, STEPS)]
    return chunks[::-1] if reverse else chunks


def _raw_step(delta: Tensor, delta_bias: Tensor | None) -> Tensor:
    return delta if delta_bias is None else delta + delta_bias


def _skip(y: Tensor, u: Tensor, D: Tensor | None) -> Tensor:
    return y if D is None else torch.addcmul(y, u, D)


def _rows_times(rows: Tensor, matrices: Tensor) -> Tensor:
    """`(B, T, J)` times `(B, T, J, K)` is `(B, T, K)`."""
    batch, steps, inner = rows.shape
    product = rows.new_empty(batch, steps, matrices.shape[3])
    # The vector on the left: bmm with a column on the right takes ten times as long on a CPU.
    # With `out`, autocast leaves the dtype alone.
    torch.bmm(
        rows.reshape(-1, 1, inner),
        matrices.flatten(0, 1),
        out=product.view(-1, 1, product.shape[2]),
    )
    return product


def _gate_gradients(dy: Tensor, s: Tensor, z: Tensor) -> tuple[Tensor, Tensor]:
    """Of `s` and of `z` in `y = s silu(z)`."""
    opening = torch.sigmoid(z)
    return dy * z * opening, dy * s * opening * (1 + z * (1 - opening))
