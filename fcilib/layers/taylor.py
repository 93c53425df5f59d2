"""Based's two mixers: linear attention by a Taylor series, and attention within a window."""

from __future__ import annotations

import torch
from torch import Tensor, nn
from torch.nn import functional as F

from fcilib.layers.attention import SelfAttention
from fcilib.layers.gated_linear import by_head

FEATURES, CHUNK, EPSILON = 16, 128, 1e-6
"""Channels of a head's queries and keys (Arora et al., 2024), and steps that are taken together."""


class TaylorAttention(nn.Module):
    """Attention with 1 + s + s^2 / 2 in the exponential's place, O(n): `(B, L, d)` to `(B, L, d)`.

    s = q . k / sqrt(16). The weights are products of 273 features of queries and keys, so that sums
    of the past stand in for it (Arora et al., 2024, arXiv:2402.18668). `causal=False` sums over all
    positions.
    """

    def __init__(self, width: int, heads: int, causal: bool = True) -> None:
        super().__init__()
        if width % heads:
            raise ValueError(f"heads: {heads} does not divide the width {width}")
        self.heads, self.causal = heads, causal
        self.query = nn.Linear(width, heads * FEATURES, bias=False)
        self.key = nn.Linear(width, heads * FEATURES, bias=False)
        self.value = nn.Linear(width, width, bias=False)
        self.out = nn.Linear(width, width, bias=False)

    def forward(self, x: Tensor) -> Tensor:
        q, k, v = (by_head(part(x), self.heads) for part in (self.query, self.key, self.value))
        return self.out(taylor_attention(q, k, v, self.causal).transpose(1, 2).flatten(2))


def taylor_attention(q: Tensor, k: Tensor, v: Tensor, causal: bool) -> Tensor:
    """Queries and keys `(B, H, L, f)` and values `(B, H, L, V)` to `(B, H, L, V)`."""
    length, chunk = q.shape[2], min(q.shape[2], CHUNK)
    q = q * q.shape[3] ** -0.5
    v = F.pad(v, (0, 1), value=1.0)  # the last channel sums up the weights
    if not causal:
        y = taylor_features(q) @ (taylor_features(k).mT @ v)
        return y[..., :-1] / (y[..., -1:] + EPSILON)
    q, k, v = (F.pad(t, (0, 0, 0, -length % chunk)).unflatten(2, (-1, chunk)) for t in (q, k, v))
    near = q @ k.mT
    y = (1 + near + near.square() / 2).tril() @ v
    if q.shape[2] > 1:
        sums = (taylor_features(k[:, :, :-1]).mT @ v[:, :, :-1]).cumsum(dim=2)
        earlier = F.pad(sums, (0, 0, 0, 0, 1, 0))  # what the chunks before each add up to
        y = y + taylor_features(q) @ earlier
    y = y.flatten(2, 3)[:, :, :length]
    return y[..., :-1] / (y[..., -1:] + EPSILON)


def taylor_features(x: Tensor) -> Tensor:
    """`(…, f)` to `(…, 1 + f + f^2)`, whose products are 1 + s + s^2 / 2."""
    squares = (x.unsqueeze(-1) * x.unsqueeze(-2)).flatten(-2) / 2**0.5
    return torch.cat([torch.ones_like(x[..., :1]), x, squares], dim=-1)


class WindowAttention(SelfAttention):
    """Softmax attention of each token to itself and the `window - 1` before it, O(n window)."""

    def __init__(self, width: int, heads: int, window: int) -> None:
        super().__init__(width, heads)
        if window < 1:
            raise ValueError(f"window: {window} positions hold no token")
        self.window = window

    def attend(self, q: Tensor, k: Tensor, v: Tensor) -> Tensor:
        length, window = q.shape[2], self.window
        pad = -length % window
        queries = F.pad(q, (0, 0, 0, pad)).unflatten(2, (-1, window))
        # Blocks of `window` queries; each sees its own block and the one before.
        keys, values = (
            F.pad(t, (0, 0, window, pad)).unfold(2, 2 * window, window).mT for t in (k, v)
        )
        here = torch.arange(window)[:, None] + window
        there = torch.arange(2 * window)
        seen = (there <= here) & (there > here - window)
        first = torch.arange(queries.shape[2])[:, None, None] > 0
        mask = seen & (first | (there >= window))
        y = F.scaled_dot_product_attention(queries, keys, values, attn_mask=mask)
        return y.flatten(2, 3)[:, :, :length]
