"""Attention in its kinds: full, causal, rank-1, linear, sparse, and of one sequence to another."""

from __future__ import annotations

import torch
from torch import nn
from torch.nn import functional as F

from fcilib.specs.size import Size

WINDOW, GLOBAL_TOKENS = 32, 16
"""The paper's sparse pattern (section 4.3)."""


class SelfAttention(nn.Module):
    """Multi-head softmax attention: `(B, L, d)` to `(B, L, d)`, O(n^2)."""

    def __init__(self, width: int, heads: int, causal: bool = False) -> None:
        super().__init__()
        if width % heads:
            raise ValueError(f"heads: {heads} does not divide the width {width}")
        self.heads, self.causal = heads, causal
        self.qkv = nn.Linear(width, 3 * width)
        self.out = nn.Linear(width, width)

    def forward(self, x: torch.Tensor) -> torch.Tensor:
        q, k, v = self.split(x)
        return self.merge(self.attend(q, k, v))

    def split(self, x: torch.Tensor) -> tuple[torch.Tensor, torch.Tensor, torch.Tensor]:
        """Queries, keys and values by head, each `(B, H, L, d / H)`."""
        return self.qkv(x).unflatten(-1, (3, self.heads, -1)).permute(2, 0, 3, 1, 4).unbind(0)

    def merge(self, heads: torch.Tensor) -> torch.Tensor:
        """`(B, H, L, d / H)` back to `(B, L, d)`."""
        return self.out(heads.transpose(1, 2).flatten(2))

    def attend(self, q: torch.Tensor, k: torch.Tensor, v: torch.Tensor) -> torch.Tensor:
        return F.scaled_dot_product_attention(q, k, v, is_causal=self.causal)


class RankOneAttention(SelfAttention):
    """Attention whose scores are products of fingerprints, s_i s_j with s_i = v^T x_i, per head.

    The rank-1 router's score (paper, section 4.6) in a layer's place; values and output are those
    of any attention. Ours: the paper leaves rank-1 bridges untested and undefined.
    """

    def __init__(self, width: int, heads: int) -> None:
        super().__init__(width, heads)
        self.qkv = nn.Linear(width, heads + width)

    def split(self, x: torch.Tensor) -> tuple[torch.Tensor, torch.Tensor, torch.Tensor]:
        """Fingerprints twice, `(B, H, L, 1)`, and values `(B, H, L, d / H)`."""
        prints, values = self.qkv(x).split([self.heads, x.shape[-1]], dim=-1)
        prints = prints.transpose(1, 2).unsqueeze(3)
        return prints, prints, values.unflatten(-1, (self.heads, -1)).transpose(1, 2)


class SparseAttention(SelfAttention):
    """Window plus global tokens as in BigBird (Zaheer et al., 2020), in O(n (window + globals)).

    Token i sees every j with |i - j| <= window / 2 and the global tokens; the global tokens see
    every token. Their positions are drawn once, when the module is built.
    """

    def __init__(
        self, size: Size, heads: int, window: int = WINDOW, global_tokens: int = GLOBAL_TOKENS
    ) -> None:
        super().__init__(size.width, heads)
        if global_tokens > size.length:
            raise ValueError(
                f"global_tokens: {global_tokens} do not fit in {size.length} positions"
            )
        self.reach, self.length = window // 2, size.length
        self.where = nn.Buffer(torch.randperm(size.length)[:global_tokens].sort().values)

    def allowed(self, length: int) -> torch.Tensor:
        """Who sees whom, `(L, L)` bool: the pattern written out, for checks and figures."""
        i = torch.arange(length)
        mask = (i[:, None] - i[None, :]).abs() <= self.reach
        where = self.where[self.where < length]
        mask[:, where] = True
        mask[where, :] = True
        return mask

    def attend(self, q: torch.Tensor, k: torch.Tensor, v: torch.Tensor) -> torch.Tensor:
        length, reach = q.shape[2], self.reach
        # A choice by values would keep a GPU from running ahead of the host; mostly all are there.
        where = self.where if length >= self.length else self.where[self.where < length]
        blocks = -(-length // reach)
        pad = blocks * reach - length
        # Queries in blocks of `reach`; each block sees itself and the blocks left and right of it.
        queries = F.pad(q, (0, 0, 0, pad)).unflatten(2, (blocks, reach))
        keys, values = (self._neighbourhoods(t, pad, where, blocks) for t in (k, v))
        y = F.scaled_dot_product_attention(
            queries, keys, values, attn_mask=self._mask(length, blocks, where)
        )
        y = y.flatten(2, 3)[:, :, :length]
        if len(where):
            y = y.index_copy(2, where, F.scaled_dot_product_attention(q[:, :, where], k, v))
        return y

    def _neighbourhoods(
        self, t: torch.Tensor, pad: int, where: torch.Tensor, blocks: int
    ) -> torch.Tensor:
        """What each block can see, `(B, H, blocks, 3 * reach + globals, d / H)`."""
        reach = self.reach
        local = F.pad(t, (0, 0, reach, pad + reach)).unfold(2, 3 * reach, reach).transpose(-1, -2)
        if not len(where):
            return local
        shared = t[:, :, where].unsqueeze(2).expand(-1, -1, blocks, -1, -1)
        return torch.cat([local, shared], dim=3)

    def _mask(self, length: int, blocks: int, where: torch.Tensor) -> torch.Tensor:
        """Which of those each query may use, `(blocks, reach, 3 * reach + globals)` bool."""
        reach = self.reach
        i = torch.arange(blocks * reach).view(blocks, reach, 1)
        first = (torch.arange(blocks) * reach - reach).view(blocks, 1, 1)
        j = first + torch.arange(3 * reach)
        local = ((i - j).abs() <= reach) & (j >= 0) & (j < length)
        # A global token inside the window is already among the local ones.
        shared = (i - where).abs() > reach
        mask = torch.cat([local, shared], dim=2)
        return mask | (i >= length)  # rows of padding see anything: their output is cut off


class LinearSelfAttention(SelfAttention):
    """phi(q) (phi(k)^T v) / (phi(q) sum phi(k)) with phi = elu + 1 (Katharopoulos et al., 2020)."""

    def attend(self, q: torch.Tensor, k: torch.Tensor, v: torch.Tensor) -> torch.Tensor:
        q, k = F.elu(q) + 1, F.elu(k) + 1
        total = q @ k.sum(dim=2).unsqueeze(-1)
        return q @ (k.transpose(-1, -2) @ v) / total


class CrossAttention(nn.Module):
    """Multi-head attention of `x (B, n, d)` to `context (B, m, d)`; mask `(B, m)` bool or none."""

    def __init__(self, width: int, heads: int) -> None:
        super().__init__()
        if width % heads:
            raise ValueError(f"heads: {heads} does not divide the width {width}")
        self.heads = heads
        self.query = nn.Linear(width, width)
        self.key_value = nn.Linear(width, 2 * width)
        self.out = nn.Linear(width, width)

    def forward(
        self, x: torch.Tensor, context: torch.Tensor, mask: torch.Tensor | None = None
    ) -> torch.Tensor:
        q = self.query(x).unflatten(-1, (self.heads, -1)).transpose(1, 2)
        k, v = self.key_value(context).unflatten(-1, (2, self.heads, -1)).permute(2, 0, 3, 1, 4)
        if mask is not None:
            mask = mask[:, None, None, :]
        y = F.scaled_dot_product_attention(q, k, v, attn_mask=mask)
        return self.out(y.transpose(1, 2).flatten(2))
