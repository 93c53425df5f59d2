"""The Triton kernels in Triton's interpreter, on the CPU, against the sequential loop in float64.

The interpreter has to be chosen before the kernels are imported and cannot be undone, so what is
checked here runs in a process of its own: `check_*` are its tests, collected only there. By hand:

    TRITON_INTERPRET=1 python -m pytest -o 'python_functions=check_*' tests/scan/test_triton.py

It says nothing about a GPU: that is `test_triton_compile.py` and `test_gpu.py`.
"""

import os
import subprocess
import sys
from importlib.util import find_spec

import cases
import numpy as np
import pytest
import torch
from hypothesis import given, settings
from hypothesis import strategies as st

from fcilib.scan import selective_scan

pytestmark = pytest.mark.skipif(
    find_spec("triton") is None, reason="triton is not installed: pip install 'fcilib[cuda]'"
)

# B, L, d, N: small, for the interpreter is slow. Lengths around a chunk (8), past a segment (64),
# widths around the blocks (8, 32, 64)
SHAPES = [
    (1, 1, 1, 1),
    (2, 3, 5, 2),
    (2, 8, 8, 3),
    (1, 17, 9, 2),
    (1, 7, 4, 16),
    (1, 67, 2, 2),
]
WIDE_SHAPES = [(2, 9, 66, 2), (1, 66, 3, 1)]
CONV_SHAPES = [(1, 1, 1, 4), (2, 3, 5, 4), (1, 33, 66, 3), (2, 40, 3, 1), (1, 2, 3, 7)]
CLOSE = 2e-6  # of the largest entry


def test_in_the_interpreter():
    options = ["-q", "-p", "no:cacheprovider", "-o", "python_functions=check_*"]
    child = subprocess.run(
        [sys.executable, "-m", "pytest", *options, __file__],
        env=os.environ | {"TRITON_INTERPRET": "1", "OMP_NUM_THREADS": "1"},
        capture_output=True,
        text=True,
        timeout=900,
    )
    assert child.returncode == 0, f"\n{child.stdout}\n{child.stderr}"
    print(child.stdout.strip().splitlines()[-1])


@pytest.fixture(autouse=True)
def quiet():
    """The interpreter is numpy, which warns where a GPU quietly gives inf."""
    with np.errstate(all="ignore"):
        yield


@pytest.fixture
def backend(monkeypatch):
    """The back end, with memory full of NaN: what is not written, or read too early, shows."""
    from fcilib.scan.cuda import triton_convolution, triton_scan

    def empty(shape, like, dtype=torch.float32):
        return torch.full(shape, float("nan"), dtype=dtype, device=like.device)

    monkeypatch.setattr(triton_scan, "empty", empty)
    monkeypatch.setattr(triton_convolution, "empty", empty)
    return triton_scan


@pytest.mark.parametrize("reverse", [False, True], ids=["forward", "reverse"])
@pytest.mark.parametrize("shape", SHAPES, ids=cases.scan_id)
def check_scan_equals_the_reference_in_float64(shape, reverse, backend):
    expected = cases.results(cases.draw(*shape), "reference", reverse=reverse)
    found = cases.results(cases.draw(*shape, dtype=torch.float32), "triton", reverse=reverse)
    cases.assert_same(found, expected, CLOSE)


@pytest.mark.parametrize("reverse", [False, True], ids=["forward", "reverse"])
@pytest.mark.parametrize("shape", WIDE_SHAPES, ids=cases.scan_id)
def check_wide_blocks(shape, reverse, backend, monkeypatch):
    """As for many sequences or channels: another tile, fewer steps read at a time."""
    monkeypatch.setattr(backend, "ENOUGH_PROGRAMS", 0)
    expected = cases.results(cases.draw(*shape), "reference", reverse=reverse)
    found = cases.results(cases.draw(*shape, dtype=torch.float32), "triton", reverse=reverse)
    cases.assert_same(found, expected, CLOSE)


@pytest.mark.parametrize("reverse", [False, True], ids=["forward", "reverse"])
@pytest.mark.parametrize("shape", [(2, 3, 5, 2), (1, 17, 9, 2), (1, 67, 2, 2)], ids=cases.scan_id)
def check_a_scan_from_an_initial_state(shape, reverse, backend):
    def with_state(dtype):
        inputs = cases.draw(*shape, dtype=dtype)
        B, _, d, N = shape
        drawn = torch.linspace(-1, 1, B * d * N, dtype=torch.float64).bfloat16().to(dtype)
        return inputs | {"initial_state": drawn.view(B, d, N).requires_grad_()}

    found, expected = [], []
    for values, dtype, name in (
        (found, torch.float32, "triton"),
        (expected, torch.float64, "reference"),
    ):
        inputs = with_state(dtype)
        y, last = selective_scan(
            **inputs, delta_softplus=True, return_last_state=True, reverse=reverse, backend=name
        )
        loss = y.square().sum() + (3 * last).sum()
        values += [y, last, *torch.autograd.grad(loss, list(inputs.values()))]
    names = ["y", "h", *with_state(torch.float32)]
    cases.assert_same(
        dict(zip(names, found, strict=True)), dict(zip(names, expected, strict=True)), CLOSE
    )


@settings(max_examples=6, deadline=None, derandomize=True)
@given(
    st.tuples(st.integers(1, 2), st.integers(1, 20), st.integers(1, 12), st.integers(1, 4)),
    st.booleans(),
    st.sets(st.sampled_from(["D", "z", "delta_bias"])),
    st.booleans(),
)
def check_any_shape_and_options(shape, reverse, missing, wide):
    from fcilib.scan.cuda import triton_scan

    def results(dtype, backend):
        inputs = cases.draw(*shape, dtype=dtype) | dict.fromkeys(missing)
        return cases.results(inputs, backend, reverse=reverse)

    with pytest.MonkeyPatch.context() as patch:
        patch.setattr(triton_scan, "ENOUGH_PROGRAMS", 0 if wide else 1 << 30)
        with np.errstate(all="ignore"):
            found = results(torch.float32, "triton")
    cases.assert_same(found, results(torch.float64, "reference"), CLOSE)


@pytest.mark.parametrize("missing", ["D", "z", "delta_bias", "all", "softplus"])
def check_every_optional_argument_may_be_missing(missing, backend):
    def without(dtype):
        inputs = cases.draw(1, 9, 6, 2, dtype=dtype)
        if missing == "softplus":  # delta is then the step size itself
            for name in ("delta", "delta_bias"):
                inputs[name] = inputs[name].detach().abs().requires_grad_()
        for name in ("D", "z", "delta_bias"):
            if missing in (name, "all"):
                inputs[name] = None
        return inputs

    softplus = missing != "softplus"
    expected = cases.results(without(torch.float64), "reference", delta_softplus=softplus)
    found = cases.results(without(torch.float32), "triton", delta_softplus=softplus)
    cases.assert_same(found, expected, CLOSE)


@pytest.mark.parametrize("part", [0, 1], ids=["output", "state"])
def check_gradient_through_one_of_the_two_results(part, backend):
    shape = (1, 11, 5, 3)
    expected = cases.gradients_through(part, cases.draw(*shape), "reference")
    found = cases.gradients_through(part, cases.draw(*shape, dtype=torch.float32), "triton")
    cases.assert_same(found, expected, CLOSE)


def check_state_unwanted_and_no_gradients(backend):
    inputs = cases.draw(1, 9, 6, 2, dtype=torch.float32)
    wanted, _ = selective_scan(**inputs, return_last_state=True, backend="triton")
    with torch.no_grad():
        assert torch.equal(selective_scan(**inputs, backend="triton"), wanted)


def check_inputs_need_not_be_contiguous(backend):
    """Transposed, sliced and broadcast views give the bits of their copies, in both directions."""
    B, L, d, N = 2, 5, 6, 2
    plain = {n: t.detach() for n, t in cases.draw(B, L, d, N, dtype=torch.float32).items()}
    wide = torch.randn(B, L, 2 * d + 2 * N, generator=torch.Generator().manual_seed(2))
    u, z, B_map, C_map = wide.split([d, d, N, N], dim=-1)
    views = {
        "u": u,
        "delta": plain["delta"].transpose(1, 2).contiguous().transpose(1, 2),
        "A": plain["A"].t().contiguous().t(),
        "B": B_map,
        "C": C_map[:, :, :1].expand(B, L, N),
        "D": plain["D"][:1].expand(d),
        "z": z.transpose(0, 1).contiguous().transpose(0, 1),
        "delta_bias": plain["delta_bias"].repeat_interleave(2)[::2],
    }
    copies = {name: view.clone().contiguous() for name, view in views.items()}
    for reverse in (False, True):
        found, expected = (
            cases.results(
                {name: t.detach().requires_grad_() for name, t in given.items()},
                "triton",
                reverse=reverse,
            )
            for given in (views, copies)
        )
        cases.assert_equal(found, expected)


def check_cotangents_need_not_be_dense(backend):
    inputs = cases.draw(1, 9, 6, 2, dtype=torch.float32)
    y, h = selective_scan(**inputs, return_last_state=True, backend="triton")
    both = (y, h.transpose(1, 2))
    ones = [torch.ones(()).expand(part.shape) for part in both]
    broadcast = torch.autograd.grad(both, inputs.values(), ones, retain_graph=True)
    dense = torch.autograd.grad(both, inputs.values(), [one.contiguous() for one in ones])
    assert all(torch.equal(a, b) for a, b in zip(broadcast, dense, strict=True))


@pytest.mark.parametrize("dtype", [torch.bfloat16, torch.float16], ids=str)
def check_half_precision_is_only_in_what_goes_in_and_out(dtype, backend):
    expected = cases.results(cases.draw(1, 10, 6, 3), "reference")
    found = cases.results(cases.draw(1, 10, 6, 3, dtype=dtype), "triton")
    assert found["h"].dtype == torch.float32
    assert all(tensor.dtype == dtype for name, tensor in found.items() if name != "h")
    cases.assert_same({"h": found["h"]}, {"h": expected["h"]}, CLOSE)
    cases.assert_same(found, expected, tolerance=1e-2)


def check_mixed_precision(backend):
    """As under autocast: narrow activations, wide weights."""
    inputs = cases.draw(1, 10, 6, 3, dtype=torch.float32)
    for name in ("u", "B", "C", "z"):
        inputs[name] = inputs[name].detach().bfloat16().requires_grad_()
    found = cases.results(inputs, "triton")
    assert all(found[name].dtype == inputs[name].dtype for name in inputs)
    expected = cases.results(cases.draw(1, 10, 6, 3), "reference")
    wide = ("h", "delta", "A", "D", "delta_bias")
    cases.assert_same({n: found[n] for n in wide}, {n: expected[n] for n in wide}, 1e-2)


@pytest.mark.parametrize("factor", [1e-4, 60.0], ids=["small", "large"])
def check_steps_and_gates_of_any_size(factor, backend):
    inputs = cases.draw(1, 10, 6, 3, dtype=torch.float32)
    for name in ("z", "delta"):
        inputs[name] = (inputs[name].detach() * factor).requires_grad_()
    wide = {name: t.detach().double().requires_grad_() for name, t in inputs.items()}
    cases.assert_same(
        cases.results(inputs, "triton"), cases.results(wide, "reference"), tolerance=1e-5
    )


def check_small_step_sizes_keep_their_digits(backend):
    """softplus(-20) is 2e-9: each output within 1e-5 of itself, not only of the largest."""
    inputs = {n: t.detach() for n, t in cases.draw(1, 1, 41, 1, dtype=torch.float32).items()}
    inputs |= {"D": None, "z": None, "delta_bias": None}
    inputs["delta"] = torch.linspace(-60, 20, 41).view(1, 1, 41)
    found = selective_scan(**inputs, delta_softplus=True, backend="triton").double()
    wide = {name: None if t is None else t.double() for name, t in inputs.items()}
    expected = selective_scan(**wide, delta_softplus=True, backend="reference")
    torch.testing.assert_close(found, expected, rtol=2e-6, atol=0)


def check_zeros(backend):
    def zeros(dtype):
        inputs = cases.draw(1, 9, 5, 2, dtype=dtype)
        return {name: torch.zeros_like(t).requires_grad_() for name, t in inputs.items()}

    expected = cases.results(zeros(torch.float64), "reference")
    cases.assert_same(cases.results(zeros(torch.float32), "triton"), expected, CLOSE)


def check_nothing_drifts_where_nothing_decays(backend):
    u = torch.zeros(1, 150, 1)
    u[0, 0] = 1.0
    one = torch.ones(1, 150, 1)
    y = selective_scan(u, one, torch.zeros(1, 1), one, one, backend="triton")
    assert torch.equal(y, one)


@pytest.mark.parametrize("name", cases.NAMES)
def check_nan_is_not_hidden(name, backend):
    inputs = cases.draw(1, 5, 3, 2, dtype=torch.float32)
    with torch.no_grad():
        inputs[name].view(-1)[0] = float("nan")
    found = cases.results(inputs, "triton")
    expected = cases.results(inputs, "reference")
    for part, tensor in expected.items():
        if tensor.isnan().any():
            assert found[part].isnan().any(), part
    assert expected["y"].isnan().any()


@pytest.mark.parametrize("reverse", [False, True], ids=["forward", "reverse"])
@pytest.mark.parametrize("shape", CONV_SHAPES, ids=cases.conv_id)
def check_convolution_equals_the_reference_in_float64(shape, reverse, backend):
    expected = cases.conv_results(cases.draw_conv(*shape), "reference", reverse=reverse)
    inputs = cases.draw_conv(*shape, dtype=torch.float32)
    cases.assert_same(cases.conv_results(inputs, "triton", reverse=reverse), expected, CLOSE)


def check_convolution_without_bias(backend):
    def inputs(dtype):
        return cases.draw_conv(2, 9, 6, 4, dtype=dtype) | {"bias": None}

    expected = cases.conv_results(inputs(torch.float64), "reference")
    cases.assert_same(cases.conv_results(inputs(torch.float32), "triton"), expected, CLOSE)


@pytest.mark.parametrize("dtype", [torch.bfloat16, torch.float16], ids=str)
def check_convolution_in_half_precision(dtype, backend):
    found = cases.conv_results(cases.draw_conv(2, 9, 6, 4, dtype=dtype), "triton")
    assert all(tensor.dtype == dtype for tensor in found.values())
    expected = cases.conv_results(cases.draw_conv(2, 9, 6, 4), "reference")
    cases.assert_same(found, expected, tolerance=1e-2)


def check_convolution_of_views(backend):
    plain = {n: t.detach() for n, t in cases.draw_conv(2, 13, 6, 4, dtype=torch.float32).items()}
    views = {
        "x": plain["x"].transpose(1, 2).contiguous().transpose(1, 2),
        "weight": plain["weight"].t().contiguous().t(),
        "bias": plain["bias"][:1].expand(6),
    }
    copies = {name: view.clone().contiguous() for name, view in views.items()}
    found, expected = (
        cases.conv_results({n: t.detach().requires_grad_() for n, t in given.items()}, "triton")
        for given in (views, copies)
    )
    cases.assert_equal(found, expected)


@pytest.mark.parametrize("name", ["x", "weight", "bias"])
def check_convolution_does_not_hide_nan(name, backend):
    inputs = cases.draw_conv(1, 5, 3, 4, dtype=torch.float32)
    with torch.no_grad():
        inputs[name].view(-1)[-1] = float("nan")
    assert cases.conv_results(inputs, "triton")["y"].isnan().any()


def check_what_is_supported(backend):
    assert backend.supports(torch.zeros(1))
    assert backend.supports(torch.zeros(1, dtype=torch.bfloat16))
    assert not backend.supports(torch.zeros(1, dtype=torch.float64))
    assert not backend.supports(torch.zeros(1, device="meta"))
