"""What the router looks at: `(B, L)` tokens to `(B, L, d)` vectors.

Each representation is a file, and a line here.
"""

from fcilib.representations.ablated import AblatedAttention as AblatedAttention
from fcilib.representations.anchored import Anchored as Anchored
from fcilib.representations.attention import Attention as Attention
from fcilib.representations.attention import LinearAttention as LinearAttention
from fcilib.representations.base_conv import BaseConv as BaseConv
from fcilib.representations.based import Based as Based
from fcilib.representations.contrastive import Contrastive as Contrastive
from fcilib.representations.embedding import Embedding as Embedding
from fcilib.representations.flow import Flow as Flow
from fcilib.representations.frozen import Frozen as Frozen
from fcilib.representations.hybrid import Hybrid as Hybrid
from fcilib.representations.mixing import Fourier as Fourier
from fcilib.representations.mixing import GlobalMean as GlobalMean
from fcilib.representations.perceiver import Perceiver as Perceiver
from fcilib.representations.recurrent import DeltaNet as DeltaNet
from fcilib.representations.recurrent import GatedLinearAttention as GatedLinearAttention
from fcilib.representations.recurrent import Hgrn2 as Hgrn2
from fcilib.representations.recurrent import Hyena as Hyena
from fcilib.representations.recurrent import Mamba2 as Mamba2
from fcilib.representations.recurrent import Rwkv4 as Rwkv4
from fcilib.representations.recurrent import Rwkv7 as Rwkv7
