"""Whole layers against transformers', flash-linear-attention's on plain forms, and RWKV's own."""

import pytest
import torch
from naive import assert_same, defined, gradients, installed, naive
from torch import nn
from torch.func import functional_call
from torch.nn import functional as F
from transformers import Mamba2Config, Qwen3NextConfig
from transformers.models.mamba2.modeling_mamba2 import Mamba2Mixer
from transformers.models.qwen3_next.modeling_qwen3_next import Qwen3NextGatedDeltaNet, l2norm

from fcilib.layers.delta import DeltaLayer
from fcilib.layers.directions import Directions
from fcilib.layers.gated_linear import GatedLinearLayer, Hgrn2Layer
from fcilib.layers.mamba2 import Mamba2Block
from fcilib.layers.rwkv7 import Rwkv7Layer

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


class RMSNorm(nn.RMSNorm):
    """fla's, by torch."""

    bias = None

    def __init__(self, hidden_size, **options):
        super().__init__(hidden_size, **options)


class ShortConvolution(nn.Conv1d):
    """fla's, by torch: of each channel, causal, and SiLU."""

    def __init__(self, hidden_size, kernel_size, bias, activation):
        assert activation == "silu"
        super().__init__(hidden_size, hidden_size, kernel_size, groups=hidden_size, bias=bias)

    def forward(self, x, **_):
        return F.silu(super().forward(F.pad(x.mT, (self.kernel_size[0] - 1, 0)))).mT, None


def published(file, name, **kernels):
    """A layer of flash-linear-attention with torch's norm and convolution, and `kernels` given."""
    utils = (
        "require_cache_layer_idx", "get_layer_cache", "update_layer_cache", "unpad_hidden_states",
        "repad_hidden_states",
    )  # fmt: skip
    kernels |= defined(installed("fla", "layers", "utils.py"), *utils)
    kernels |= {"RMSNorm": RMSNorm, "ShortConvolution": ShortConvolution}
    return defined(installed("fla", "layers", f"{file}.py"), name, **kernels)[name]


def called(theirs, weights, x):
    return functional_call(theirs, weights, x, strict=True)[0]


def renamed(layer, **names):
    """The layer's parameters, those of each of its modules under another name."""
    parts = ((name.rpartition("."), p) for name, p in layer.named_parameters())
    return {f"{names[module.replace('.', '_')]}.{leaf}": p for (module, _, leaf), p in parts}


def gla_rule(q, k, v, g=None, gk=None, **_):
    return naive("gla").naive_recurrent_gla(q, k, v, gk if g is None else g)


def gla(layer, x):
    make = published(
        "gla", "GatedLinearAttention", ACT2FN={"swish": F.silu}, chunk_gla=gla_rule,
        fused_recurrent_gla=gla_rule,
    )  # fmt: skip
    weights = renamed(
        layer, query="q_proj", key="k_proj", value="v_proj", forget_0="gk_proj.0",
        forget_1="gk_proj.1", gate="g_proj", norm="g_norm", out="o_proj",
    )  # fmt: skip
    return called(make(hidden_size=WIDTH, num_heads=HEADS, fuse_norm=False), weights, x)


def hgrn2(layer, x):
    def rms_norm_linear(x, norm, _, weight, bias):
        return F.linear(F.rms_norm(x, norm.shape, norm, eps=1e-5), weight, bias)

    make = published(
        "hgrn2", "HGRN2Attention", swish=F.silu, rms_norm_linear=rms_norm_linear,
        chunk_gla=gla_rule, fused_recurrent_gla=gla_rule,
    )  # fmt: skip
    names = {"query": "q_proj", "forget": "f_proj", "value": "i_proj", "norm": "g_norm"}
    weights = renamed(layer, **names, out="o_proj")
    return called(make(hidden_size=WIDTH, num_heads=HEADS, expand_ratio=None), weights, x)


def deltanet(layer, x):
    def rule(q, k, v, beta, use_qk_l2norm_in_kernel, **_):
        assert use_qk_l2norm_in_kernel
        by_head = (t.transpose(1, 2) for t in (l2norm(q), l2norm(k), v, beta))
        y, state = naive("delta_rule").delta_rule_recurrence(*by_head)
        return y.transpose(1, 2), state

    make = published(
        "delta_net", "DeltaNet", chunk_delta_rule=rule, fused_recurrent_delta_rule=rule
    )
    projections = layer.in_proj_qkvz.weight.unflatten(0, (HEADS, 3, -1)).transpose(0, 1)
    weights = {f"{n}_proj.weight": p.flatten(0, 1) for n, p in zip("qkv", projections, strict=True)}
    taps = layer.conv1d.weight.chunk(3)
    weights |= {f"{n}_conv1d.weight": p for n, p in zip("qkv", taps, strict=True)}
    weights |= {"b_proj.weight": layer.in_proj_ba.weight, "o_norm.weight": layer.norm.weight}
    weights |= {"o_proj.weight": layer.out_proj.weight}
    return called(make(hidden_size=WIDTH, num_heads=HEADS, norm_eps=1e-6), weights, x)


def rwkv7(layer, x):
    """The author's package, whose layer takes one token of one sequence at a time."""
    name = "RWKV_x070_TMix_one"
    step = defined(installed("rwkv", "model.py"), name)[name]
    (w1, w2, w0), (a1, a2, a0), (g1, g2, g0) = (
        (first.weight.T, last.weight.T, last.bias)
        for first, _, last in (layer.decay, layer.rate, layer.gate)
    )
    # Theirs has no g0: here it is one more channel, whose sigmoid is a half.
    g1, g2 = F.pad(g1, (0, 1)), torch.cat([g2, 2 * g0[None]])
    linear = (layer.receptance, layer.key, layer.value, layer.out)
    weights = (
        *layer.shares, w0, w1, w2, a0, a1, a2, None, None, None, g1, g2, layer.removed,
        layer.replaced, layer.bonus.flatten(), *(p.weight.T for p in linear), layer.norm.weight,
        layer.norm.bias,
    )  # fmt: skip
    size, rows = WIDTH // HEADS, []
    for tokens in x:
        before, state, ys = torch.zeros(WIDTH), torch.zeros(HEADS, size, size), []
        for token in tokens:
            y, before, state, _ = step(0, HEADS, size, token, before, None, state, *weights)
            ys.append(y)
        rows.append(torch.stack(ys))
    return torch.stack(rows)


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
def test_a_layer_equals_its_published_form(make, form, length):
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
