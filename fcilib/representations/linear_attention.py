"""Attention without the softmax, in O(n)."""

from __future__ import annotations

from typing import Literal

import torch
from pydantic import Field
from torch import nn
from torch.nn import functional as F

from fcilib.representations.attention import SelfAttention
from fcilib.representations.blocks import Block, RepresentationSpec, TokenEmbedding
from fcilib.specs.spec import Size


class LinearAttention(RepresentationSpec):
    """Transformer blocks with linear attention, both directions (paper, section 4.3)."""

    kind: Literal["linear-attention"] = "linear-attention"
    layers: int = Field(1, ge=0)
    heads: int = Field(4, ge=1)

    def build(self, size: Size) -> nn.Module:
        blocks = [
            Block(size.width, LinearSelfAttention(size.width, self.heads))
            for _ in range(self.layers)
        ]
        return nn.Sequential(TokenEmbedding(size, self), *blocks)


class LinearSelfAttention(SelfAttention):
    """phi(q) (phi(k)^T v) / (phi(q) sum phi(k)) with phi = elu + 1 (Katharopoulos et al., 2020)."""

    def attend(self, q: torch.Tensor, k: torch.Tensor, v: torch.Tensor) -> torch.Tensor:
        q, k = F.elu(q) + 1, F.elu(k) + 1
        total = q @ k.sum(dim=2).unsqueeze(-1)
        return q @ (k.transpose(-1, -2) @ v) / total
