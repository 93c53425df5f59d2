"""The adapter to mamba_ssm and causal_conv1d, against stand-ins for them.

Neither package installs without a CUDA compiler, and neither has been run here. The stand-ins have
their functions' signatures, insist on what their kernels check (selective_scan.cpp and
causal_conv1d.cpp) and compute the result by a float64 loop in their layout. What is tested is
therefore the call, not the kernels.
"""

import sys
from importlib.machinery import ModuleSpec
from types import ModuleType

import pytest
import torch
from cases import (
    CONV_SHAPES,
    SHAPES,
    assert_same,
    conv_id,
    conv_results,
    draw,
    draw_conv,
    gradients,
    scan_id,
)

from fcilib.scan import causal_conv_silu, selective_scan
from fcilib.scan.cuda import mamba_ssm

HALF_OR_SINGLE = (torch.float32, torch.bfloat16, torch.float16)


def stand_in(monkeypatch, name, **functions):
    """A module of that name, and the packages it lies in, that can be imported and found."""
    parts = name.split(".")
    for depth in range(1, len(parts) + 1):
        module = ModuleType(".".join(parts[:depth]))
        module.__spec__ = ModuleSpec(module.__name__, None, is_package=depth < len(parts))
        module.__path__ = []
        monkeypatch.setitem(sys.modules, module.__name__, module)
    for function_name, function in functions.items():
        setattr(module, function_name, function)


def dense(tensor):
    return tensor.stride(-1) == 1


def selective_scan_fn(
    u,
    delta,
    A,
    B,
    C,
    D=None,
    z=None,
    delta_bias=None,
    delta_softplus=False,
    return_last_state=False,
):
    """Theirs: rows `(B, d, L)`, maps `(B, N, L)`; the last state without its gradient."""
    batch, width, length = u.shape
    states = A.shape[1]
    assert u.dtype in HALF_OR_SINGLE
    assert states <= 256
    for rows in (u, delta, z):
        assert rows is None or (rows.shape == u.shape and rows.dtype == u.dtype and dense(rows))
    for maps in (B, C):
        assert maps.shape == (batch, states, length)
        assert maps.dtype == u.dtype
        assert dense(maps)
    assert A.shape == (width, states)
    assert A.dtype == torch.float32
    for weights in (D, delta_bias):
        assert weights is None or (weights.shape == (width,) and weights.dtype == torch.float32)
        assert weights is None or dense(weights)
    assert isinstance(delta_softplus, bool)
    assert isinstance(return_last_state, bool)

    wide = [None if t is None else t.double() for t in (u, delta, A, B, C, D, z, delta_bias)]
    y, h = scan_in_their_layout(*wide, delta_softplus)
    y = y.to(u.dtype)
    return (y, h.float().detach().requires_grad_()) if return_last_state else y


def scan_in_their_layout(u, delta, A, B, C, D, z, delta_bias, delta_softplus):
    if delta_bias is not None:
        delta = delta + delta_bias[:, None]
    if delta_softplus:
        delta = torch.nn.functional.softplus(delta)
    h = 0.0
    ys = []
    for t in range(u.shape[2]):
        h = h * (delta[:, :, t, None] * A).exp()
        h = h + (delta[:, :, t] * u[:, :, t])[:, :, None] * B[:, None, :, t]
        ys.append((h * C[:, None, :, t]).sum(2))
    y = torch.stack(ys, dim=2)
    if D is not None:
        y = y + u * D[:, None]
    if z is not None:
        y = y * z * torch.sigmoid(z)
    return y, h


def causal_conv1d_fn(x, weight, bias=None, *, activation=None):
    """Theirs: x `(B, d, L)`, weight `(d, K)` for K from 2 to 4, bias in the dtype of weight."""
    _, width, length = x.shape
    taps = weight.shape[1]
    assert x.dtype in HALF_OR_SINGLE
    assert weight.dtype in HALF_OR_SINGLE
    assert weight.shape[0] == width
    assert 2 <= taps <= 4
    # Channels innermost would ask for a width divisible by 8.
    assert dense(x)
    assert bias is None or (bias.shape == (width,) and bias.dtype == weight.dtype and dense(bias))
    assert activation == "silu"
    ys = []
    for t in range(length):
        y = 0.0 if bias is None else bias.double()
        for k in range(taps):
            if (source := t - (taps - 1) + k) >= 0:
                y = y + weight[:, k].double() * x[:, :, source].double()
        ys.append(y * torch.sigmoid(y) + torch.zeros_like(x[:, :, t]))
    return torch.stack(ys, dim=2).to(x.dtype)


@pytest.fixture(autouse=True)
def stand_ins(monkeypatch):
    name = "mamba_ssm.ops.selective_scan_interface"
    stand_in(monkeypatch, name, selective_scan_fn=selective_scan_fn)
    stand_in(monkeypatch, "causal_conv1d", causal_conv1d_fn=causal_conv1d_fn)
    # The stand-ins run where there is no CUDA device; the dtypes are still checked.
    monkeypatch.setattr(mamba_ssm, "supports", lambda tensor: tensor.dtype in HALF_OR_SINGLE)


def scan_results(inputs, backend, **options):
    """As `results`, but with no gradient through the last state."""
    y, h = selective_scan(
        **inputs, delta_softplus=True, return_last_state=True, backend=backend, **options
    )
    return {"y": y, "h": h} | gradients((y,), inputs)


@pytest.mark.parametrize("reverse", [False, True], ids=["forward", "reverse"])
@pytest.mark.parametrize("shape", SHAPES, ids=scan_id)
def test_scan_equals_the_reference(shape, reverse):
    expected = scan_results(draw(*shape), "reference", reverse=reverse)
    found = scan_results(draw(*shape, dtype=torch.float32), "mamba_ssm", reverse=reverse)
    assert_same(found, expected)


@pytest.mark.parametrize("name", ["D", "z", "delta_bias"])
def test_optional_arguments_may_be_missing(name):
    def output(dtype, backend):
        inputs = draw(2, 9, 6, 3, dtype=dtype) | {name: None}
        inputs["delta"] = inputs["delta"].detach().abs()
        return {"y": selective_scan(**inputs, backend=backend)}

    assert_same(output(torch.float32, "mamba_ssm"), output(torch.float64, "reference"))


@pytest.mark.parametrize("dtype", [torch.bfloat16, torch.float16])
def test_rows_stay_narrow_and_weights_go_in_wide(dtype):
    """The stand-in refuses anything else; the results keep the dtypes of their inputs."""
    found = scan_results(draw(2, 9, 6, 3, dtype=dtype), "mamba_ssm")
    assert found["h"].dtype == torch.float32
    assert all(tensor.dtype == dtype for name, tensor in found.items() if name != "h")
    assert_same(found, scan_results(draw(2, 9, 6, 3), "reference"), tolerance=2e-2)


def test_rows_of_different_dtypes_go_in_wide():
    inputs = draw(2, 9, 6, 3, dtype=torch.bfloat16)
    inputs["B"] = inputs["B"].detach().float().requires_grad_()
    found = scan_results(inputs, "mamba_ssm")
    assert found["y"].dtype == torch.bfloat16
    assert found["B"].dtype == torch.float32


def test_scan_takes_views():
    plain = draw(2, 9, 6, 3, dtype=torch.float32)
    views = {
        name: torch.stack([t.detach(), t.detach()], dim=-1)[..., 0] for name, t in plain.items()
    }
    views["D"] = views["D"][:1].expand(6)
    copies = {name: view.clone() for name, view in views.items()}
    assert torch.equal(
        selective_scan(**views, backend="mamba_ssm"), selective_scan(**copies, backend="mamba_ssm")
    )


def test_gradient_through_the_last_state_is_refused():
    """Theirs would leave it out without a word."""
    _, h = selective_scan(
        **draw(1, 4, 3, 2, dtype=torch.float32), return_last_state=True, backend="mamba_ssm"
    )
    with pytest.raises(NotImplementedError, match="no gradient through the last state"):
        h.sum().backward()


def test_too_many_states():
    inputs = draw(1, 2, 1, 257, dtype=torch.float32)
    with pytest.raises(ValueError, match=r"^A must have at most 256 states .*got 257"):
        selective_scan(**inputs, backend="mamba_ssm")


def test_takes_cuda_tensors_only(monkeypatch):
    monkeypatch.undo()
    assert not mamba_ssm.supports(torch.zeros(1))


@pytest.mark.parametrize("reverse", [False, True], ids=["forward", "reverse"])
@pytest.mark.parametrize("shape", CONV_SHAPES, ids=conv_id)
def test_convolution_equals_the_reference(shape, reverse):
    """1 tap and 7 are not theirs to do."""
    expected = conv_results(draw_conv(*shape), "reference", reverse=reverse)
    found = conv_results(draw_conv(*shape, torch.float32), "mamba_ssm", reverse=reverse)
    assert_same(found, expected)


def test_convolution_without_bias():
    inputs = draw_conv(2, 5, 3, 4, torch.float32) | {"bias": None}
    assert_same(conv_results(inputs, "mamba_ssm"), conv_results(inputs, "reference"))


def test_convolution_keeps_the_dtype_of_x():
    x, weight, bias = draw_conv(2, 5, 3, 4, torch.float32).values()
    y = causal_conv_silu(x.bfloat16(), weight, bias, backend="mamba_ssm")
    assert y.dtype == torch.bfloat16


def test_convolution_where_causal_conv1d_is_not_installed(monkeypatch):
    monkeypatch.setitem(sys.modules, "causal_conv1d", None)
    inputs = draw_conv(2, 5, 3, 4, torch.float32)
    assert torch.equal(
        causal_conv_silu(**inputs, backend="mamba_ssm"),
        causal_conv_silu(**inputs, backend="reference"),
    )
