"""RWKV-4's time mixing against transformers', which walks from token to token."""

import pytest
import torch
from test_linear_layers import LENGTHS, WIDTH, assert_same, gradients, moved, sequences
from transformers import RwkvConfig
from transformers.models.rwkv.modeling_rwkv import RwkvSelfAttention, rwkv_linear_attention_cpu

from fcilib.layers.rwkv4 import Rwkv4Layer, weighted_past


class Theirs(RwkvSelfAttention):
    """Their layer without its state; its weights, left empty, are drawn."""

    def __init__(self):
        super().__init__(RwkvConfig(vocab_size=7, hidden_size=WIDTH, num_hidden_layers=1))
        torch.manual_seed(0)
        with torch.no_grad():
            for parameter in self.parameters():
                parameter.normal_(std=0.5)

    def forward(self, x):
        return super().forward(x)[0]


def both():
    """Their layer and ours with the same weights; their parameters in the order of ours."""
    theirs, ours = Theirs(), moved(Rwkv4Layer(WIDTH))
    named = dict(theirs.named_parameters())
    shares = [named[f"time_mix_{name}"] for name in ("key", "value", "receptance")]
    names = {"decay": "time_decay", "bonus": "time_first", "out.weight": "output.weight"}
    mine = {name: p for name, p in ours.named_parameters() if name != "shares"}
    others = [named[names.get(name, name)] for name in mine]
    with torch.no_grad():
        ours.shares.copy_(torch.cat(shares)[:, 0])
        for parameter, other in zip(mine.values(), others, strict=True):
            parameter.copy_(other)
    return theirs, ours, [*shares, *others], [ours.shares, *mine.values()]


@pytest.mark.parametrize("length", LENGTHS[1:])
def test_the_layer_equals_transformers(length):
    theirs, ours, their_weights, our_weights = both()
    x = sequences(length)
    expected = gradients(theirs(x), [x, *their_weights])
    found = gradients(ours(x), [x, *our_weights])
    found[2:3] = [part[None, None] for part in found[2]]  # three shares in one parameter
    assert_same(found, expected, 5e-5)


def test_one_token_has_no_past():
    theirs, ours, _, _ = both()
    x = sequences(1)
    torch.testing.assert_close(ours(x), theirs(x))


@pytest.mark.parametrize("size", [1.0, 20.0, 50.0])
def test_large_keys_do_not_overflow(size):
    rng = torch.Generator().manual_seed(0)
    k, v = torch.randn(2, 30, WIDTH, generator=rng) * size, torch.randn(2, 30, WIDTH, generator=rng)
    k = k.clamp(-30, 30)
    decay, bonus = torch.rand(WIDTH, generator=rng), torch.randn(WIDTH, generator=rng)
    expected, _ = rwkv_linear_attention_cpu(decay.log(), bonus, k, v)
    torch.testing.assert_close(weighted_past(k, v, decay, bonus), expected, atol=1e-4, rtol=1e-4)
