"""The fused convolution against torch's, in float64."""

import pytest
import torch
from cases import (
    CONV_SHAPES,
    assert_equal,
    assert_same,
    conv_id,
    conv_results,
    draw_conv,
    gradients,
)
from torch.nn import functional as F

from fcilib.scan import causal_conv_silu
from fcilib.scan.cpu import convolution, tensors, threads

CPU_BACKENDS = ["reference", "numba", "torch"]


@pytest.fixture
def nan_filled(monkeypatch):
    def empty(*shape):
        return torch.full(shape, float("nan"))

    monkeypatch.setattr(tensors, "empty", empty)
    monkeypatch.setattr(threads, "empty", empty)
    monkeypatch.setattr(convolution, "empty", empty)
    monkeypatch.setattr(convolution, "raised", lambda alarm: False)


@pytest.mark.parametrize("reverse", [False, True], ids=["forward", "reverse"])
@pytest.mark.parametrize("shape", CONV_SHAPES, ids=conv_id)
@pytest.mark.parametrize("backend", ["numba", "torch"])
def test_equals_the_reference_in_float64(backend, shape, reverse, nan_filled):
    expected = conv_results(draw_conv(*shape), "reference", reverse=reverse)
    found = conv_results(draw_conv(*shape, dtype=torch.float32), backend, reverse=reverse)
    assert_same(found, expected)


@pytest.mark.parametrize("backend", CPU_BACKENDS)
def test_equals_a_padded_conv1d(backend):
    """As every Mamba writes it: pad both ends, cut the tail, activate."""
    x, weight, bias = draw_conv(2, 19, 6, 4, dtype=torch.float32).values()
    y = F.conv1d(x.transpose(1, 2), weight[:, None], bias, padding=3, groups=6)[..., :19]
    expected = F.silu(y).transpose(1, 2)
    assert_same({"y": causal_conv_silu(x, weight, bias, backend=backend)}, {"y": expected})


@pytest.mark.parametrize("backend", CPU_BACKENDS)
def test_no_bias(backend, nan_filled):
    inputs = draw_conv(2, 9, 6, 4, dtype=torch.float32)
    zero = inputs | {"bias": torch.zeros(6, requires_grad=True)}
    expected = conv_results(zero, backend)
    del expected["bias"]
    assert_same(conv_results(inputs | {"bias": None}, backend), expected)


@pytest.mark.parametrize("backend", CPU_BACKENDS)
def test_looks_one_way_only(backend):
    x, weight, bias = (t.detach() for t in draw_conv(1, 12, 3, 4, dtype=torch.float32).values())
    changed = x.clone()
    changed[:, 6] += 1
    for reverse, untouched in ((False, slice(0, 6)), (True, slice(7, 12))):
        before, after = (
            causal_conv_silu(t, weight, bias, reverse=reverse, backend=backend)
            for t in (x, changed)
        )
        assert torch.equal(before[:, untouched], after[:, untouched])
        assert not torch.equal(before[:, 6], after[:, 6])


@pytest.mark.parametrize("backend", CPU_BACKENDS)
def test_reverse_is_flip_conv_flip(backend):
    x, weight, bias = draw_conv(2, 13, 5, 4, dtype=torch.float32).values()
    flipped = causal_conv_silu(x.flip(1), weight, bias, backend=backend).flip(1)
    found = causal_conv_silu(x, weight, bias, reverse=True, backend=backend)
    torch.testing.assert_close(found, flipped, rtol=1e-6, atol=1e-6)


def test_views_give_the_bits_of_their_copies():
    x, weight, bias = (t.detach() for t in draw_conv(2, 13, 66, 4, dtype=torch.float32).values())
    wide = torch.cat([x, x + 1], dim=-1)
    for view in (wide[..., :66], x.transpose(0, 1).contiguous().transpose(0, 1)):
        found, expected = (
            conv_results(
                {
                    "x": values.detach().requires_grad_(),
                    "weight": weight.clone().requires_grad_(),
                    "bias": bias.clone().requires_grad_(),
                },
                "numba",
            )
            for values in (view, view.clone(memory_format=torch.contiguous_format))
        )
        assert_equal(found, expected)


def test_bits_do_not_depend_on_the_number_of_threads(threads):
    found = []
    for number in (1, 2, 2):
        threads(number)
        found.append(conv_results(draw_conv(5, 33, 130, 4, dtype=torch.float32), "numba"))
    for other in found[1:]:
        assert_equal(other, found[0])


@pytest.mark.parametrize("backend", CPU_BACKENDS)
def test_bfloat16(backend):
    found = conv_results(draw_conv(2, 9, 6, 4, dtype=torch.bfloat16), backend)
    assert all(tensor.dtype == torch.bfloat16 for tensor in found.values())
    assert_same(found, conv_results(draw_conv(2, 9, 6, 4), "reference"), tolerance=1e-2)


@pytest.mark.parametrize("backend", CPU_BACKENDS)
def test_autocast_stops_at_the_door(backend):
    inputs = draw_conv(2, 9, 6, 4, dtype=torch.float32)
    expected = conv_results(inputs, backend)
    with torch.autocast("cpu", dtype=torch.bfloat16):
        y = causal_conv_silu(**inputs, backend=backend)
    assert_equal({"y": y} | gradients((y,), inputs), expected)


def test_one_float64_makes_all_arithmetic_float64():
    inputs = draw_conv(2, 9, 6, 4, dtype=torch.float32)
    inputs["weight"] = inputs["weight"].detach().double().requires_grad_()
    found = conv_results(inputs, "reference")
    assert {name for name, t in found.items() if t.dtype == torch.float64} == {"weight"}
    assert_same(found, conv_results(draw_conv(2, 9, 6, 4), "reference"), tolerance=1e-7)


@pytest.mark.parametrize("reverse", [False, True])
def test_gradcheck_of_the_reference(reverse):
    assert torch.autograd.gradcheck(
        lambda *t: causal_conv_silu(*t, reverse=reverse, backend="reference"),
        tuple(draw_conv(2, 5, 3, 4).values()),
    )


def test_bad_input_is_named():
    x, weight, bias = (t.detach() for t in draw_conv(2, 3, 4, 4, dtype=torch.float32).values())
    for arguments, blamed in (
        ((x[0], weight, bias), "x"),
        ((x.long(), weight, bias), "x"),
        ((x[:0], weight, bias), "x"),
        ((x, weight[:3], bias), "weight"),
        ((x, weight[:, None], bias), "weight"),
        ((x, weight[:, :0], bias), "weight"),
        ((x, weight, bias[:1]), "bias"),
        ((x, weight, 1.0), "bias"),
    ):
        with pytest.raises(ValueError, match=rf"^{blamed} must"):
            causal_conv_silu(*arguments)
    with pytest.raises(ValueError, match="auto, reference, numba"):
        causal_conv_silu(x, weight, bias, backend="cuda")
