"""Whole layers: Mamba-2 and Gated DeltaNet against transformers', the others from plain forms."""

import pytest
import torch
from naive import assert_same, naive
from torch.nn import functional as F
from transformers import Mamba2Config, Qwen3NextConfig
from transformers.models.mamba2.modeling_mamba2 import Mamba2Mixer
from transformers.models.qwen3_next.modeling_qwen3_next import Qwen3NextGatedDeltaNet

from fcilib.layers.delta import DeltaLayer
from fcilib.layers.directions import Directions
from fcilib.layers.gated_linear import GatedLinearLayer, Hgrn2Layer
from fcilib.layers.mamba2 import Mamba2Block
from fcilib.layers.rwkv7 import LARGEST_DECAY, Rwkv7Layer

WIDTH, HEADS = 24, 3
LENGTHS = [1, 3, 17, 65]


def moved(module):
    """Every weight off its default."""
    torch.manual_seed(1)
    with torch.no_grad():
        for parameter in module.parameters():
            parameter.add_(0.1 * torch.randn_like(parameter))
    return module.train()


def sequences(length):
    return torch.randn(
        2, length, WIDTH, generator=torch.Generator().manual_seed(3)
    ).requires_grad_()


def gradients(y, leaves):
    cotangent = torch.randn(y.shape, generator=torch.Generator().manual_seed(4))
    return [y, *torch.autograd.grad(y, leaves, cotangent)]


def assert_equal_layers(ours, theirs, length):
    ours.load_state_dict(theirs.state_dict(), strict=True)
    x = sequences(length)
    named = dict(theirs.named_parameters())
    expected = gradients(theirs(x), [x, *(named[name] for name, _ in ours.named_parameters())])
    assert_same(gradients(ours(x), [x, *ours.parameters()]), expected, 5e-5)


@pytest.mark.parametrize("length", LENGTHS)
def test_mamba_2_equals_transformers(length):
    config = Mamba2Config(
        hidden_size=WIDTH, num_heads=HEADS, head_dim=16, state_size=8, n_groups=1, expand=2,
        chunk_size=32, num_hidden_layers=1, vocab_size=7,
    )  # fmt: skip
    theirs = moved(Mamba2Mixer(config, layer_idx=0))
    assert_equal_layers(Mamba2Block(WIDTH, HEADS, state=8), theirs, length)


@pytest.mark.parametrize("length", LENGTHS)
def test_gated_deltanet_equals_transformers(length):
    config = Qwen3NextConfig(
        hidden_size=WIDTH, linear_num_value_heads=HEADS, linear_num_key_heads=HEADS,
        linear_key_head_dim=8, linear_value_head_dim=8, num_hidden_layers=1, vocab_size=7,
        layer_types=["linear_attention"],
    )  # fmt: skip
    theirs = moved(Qwen3NextGatedDeltaNet(config, layer_idx=0))
    with torch.no_grad():  # a decay that ours holds: the published start may forget all at once
        theirs.A_log.copy_(torch.tensor([0.1, 0.5, 1.0]).log())
    assert_equal_layers(DeltaLayer(WIDTH, HEADS, gated=True), theirs, length)


def heads(x):
    return x.unflatten(2, (HEADS, -1))


def normed(y, norm):
    return y * torch.rsqrt(y.square().mean(dim=-1, keepdim=True) + norm.eps) * norm.weight


def gla(layer, x):
    q, k, v = (heads(F.linear(x, p.weight)) for p in (layer.query, layer.key, layer.value))
    low, high = layer.forget
    gate = F.logsigmoid(x @ low.weight.T @ high.weight.T + high.bias) / 16
    y = normed(naive("gla").naive_recurrent_gla(q, k, v, heads(gate))[0], layer.norm)
    return (y.flatten(2) * F.silu(x @ layer.gate.weight.T)) @ layer.out.weight.T


def hgrn2(layer, x):
    kept = torch.sigmoid(x @ layer.forget.weight.T)
    q, v = F.silu(x @ layer.query.weight.T), x @ layer.value.weight.T
    y = naive("gla").naive_recurrent_gla(*map(heads, (q, 1 - kept, v, kept.log())))[0]
    return normed(y.flatten(2), layer.norm) @ layer.out.weight.T


def short(x, weight):
    """A causal convolution of each channel, and SiLU."""
    taps = weight.shape[2]
    return F.silu(F.conv1d(F.pad(x.mT, (taps - 1, 0)), weight, groups=len(weight)).mT)


def deltanet(layer, x):
    parts = (x @ layer.in_proj_qkvz.weight.T).unflatten(2, (HEADS, 3, -1))
    mixed = short(
        torch.cat([parts[:, :, :, i].flatten(2) for i in range(3)], dim=2), layer.conv1d.weight
    )
    q, k, v = (heads(part).transpose(1, 2) for part in mixed.chunk(3, dim=2))
    q, k = (t / (t.square().sum(dim=3, keepdim=True) + 1e-6).sqrt() for t in (q, k))
    beta = torch.sigmoid(x @ layer.in_proj_ba.weight.T).transpose(1, 2)
    y = naive("delta_rule").delta_rule_recurrence(q, k, v, beta)[0].transpose(1, 2)
    return normed(y, layer.norm).flatten(2) @ layer.out_proj.weight.T


def rwkv7(layer, x):
    before = torch.cat([torch.zeros_like(x[:, :1]), x[:, :-1]], dim=1)
    xr, xw, xk, xv, xa, xg = (torch.lerp(x, before, share) for share in layer.shares)

    def low_rank(part, x, squash):
        first, _, last = part
        return squash(x @ first.weight.T) @ last.weight.T + last.bias

    r, k, v = (
        y @ p.weight.T for p, y in ((layer.receptance, xr), (layer.key, xk), (layer.value, xv))
    )
    w = -LARGEST_DECAY * torch.sigmoid(low_rank(layer.decay, xw, torch.tanh))
    a = torch.sigmoid(low_rank(layer.rate, xa, lambda x: x))
    kk = F.normalize(heads(k * layer.removed), dim=3)
    k = k + k * (a - 1) * layer.replaced
    r, w, k, v, a = map(heads, (r, w, k, v, a))
    rule = naive("generalized_delta_rule/dplr").dplr_recurrence
    by_head = [t.transpose(1, 2) for t in (r * r.shape[3] ** 0.5, k, v, -kk, kk * a, w)]
    y = rule(*by_head)[0].transpose(1, 2)
    y = (y - y.mean(dim=3, keepdim=True)) * torch.rsqrt(
        y.var(dim=3, keepdim=True, correction=0) + layer.norm.eps
    )
    y = y.flatten(2) * layer.norm.weight + layer.norm.bias
    y = y + ((r * k * layer.bonus).sum(dim=3, keepdim=True) * v).flatten(2)
    return (y * low_rank(layer.gate, xg, torch.sigmoid)) @ layer.out.weight.T


@pytest.mark.parametrize("length", LENGTHS)
@pytest.mark.parametrize(
    ("make", "form"),
    [
        (GatedLinearLayer, gla),
        (Hgrn2Layer, hgrn2),
        (lambda width, heads: DeltaLayer(width, heads, gated=False), deltanet),
        (Rwkv7Layer, rwkv7),
    ],
    ids=["gla", "hgrn2", "deltanet", "rwkv7"],
)
def test_a_layer_is_its_published_form(make, form, length):
    width = WIDTH  # a multiple of twice the heads
    layer = moved(make(width, HEADS))
    x = sequences(length)
    leaves = [x, *layer.parameters()]
    assert_same(gradients(layer(x), leaves), gradients(form(layer, x), leaves), 5e-5)


@pytest.mark.parametrize("make", [GatedLinearLayer, Hgrn2Layer, Rwkv7Layer])
def test_heads_must_divide_the_width(make):
    with pytest.raises(ValueError, match="heads: 5"):
        make(WIDTH, 5)


def test_heads_must_divide_the_width_of_the_others():
    with pytest.raises(ValueError, match="heads: 5"):
        DeltaLayer(WIDTH, 5, gated=True)
    with pytest.raises(ValueError, match="heads: 5"):
        Mamba2Block(WIDTH, 5)


def test_the_second_direction_is_the_first_of_the_sequence_backwards():
    mixer = Directions(lambda: Hgrn2Layer(WIDTH, HEADS), both=True)
    x = sequences(9)
    swapped = Directions(lambda: Hgrn2Layer(WIDTH, HEADS), both=True)
    swapped.forwards, swapped.backwards = mixer.backwards, mixer.forwards
    torch.testing.assert_close(swapped(x.flip(1)).flip(1), mixer(x))
    alone = Directions(lambda: mixer.forwards, both=False)
    assert torch.equal(alone(x), mixer.forwards(x))
