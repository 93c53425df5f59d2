"""What the router looks at: `(B, L)` tokens to `(B, L, d)` vectors."""

from typing import Annotated

from pydantic import Field

from fcilib.representations.ablated import AblatedAttention
from fcilib.representations.anchored import Anchored
from fcilib.representations.attention import Attention
from fcilib.representations.contrastive import Contrastive
from fcilib.representations.embedding import Embedding
from fcilib.representations.flow import Flow
from fcilib.representations.frozen import Frozen
from fcilib.representations.hybrid import Hybrid
from fcilib.representations.linear_attention import LinearAttention
from fcilib.representations.mixing import Fourier, GlobalMean
from fcilib.representations.perceiver import Perceiver

Representation = Annotated[
    Embedding
    | Flow
    | Attention
    | AblatedAttention
    | LinearAttention
    | Perceiver
    | GlobalMean
    | Fourier
    | Contrastive
    | Anchored
    | Hybrid
    | Frozen,
    Field(discriminator="kind"),
]
"""Every representation an experiment can name, told apart by `kind`."""

__all__ = [
    "AblatedAttention",
    "Anchored",
    "Attention",
    "Contrastive",
    "Embedding",
    "Flow",
    "Fourier",
    "Frozen",
    "GlobalMean",
    "Hybrid",
    "LinearAttention",
    "Perceiver",
    "Representation",
]
