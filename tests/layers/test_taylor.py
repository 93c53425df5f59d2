"""Based's mixers against flash-linear-attention's plain form and the package local-attention."""

import pytest
import torch
from naive import assert_same, defined, gradients, installed, naive
from torch.func import functional_call
from torch.nn import functional as F

from fcilib.layers import taylor
from fcilib.layers.taylor import TaylorAttention, WindowAttention, taylor_attention


def inputs(length):
    torch.manual_seed(length)
    return [torch.randn(2, 3, length, n).requires_grad_() for n in (7, 7, 5)]


@pytest.mark.parametrize("chunk", [4, 128])
@pytest.mark.parametrize("length", [1, 3, 4, 5, 37])
def test_the_series_is_flash_linear_attentions(monkeypatch, length, chunk):
    monkeypatch.setattr(taylor, "CHUNK", chunk)
    leaves = inputs(length)
    theirs = naive("based").naive_parallel_based(*leaves)
    ours = taylor_attention(*leaves, causal=True)
    assert_same(gradients(ours, leaves), gradients(theirs, leaves))


@pytest.mark.parametrize("causal", [True, False])
@pytest.mark.parametrize("length", [1, 5, 37])
def test_the_layer_is_flash_linear_attentions(length, causal):
    """As their package of layers has it in plain torch."""
    names = ("TaylorFeatureMap", "flatten_diag_outer_product_off1", "_triu_indices")
    features = defined(installed("fla", "modules", "feature_map.py"), *names)
    name = "BasedLinearAttention"
    make = defined(installed("fla", "layers", "based.py"), name, **features)[name]
    theirs = make(12, num_heads=3, num_key_value_heads=3, eps=1e-6, causal=causal)
    theirs.forward = theirs.forward_reference
    layer = TaylorAttention(12, 3, causal)
    names = {"query": "q_proj", "key": "k_proj", "value": "v_proj", "out": "o_proj"}
    weights = {f"{n}.weight": getattr(layer, ours).weight for ours, n in names.items()}
    x = torch.randn(2, length, 12, requires_grad=True)
    leaves = [x, *layer.parameters()]
    expected = functional_call(theirs, weights, x, strict=True)
    assert_same(gradients(layer(x), leaves), gradients(expected, leaves))


@pytest.mark.parametrize("length", [1, 5, 37])
def test_over_all_positions_it_is_the_last_row_of_the_causal_one(length):
    """The last position sees everything; so does every other one, put last."""
    q, k, v = (t.detach() for t in inputs(length))
    ours = taylor_attention(q, k, v, causal=False)
    for i in range(length):
        last = taylor_attention(q[:, :, i : i + 1].expand_as(q), k, v, causal=True)[:, :, -1]
        assert_same([ours[:, :, i]], [last])


@pytest.mark.parametrize("length", [1, 4, 5, 8, 37])
@pytest.mark.parametrize("window", [1, 4, 16])
def test_the_window_is_dense_attention_under_its_mask(length, window):
    layer = WindowAttention(12, 3, window)
    x = torch.randn(2, length, 12, requires_grad=True)
    q, k, v = layer.split(x)
    i = torch.arange(length)
    mask = (i[:, None] >= i) & (i[:, None] - i < window)
    expected = layer.merge(F.scaled_dot_product_attention(q, k, v, attn_mask=mask))
    leaves = [x, *layer.parameters()]
    assert_same(gradients(layer(x), leaves), gradients(expected, leaves))


@pytest.mark.parametrize("length", [4, 9, 37])
def test_the_window_is_local_attentions(length):
    package = pytest.importorskip("local_attention", reason="pip install -e .[oracles]")
    theirs = package.LocalAttention(
        window_size=4, look_backward=1, causal=True, exact_windowsize=True, autopad=True,
        use_rotary_pos_emb=False, use_xpos=False,
    )  # fmt: skip
    layer = WindowAttention(12, 3, 5)  # itself and the four before
    x = torch.randn(2, length, 12, requires_grad=True)
    expected = layer.merge(theirs(*layer.split(x)))
    leaves = [x, *layer.parameters()]
    assert_same(gradients(layer(x), leaves), gradients(expected, leaves))


def test_sizes_that_can_not_be_are_refused():
    with pytest.raises(ValueError, match="heads"):
        TaylorAttention(12, 5)
    with pytest.raises(ValueError, match="window"):
        WindowAttention(12, 3, 0)
