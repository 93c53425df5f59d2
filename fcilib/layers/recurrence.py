"""Linear recurrences whose state is a matrix: what most of today's linear-time layers run.

Per head the state is S, `(K, V)`: at each step it decays, is corrected along one direction, and
takes in a key and a value; a query reads it.

    S_t = diag(exp(w_t)) S_{t-1} + a_t (b_t^T S_{t-1}) + k_t v_t^T        y_t = S_t^T q_t

| layer | decay w | writes a, reads b |
| --- | --- | --- |
| Mamba-2 | one number per head | none |
| gated linear attention, HGRN2 | one per key channel | none |
| DeltaNet | none | a = -beta k, b = k |
| Gated DeltaNet | one number per head | a = -exp(w) beta k, b = k |
| RWKV-7 | one per key channel | a and b of their own |

Steps are taken together in chunks (Hua et al., 2022; Yang et al., 2024): within a chunk all is
matrix products, and the state is carried from chunk to chunk.
"""

from __future__ import annotations

import torch
from torch import Tensor
from torch.nn import functional as F

CHUNK = 16
"""Steps that are taken together."""

STRONGEST = -5.0
"""A step's log decay below it counts as this much, which keeps 0.7% of the state. The exponential
of half of what a chunk decays is then at most e^40, which float32 holds."""


def recurrence(
    q: Tensor,
    k: Tensor,
    v: Tensor,
    log_decay: Tensor,
    writes: Tensor | None = None,
    reads: Tensor | None = None,
    chunk: int = CHUNK,
) -> Tensor:
    """What the queries read, `(B, H, L, V)`, from a state that starts at zero.

    Args:
        q: queries, `(B, H, L, K)`.
        k: keys, `(B, H, L, K)`.
        v: values, `(B, H, L, V)`.
        log_decay: w, from `STRONGEST` to 0: `(B, H, L, 1)` or `(B, H, L, K)`.
        writes: a, `(B, H, L, K)`; no correction without them.
        reads: b, `(B, H, L, K)`; given with `writes`.
        chunk: steps taken together, 1 to `CHUNK`; it changes the cost and, but for rounding,
            nothing else.

    Raises:
        ValueError: only one of `writes` and `reads` is given, or the chunk is too small or large.
    """
    if (writes is None) != (reads is None):
        raise ValueError("writes, reads: a correction needs both")
    if not 1 <= chunk <= CHUNK:
        raise ValueError(f"chunk: {chunk} steps are not from 1 to {CHUNK}")
    with torch.autocast(q.device.type, enabled=False):
        wide = torch.promote_types(q.dtype, torch.float32)
        given = (q, k, v, log_decay.clamp(min=STRONGEST))
        steps = [_cut(t.to(wide), chunk) for t in given]
        correction = [_cut(t.to(wide), chunk) if t is not None else None for t in (writes, reads)]
        y = _by_chunks(steps[0], steps[1], steps[2], steps[3], *correction)
    return y.flatten(2, 3)[:, :, : q.shape[2]].to(v.dtype)


def _by_chunks(
    q: Tensor,
    k: Tensor,
    v: Tensor,
    log_decay: Tensor,
    writes: Tensor | None,
    reads: Tensor | None,
) -> Tensor:
    """As `recurrence`, of tensors cut into n chunks of C steps: `(B, H, n, C, …)`."""
    so_far = log_decay.cumsum(dim=3)
    whole = so_far[:, :, :, -1:]
    # exp(so_far_i - so_far_j) is a product of two factors, each measured from half of the whole.
    since, until = (so_far - whole / 2).exp(), (whole / 2 - so_far).exp()
    keys = (k * until).mT
    y = ((q * since) @ keys).tril() @ v
    asking = q * so_far.exp()  # what a query reads of the state before the chunk
    left = (whole - so_far).exp()
    gains = (k * left).mT @ v  # what the chunk adds to that state
    mixes = None  # and how it mixes the state's channels, where it is corrected
    if writes is not None and reads is not None:
        before = so_far - log_decay
        reading, written = reads * (before - whole / 2).exp(), (writes * until).mT
        # What each step reads: of the chunk's own keys, and as a map of the state before it.
        known = torch.cat([(reading @ keys).tril(-1) @ v, reads * before.exp()], dim=4)
        inside, outside = _solve((reading @ written).tril(-1), known).split(
            [v.shape[4], k.shape[4]], dim=4
        )
        answered = ((q * since) @ written).tril()
        y, asking = y + answered @ inside, asking + answered @ outside
        kept = (writes * left).mT
        gains, mixes = gains + kept @ inside, kept @ outside
    decays = whole.exp().mT  # (B, H, n, K or 1, 1)
    state = torch.zeros_like(gains[:, :, 0])
    states = [state]
    for i in range(q.shape[2] - 1):
        mixed = decays[:, :, i] * state + gains[:, :, i]
        state = mixed if mixes is None else mixed + mixes[:, :, i] @ state
        states.append(state)
    return y + asking @ torch.stack(states, dim=2)


def _solve(strict: Tensor, known: Tensor) -> Tensor:
    """u of u = strict u + known, where `strict (…, C, C)` is zero on and above its diagonal."""
    power, u, steps = strict, known + strict @ known, 2
    while steps < strict.shape[-1]:  # (1 + N) (1 + N^2) (1 + N^4) …, until a power of N is zero
        power = power @ power
        u, steps = u + power @ u, 2 * steps
    return u


def _cut(t: Tensor, chunk: int) -> Tensor:
    """`(B, H, L, …)` to `(B, H, n, chunk, …)`, filled up with zeros: steps that change nothing."""
    return F.pad(t, (0, 0, 0, -t.shape[2] % chunk)).unflatten(2, (-1, chunk))
