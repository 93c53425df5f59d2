"""NaN and infinity at any place of any input, or of a cotangent, give what the reference gives."""

import math

import pytest
import torch
from cases import draw, draw_conv
from hypothesis import given, settings
from hypothesis import strategies as st

from fcilib.scan import causal_conv_silu, selective_scan
from fcilib.scan.cpu import convolution, scan

VALUES = (math.nan, math.inf, -math.inf)
MANY = settings(max_examples=60, deadline=None, derandomize=True)


def spoil(tensors, data, times=1):
    """Put a number that is not finite at some places."""
    for _ in range(times):
        tensor = tensors[data.draw(st.sampled_from(sorted(tensors)), "name")]
        place = data.draw(st.integers(0, tensor.numel() - 1), "place")
        with torch.no_grad():
            tensor.view(-1)[place] = data.draw(st.sampled_from(VALUES), "value")


def outcome(function, inputs, cotangents, **options):
    """Outputs and gradients, by name."""
    outputs = function(**inputs, **options)
    outputs = outputs if isinstance(outputs, tuple) else (outputs,)
    gradients = torch.autograd.grad(outputs, list(inputs.values()), cotangents)
    parts = [f"output {k}" for k in range(len(outputs))]
    return dict(zip([*parts, *inputs], [*outputs, *gradients], strict=True))


def assert_alike(found, expected):
    """The same NaN, the same infinities, and what is finite close."""
    for name, want in expected.items():
        want = want.detach()
        finite = want[want.isfinite()]
        scale = float(finite.abs().max()) if finite.numel() else 1.0
        torch.testing.assert_close(
            found[name].detach(),
            want,
            rtol=1e-4,
            atol=1e-5 * max(1.0, scale),
            equal_nan=True,
            msg=lambda said, name=name: f"{name}: {said}",
        )


@pytest.mark.parametrize("backend", ["numba", "torch"])
@MANY
@given(
    st.tuples(
        st.integers(1, 2), st.integers(1, 20), st.sampled_from([1, 3, 64, 66]), st.integers(1, 4)
    ),
    st.integers(0, 99),
    st.sets(st.sampled_from(["D", "z", "delta_bias", "initial_state"])),
    st.booleans(),
    st.booleans(),
    st.data(),
)
def test_scan(backend, shape, seed, missing, softplus, reverse, data):
    B, L, d, N = shape
    drawn = draw(*shape, dtype=torch.float32, seed=seed)
    generator = torch.Generator().manual_seed(seed)
    drawn["initial_state"] = torch.randn(B, d, N, generator=generator).requires_grad_()
    if not softplus:  # steps are steps; a negative one makes states grow
        for name in ("delta", "delta_bias"):
            drawn[name] = drawn[name].detach().abs().requires_grad_()
    inputs = {name: tensor for name, tensor in drawn.items() if name not in missing}
    cotangents = torch.randn(B, L, d), torch.randn(B, d, N)
    spoil(inputs | {"dy": cotangents[0], "dh": cotangents[1]}, data, data.draw(st.integers(1, 2)))
    options = {"delta_softplus": softplus, "reverse": reverse, "return_last_state": True}
    found, expected = (
        outcome(selective_scan, inputs, cotangents, backend=name, **options)
        for name in (backend, "reference")
    )
    assert_alike(found, expected)


@MANY
@given(
    st.tuples(st.integers(1, 2), st.integers(1, 9), st.sampled_from([1, 3, 66]), st.integers(1, 5)),
    st.integers(0, 99),
    st.booleans(),
    st.data(),
)
def test_convolution(shape, seed, reverse, data):
    inputs = draw_conv(*shape, dtype=torch.float32, seed=seed)
    cotangent = torch.randn(shape[:3])
    spoil(inputs | {"dy": cotangent}, data)
    found, expected = (
        outcome(causal_conv_silu, inputs, (cotangent,), backend=name, reverse=reverse)
        for name in ("numba", "reference")
    )
    assert_alike(found, expected)


NAN, INF = math.nan, math.inf


@pytest.mark.parametrize(
    ("delta", "A", "bias", "y", "du"),
    [
        ([0.5, NAN], -1.0, None, [0.5, NAN], [NAN, NAN]),
        ([INF], -1.0, None, [INF], [INF]),
        ([0.5, 0.5], NAN, None, [NAN, NAN], [NAN, 0.5]),
        ([0.5, 0.5], -1.0, INF, [INF, NAN], [INF, INF]),
        ([1e35], -1.0, None, [1e35], [1e35]),
    ],
    ids=["NaN step", "infinite step", "NaN rate", "infinite bias", "step that an exponent cuts"],
)
def test_small_cases_by_hand(delta, A, bias, y, du):
    one = torch.ones(1, len(delta), 1)
    u = one.clone().requires_grad_()
    out = selective_scan(
        u,
        torch.tensor(delta).view(1, -1, 1),
        torch.tensor([[A]]),
        one,
        one,
        delta_bias=None if bias is None else torch.tensor([bias]),
        backend="numba",
    )
    (gradient,) = torch.autograd.grad(out.sum(), u)
    for have, want in ((out, y), (gradient, du)):
        torch.testing.assert_close(have.flatten(), torch.tensor(want), equal_nan=True)


def assert_gradients_alike(function, inputs, **options):
    results = []
    for name in ("numba", "reference"):
        own = {n: v.detach().clone().requires_grad_() for n, v in inputs.items()}
        y = function(**own, backend=name, **options)
        gradients = torch.autograd.grad(y.sum(), list(own.values()))
        results.append(dict(zip(["y", *own], [y, *gradients], strict=True)))
    assert_alike(*results)


@pytest.mark.parametrize(
    ("name", "value"),
    [("z", -1e36), ("delta_bias", 1e30), ("A", -1e37)],
    ids=str,
)
def test_numbers_that_only_just_are_finite_vanish_where_they_should(name, value):
    """exp, sigmoid and SiLU are exactly zero there, and whatever is multiplied by them."""
    inputs = draw(1, 12, 5, 4, dtype=torch.float32)
    with torch.no_grad():
        inputs["delta"].abs_()
        inputs["delta_bias"].abs_()
        inputs[name].view(-1)[-1] = value
    assert_gradients_alike(selective_scan, inputs)


@pytest.mark.parametrize("value", [-3e38, -1e36])
def test_a_response_that_only_just_is_finite_vanishes(value):
    inputs = draw_conv(1, 7, 3, 2, dtype=torch.float32)
    with torch.no_grad():
        inputs["bias"][1] = value
    assert_gradients_alike(causal_conv_silu, inputs)


def test_finite_numbers_never_raise_the_alarm(monkeypatch):
    """Their bits are those of the loops, up to steps and gates of 1e15."""

    def refuse(*_):
        raise AssertionError("done again")

    monkeypatch.setattr(scan.plain_torch, "selective_scan", refuse)
    monkeypatch.setattr(convolution.reference, "causal_conv_silu", refuse)
    inputs = draw(2, 19, 66, 4, dtype=torch.float32)
    inputs["delta"] = (inputs["delta"].detach() * 1e10).requires_grad_()
    y, h = selective_scan(**inputs, delta_softplus=True, return_last_state=True, backend="numba")
    (y.sum() + h.sum()).backward()
    assert y.isfinite().all()
    causal_conv_silu(
        **draw_conv(2, 9, 66, 4, dtype=torch.float32), backend="numba"
    ).sum().backward()
