"""The scan against the sequential loop in float64, transformers, mambapy and itself."""

import functools
import math
import re
import sys
from types import SimpleNamespace

import pytest
import torch
from cases import (
    NAMES,
    SHAPES,
    assert_equal,
    assert_same,
    draw,
    gradients,
    gradients_through,
    results,
    scan_id,
)
from hypothesis import given, settings
from hypothesis import strategies as st
from mambapy.mamba import MambaBlock as MambapyBlock
from transformers.models.mamba.modeling_mamba import mamba_selective_scan

from fcilib.cost import meter
from fcilib.scan import MissingBackendError, causal_conv_silu, dispatch, plain_torch, selective_scan
from fcilib.scan.cpu import scan as cpu_scan
from fcilib.scan.cpu import tensors, threads

CPU_BACKENDS = ["reference", "numba", "torch"]
# Those with a backward pass of their own, and how near float32 brings them to the reference.
FUSED = {"numba": 2e-6, "torch": 5e-6}


@pytest.fixture
def nan_filled(monkeypatch):
    """What a back end forgets to write, or reads before writing, becomes NaN.

    Where the loops compute NaN, plain PyTorch does not come to their help.
    """

    def empty(*shape):
        return torch.full(shape, float("nan"))

    monkeypatch.setattr(tensors, "empty", empty)
    monkeypatch.setattr(threads, "empty", empty)
    monkeypatch.setattr(cpu_scan, "empty", empty)
    monkeypatch.setattr(cpu_scan, "raised", lambda alarm: False)
    # PyTorch then fills new memory too, and refuses operations that are not deterministic.
    torch.use_deterministic_algorithms(True)
    yield
    torch.use_deterministic_algorithms(False)


@pytest.mark.parametrize("reverse", [False, True], ids=["forward", "reverse"])
@pytest.mark.parametrize("shape", SHAPES, ids=scan_id)
@pytest.mark.parametrize("backend", FUSED)
def test_equals_the_reference_in_float64(backend, shape, reverse, nan_filled):
    expected = results(draw(*shape), "reference", reverse=reverse)
    found = results(draw(*shape, dtype=torch.float32), backend, reverse=reverse)
    assert_same(found, expected, FUSED[backend])


@pytest.mark.parametrize("reverse", [False, True], ids=["forward", "reverse"])
@pytest.mark.parametrize("shape", SHAPES, ids=scan_id)
def test_torch_in_float64_equals_the_reference(shape, reverse, nan_filled):
    expected = results(draw(*shape), "reference", reverse=reverse)
    assert_same(results(draw(*shape), "torch", reverse=reverse), expected, tolerance=1e-13)


@pytest.mark.parametrize("backend", FUSED)
@pytest.mark.parametrize("missing", ["D", "z", "delta_bias", "all", "softplus"])
def test_every_optional_argument_may_be_missing(missing, backend, nan_filled):
    def without(dtype):
        inputs = draw(2, 19, 70, 5, dtype=dtype)
        if missing == "softplus":  # delta is then the step size itself
            inputs["delta"] = inputs["delta"].detach().abs().requires_grad_()
            inputs["delta_bias"] = inputs["delta_bias"].detach().abs().requires_grad_()
        for name in ("D", "z", "delta_bias"):
            if missing in (name, "all"):
                inputs[name] = None
        return inputs

    softplus = missing != "softplus"
    expected = results(without(torch.float64), "reference", delta_softplus=softplus)
    found = results(without(torch.float32), backend, delta_softplus=softplus)
    assert_same(found, expected, FUSED[backend])


@pytest.mark.parametrize("backend", FUSED)
@pytest.mark.parametrize("part", [0, 1], ids=["output", "state"])
def test_gradient_through_one_of_the_two_results(part, backend, nan_filled):
    shape = (2, 21, 9, 4)
    expected = gradients_through(part, draw(*shape), "reference")
    assert_same(gradients_through(part, draw(*shape, dtype=torch.float32), backend), expected, 1e-5)


@pytest.mark.parametrize("reverse", [False, True], ids=["forward", "reverse"])
@pytest.mark.parametrize("given", ["all", "none"])
@pytest.mark.parametrize("softplus", [True, False])
@pytest.mark.parametrize("backend", ["reference", "torch"])
def test_gradcheck(backend, softplus, given, reverse, monkeypatch):
    monkeypatch.setattr(plain_torch, "STEPS", 2)  # so that three steps are two chunks
    inputs = draw(2, 3, 2, 2)
    names = NAMES if given == "all" else NAMES[:5]

    def scan(*tensors):
        return selective_scan(
            **dict(zip(names, tensors, strict=True)),
            delta_softplus=softplus,
            return_last_state=True,
            reverse=reverse,
            backend=backend,
        )

    assert torch.autograd.gradcheck(scan, tuple(inputs[name] for name in names))


@pytest.mark.parametrize("backend", CPU_BACKENDS)
def test_equals_transformers(backend):
    """Their sequential path, in their layout `(B, d, L)`; float32, which part of it insists on."""

    def theirs(u, delta, A, B, C, D, z, delta_bias, **options):
        y, h = mamba_selective_scan(
            *(t.transpose(1, 2) for t in (u, delta)),
            A,
            *(t.transpose(1, 2) for t in (B, C)),
            D,
            z.transpose(1, 2),
            delta_bias,
            delta_softplus=True,
            return_last_state=True,
        )
        return y.transpose(1, 2), h

    expected_inputs = draw(2, 37, 70, 16, dtype=torch.float32)
    y, h = theirs(**expected_inputs)
    expected = {"y": y, "h": h} | gradients((y, h), expected_inputs)
    found = results(draw(2, 37, 70, 16, dtype=torch.float32), backend)
    assert_same(found, expected, tolerance=1e-5)


@pytest.mark.parametrize("backend", CPU_BACKENDS)
@pytest.mark.parametrize("length", [16, 45])
def test_equals_mambapy(backend, length):
    """Their parallel scan, gradients included; neither z nor a bias is part of it."""

    def inputs():
        drawn = draw(2, length, 34, 8, dtype=torch.float32)
        drawn["delta"] = (drawn["delta"].detach().abs() * 0.3).requires_grad_()
        return drawn | {"z": None, "delta_bias": None}

    drawn = inputs()
    u, delta, A, B, C, D = (drawn[name] for name in NAMES[:6])
    block = SimpleNamespace()
    y = MambapyBlock.selective_scan(block, u, delta, A, B, C, D)
    expected = torch.autograd.grad(y.square().sum(), [u, delta, A, B, C, D])
    drawn = inputs()
    found_y = selective_scan(**drawn, backend=backend)
    found = torch.autograd.grad(found_y.square().sum(), [drawn[name] for name in NAMES[:6]])
    assert_same(
        dict(zip(("y", *NAMES[:6]), (found_y, *found), strict=True)),
        dict(zip(("y", *NAMES[:6]), (y, *expected), strict=True)),
        tolerance=1e-5,
    )


@pytest.mark.parametrize("backend", CPU_BACKENDS)
def test_reverse_is_flip_scan_flip(backend):
    inputs = draw(2, 29, 10, 4, dtype=torch.float32)
    flipped = {
        name: tensor.flip(1) if tensor.ndim == 3 else tensor for name, tensor in inputs.items()
    }
    y, h = selective_scan(
        **inputs, delta_softplus=True, reverse=True, return_last_state=True, backend=backend
    )
    expected_y, expected_h = selective_scan(
        **flipped, delta_softplus=True, return_last_state=True, backend=backend
    )
    torch.testing.assert_close(y, expected_y.flip(1), rtol=1e-6, atol=1e-6)
    torch.testing.assert_close(h, expected_h, rtol=1e-6, atol=1e-6)
    if backend == "numba":  # the same steps on the same lanes
        assert torch.equal(y, expected_y.flip(1))


@pytest.mark.parametrize("backend", CPU_BACKENDS)
def test_inputs_need_not_be_contiguous(backend):
    """Transposed, sliced and broadcast views are taken as their copies are."""
    B, L, d, N = 2, 23, 66, 4
    plain = draw(B, L, d, N, dtype=torch.float32)
    wide = torch.randn(B, L, 2 * d + 2 * N, generator=torch.Generator().manual_seed(2))
    u, z, B_map, C_map = wide.split([d, d, N, N], dim=-1)
    views = {
        "u": u,
        "delta": plain["delta"].detach().transpose(1, 2).contiguous().transpose(1, 2),
        "A": plain["A"].detach().t().contiguous().t(),
        "B": B_map,
        "C": C_map,
        "D": plain["D"].detach()[:1].expand(d),
        "z": z,
        "delta_bias": plain["delta_bias"].detach().repeat_interleave(2)[::2],
    }
    copies = {name: view.clone().contiguous() for name, view in views.items()}
    found = results({name: view.detach().requires_grad_() for name, view in views.items()}, backend)
    expected = results({name: copy.requires_grad_() for name, copy in copies.items()}, backend)
    assert_same(found, expected)
    if backend == "numba":  # the same kernel on other strides
        assert_equal(found, expected)


@pytest.mark.parametrize("backend", CPU_BACKENDS)
def test_cotangent_need_not_be_dense(backend):
    inputs = draw(2, 9, 6, 2, dtype=torch.float32)
    y = selective_scan(**inputs, backend=backend)
    broadcast = torch.autograd.grad(y.sum(), inputs["u"])[0]
    y = selective_scan(**inputs, backend=backend)
    dense = torch.autograd.grad(y, inputs["u"], torch.ones_like(y))[0]
    assert torch.equal(broadcast, dense)


def test_bits_do_not_depend_on_the_number_of_threads(threads):
    threads(1)
    one = results(draw(5, 33, 130, 4, dtype=torch.float32), "numba")
    threads(2)
    for _ in range(3):
        assert_equal(results(draw(5, 33, 130, 4, dtype=torch.float32), "numba"), one)


def test_torch_repeats_itself_to_the_bit(threads):
    threads(2)
    one = results(draw(3, 33, 130, 4, dtype=torch.float32), "torch")
    assert_equal(results(draw(3, 33, 130, 4, dtype=torch.float32), "torch"), one)


def peak_memory(backend, *shape):
    """Bytes that a forward and a backward pass hold at most, results included."""
    inputs = draw(*shape, dtype=torch.float32)
    cotangent = torch.ones(shape[:3])
    forward = functools.partial(selective_scan, **inputs, delta_softplus=True, backend=backend)
    backward = functools.partial(
        torch.autograd.grad, inputs=list(inputs.values()), grad_outputs=cotangent
    )
    return meter.first_pass(meter.Call(forward, backward))[0]


def test_torch_holds_a_fifth_of_what_the_reference_holds():
    shape = 4, 512, 256, 16
    assert 5 * peak_memory("torch", *shape) <= peak_memory("reference", *shape)


@pytest.mark.parametrize("backend", CPU_BACKENDS)
def test_bits_do_not_depend_on_whether_gradients_are_wanted(backend):
    inputs = draw(2, 33, 20, 4, dtype=torch.float32)
    with_gradient = selective_scan(**inputs, return_last_state=True, backend=backend)
    with torch.no_grad():
        without = selective_scan(**inputs, return_last_state=True, backend=backend)
    assert torch.equal(with_gradient[0], without[0])
    assert torch.equal(with_gradient[1], without[1])


@pytest.mark.parametrize("backend", CPU_BACKENDS)
def test_half_precision_is_only_in_what_goes_in_and_out(backend):
    """States stay float32; output and gradients have the dtype of their input."""
    expected = results(draw(2, 40, 24, 8), "reference")
    found = results(draw(2, 40, 24, 8, dtype=torch.bfloat16), backend)
    assert found["h"].dtype == torch.float32
    assert all(tensor.dtype == torch.bfloat16 for name, tensor in found.items() if name != "h")
    assert_same({"h": found["h"]}, {"h": expected["h"]}, tolerance=1e-5)
    assert_same(found, expected, tolerance=2e-2)


@pytest.mark.parametrize("dtype", [torch.float32, torch.bfloat16, torch.float16], ids=str)
@pytest.mark.parametrize("backend", CPU_BACKENDS)
def test_every_dtype_scans_the_same_numbers(backend, dtype):
    """A sum in float16, rounded again to bfloat16, once moved A, and the last state by 8e-4."""
    shape = (1, 100, 200, 16)
    inputs, wide = draw(*shape, dtype=dtype), draw(*shape)
    assert_same(inputs, wide, tolerance=1e-7)
    found, expected = (
        selective_scan(**each, delta_softplus=True, return_last_state=True, backend=name)[1]
        for each, name in ((inputs, backend), (wide, "reference"))
    )
    assert_same({"h": found}, {"h": expected}, tolerance=1e-5)


@pytest.mark.parametrize("backend", CPU_BACKENDS)
def test_autocast_stops_at_the_door(backend):
    inputs = draw(2, 11, 6, 4, dtype=torch.float32)
    expected = results(inputs, backend)
    with torch.autocast("cpu", dtype=torch.bfloat16):
        y, h = selective_scan(
            **inputs, delta_softplus=True, return_last_state=True, backend=backend
        )
    assert_equal({"y": y, "h": h} | gradients((y, h), inputs), expected)


@pytest.mark.parametrize("backend", ["reference", "torch"])
def test_one_float64_makes_all_arithmetic_float64(backend):
    inputs = draw(2, 11, 6, 4, dtype=torch.float32)
    expected = results(draw(2, 11, 6, 4), "reference")
    inputs["C"] = inputs["C"].detach().double().requires_grad_()
    found = results(inputs, backend)
    assert {name for name, tensor in found.items() if tensor.dtype == torch.float64} == {"h", "C"}
    assert_same({"h": found["h"]}, {"h": expected["h"]}, tolerance=1e-13)
    assert_same(found, expected, tolerance=1e-7)


@pytest.mark.parametrize("backend", CPU_BACKENDS)
def test_exponential_over_its_whole_range(backend):
    """One step of size 1 turns a state of 1 into exp(A)."""
    A = torch.cat([torch.linspace(-200, 90, 4001), torch.logspace(-8, 6, 500)])
    A = torch.cat([A, -torch.logspace(-8, 9, 500)])
    found = torch.cat([one_decay(part, backend) for part in (A[A <= 87], A[A > 87])])
    A = torch.cat([A[A <= 87], A[A > 87]])[:, None]
    exact = A[:, 0].double().exp()
    normal = (exact > 1.2e-38) & (exact < 1.6e38)
    # exp(A) = 2**(A log2 e): the product is rounded in units of its own size, up to 128.
    torch.testing.assert_close(found[normal], exact[normal], rtol=1e-5, atol=0)
    assert found[exact <= 1.2e-38].abs().max() < 2e-38
    assert not (found[exact >= 3.41e38] < 3.4e38).any()  # infinite, or inf * 0


def one_decay(A, backend):
    """What a state of 1 has become after a step of 1, for each rate of `A`; `(d,)` float64."""
    u = torch.zeros(1, 2, len(A))
    u[0, 0] = 1.0
    one = torch.ones(1, 2, 1)
    y = selective_scan(u, torch.ones_like(u), A[:, None], one, one, backend=backend)
    return y[0, 1].double()


@pytest.mark.parametrize("backend", CPU_BACKENDS)
def test_nothing_drifts_where_nothing_decays(backend):
    length = 4096
    u = torch.zeros(1, length, 1)
    u[0, 0] = 1.0
    one = torch.ones(1, length, 1)
    y = selective_scan(u, one, torch.zeros(1, 1), one, one, backend=backend)
    assert torch.equal(y, one)


@pytest.mark.parametrize("backend", FUSED)
def test_large_gates_and_steps_stay_finite(backend):
    inputs = draw(1, 12, 70, 4, dtype=torch.float32)
    for name in ("z", "delta"):
        inputs[name] = (inputs[name].detach() * 60).requires_grad_()
    wide = {name: t.detach().double().requires_grad_() for name, t in inputs.items()}
    assert_same(results(inputs, backend), results(wide, "reference"), tolerance=1e-5)


OPTIONAL = ("D", "z", "delta_bias")
SIZES = st.tuples(
    st.integers(1, 3),
    st.one_of(st.just(1), st.integers(1, 40)),
    st.one_of(st.just(1), st.integers(1, 70)),
    st.integers(1, 20),
)
drawn_case = given(
    shape=SIZES,
    seed=st.integers(0, 2**16),
    absent=st.sets(st.sampled_from(OPTIONAL)),
    softplus=st.booleans(),
    reverse=st.booleans(),
    data=st.data(),
)


def draw_some(shape, seed, absent, softplus, step=1.0):
    """float32 inputs, some absent, with step sizes of about `step`."""
    inputs = {name: t.detach() for name, t in draw(*shape, torch.float32, seed).items()}
    if softplus:  # softplus(x) is about x above 1 and about exp(x) below
        inputs["delta"] += step if step >= 1 else math.log(step)
    else:
        inputs["delta"] = inputs["delta"].abs() * step
        inputs["delta_bias"] = inputs["delta_bias"].abs() * step
    return inputs | dict.fromkeys(absent)


def leaves(inputs, dtype=torch.float32):
    return {
        name: tensor if tensor is None else tensor.to(dtype).requires_grad_()
        for name, tensor in inputs.items()
    }


# Derandomized: about one case in ten thousand has a sum that cancels to less than any floor.
@settings(max_examples=200, deadline=None, derandomize=True)
@drawn_case
def test_any_scan_equals_the_reference_in_float64(shape, seed, absent, softplus, reverse, data):
    step = data.draw(st.sampled_from([1e-6, 1.0, 30.0]), "step")
    inputs = draw_some(shape, seed, absent, softplus, step)
    zeros = data.draw(st.sampled_from(["", *(set(NAMES) - absent), "all"]), "zeros")
    for name in {"": (), "all": NAMES}.get(zeros, (zeros,)):
        inputs[name] = None if inputs[name] is None else torch.zeros_like(inputs[name])
    options = {"delta_softplus": softplus, "reverse": reverse}
    expected = results(leaves(inputs, torch.float64), "reference", **options)
    # What is in proportion to the step, or to its square, is measured against that.
    powers = {"A": 2, "h": 1, "B": 1, "C": 1}
    for backend in FUSED:
        found = results(leaves(inputs), backend, **options)
        for name, want in expected.items():
            floor = min(step, 1.0) ** powers.get(name, 0)
            assert_same({name: found[name]}, {name: want}, tolerance=1e-5, floor=floor)


@pytest.mark.parametrize("backend", CPU_BACKENDS)
@settings(max_examples=100, deadline=None)
@drawn_case
def test_nan_is_not_hidden(backend, shape, seed, absent, softplus, reverse, data):
    """The output is NaN wherever the recurrence carries it to, and finite everywhere else."""
    inputs = draw_some(shape, seed, absent, softplus)
    name = data.draw(st.sampled_from([name for name in NAMES if name not in absent]), "name")
    place = tuple(data.draw(st.integers(0, size - 1)) for size in inputs[name].shape)
    inputs[name][place] = math.nan
    found = results(leaves(inputs), backend, delta_softplus=softplus, reverse=reverse)
    assert torch.equal(found["y"].isnan(), reached(name, place, shape, reverse))


def reached(name, place, shape, reverse):
    """Where `y` depends on entry `place` of the input `name`; `(B, L, d)` of bools."""
    B, L, d, _ = shape
    mask = torch.zeros(B, L, d, dtype=torch.bool)
    if name in ("A", "D", "delta_bias"):
        mask[:, :, place[0]] = True
    elif name in ("C", "z"):
        mask[place if name == "z" else place[:2]] = True
    else:
        batch, t, channel = place
        after = slice(0, t + 1) if reverse else slice(t, L)
        mask[batch, after, slice(None) if name == "B" else channel] = True
    return mask


@settings(max_examples=200, deadline=None)
@drawn_case
def test_nothing_fails_on_infinity(shape, seed, absent, softplus, reverse, data):
    """Nor takes it for a number, but that the kernels want a finite A."""
    inputs = draw_some(shape, seed, absent, softplus)
    name = data.draw(st.sampled_from([name for name in NAMES if name not in absent]), "name")
    place = tuple(data.draw(st.integers(0, size - 1)) for size in inputs[name].shape)
    inputs[name][place] = data.draw(st.sampled_from([math.inf, -math.inf]), "value")
    found = {
        backend: results(leaves(inputs), backend, delta_softplus=softplus, reverse=reverse)
        for backend in CPU_BACKENDS
    }
    assert all(result["y"].shape == shape[:3] for result in found.values())
    want, have = found["reference"]["y"].detach(), found["torch"]["y"].detach()
    torch.testing.assert_close(have, want, rtol=1e-4, atol=1e-4, equal_nan=True)
    if name != "A":
        have, finite = found["numba"]["y"].detach(), want.isfinite()
        assert torch.equal(have.isfinite(), finite)
        torch.testing.assert_close(have[finite], want[finite], rtol=1e-4, atol=1e-4)


def test_auto_takes_numba_or_else_torch():
    inputs = draw(1, 4, 3, 2)
    assert selective_scan(**inputs).dtype == torch.float64
    assert dispatch._choose("auto", *inputs.values()) is plain_torch
    assert dispatch._choose("auto", *draw(1, 4, 3, 2, torch.float32).values()) is cpu_scan
    with pytest.raises(ValueError, match=r"'numba' does not take torch\.float64"):
        selective_scan(**inputs, backend="numba")


def test_unknown_backend_lists_the_names():
    names = "auto, reference, numba, torch, triton, mamba_ssm, got 'fast'"
    with pytest.raises(ValueError, match=f"^backend must be one of {names}$"):
        selective_scan(**draw(1, 2, 2, 2), backend="fast")


@pytest.mark.parametrize(
    ("backend", "extra"), [("triton", "fcilib[cuda]"), ("mamba_ssm", "fcilib[mamba-ssm]")]
)
def test_missing_backend_says_what_to_install(backend, extra, monkeypatch):
    monkeypatch.setitem(sys.modules, backend, None)  # as if it were not installed
    inputs = draw(1, 2, 2, 2, torch.float32)
    with pytest.raises(MissingBackendError, match=re.escape(f"pip install '{extra}'")) as caught:
        selective_scan(**inputs, backend=backend)
    assert isinstance(caught.value, ImportError)
    assert caught.value.name == backend
    assert repr(backend) in str(caught.value)
    with pytest.raises(MissingBackendError):
        causal_conv_silu(torch.zeros(1, 2, 2), torch.zeros(2, 4), backend=backend)
    assert selective_scan(**inputs).shape == (1, 2, 2)  # auto passes it over


@settings(max_examples=60, deadline=None)
@given(st.sampled_from(NAMES), st.sampled_from(["size", "dims", "dtype", "empty"]), st.data())
def test_bad_input_is_named(name, fault, data):
    inputs = {key: t.detach() for key, t in draw(2, 3, 4, 5, dtype=torch.float32).items()}
    tensor = inputs[name]
    if fault == "size":
        # Only u and A's second axis define sizes rather than follow them.
        axes = [0] if name == "A" else range(tensor.ndim)
        axis = data.draw(st.sampled_from(list(axes)))
        extra = data.draw(st.integers(1, 3))
        bad = torch.cat([tensor, tensor.narrow(axis, 0, 1).repeat_interleave(extra, axis)], axis)
        blamed = name if name != "u" else ("delta" if axis < 3 else name)
    elif fault == "dims":
        bad, blamed = tensor[None], name
    elif fault == "dtype":
        dtype = data.draw(st.sampled_from([torch.int64, torch.bool, torch.complex64]))
        bad, blamed = tensor.to(dtype), name
    else:
        bad, blamed = tensor[:0], name
    with pytest.raises(ValueError, match=rf"^{blamed} must"):
        selective_scan(**{**inputs, name: bad})


def test_not_a_tensor_is_named():
    inputs = draw(1, 2, 2, 2)
    with pytest.raises(ValueError, match=r"^B must be a tensor, got list"):
        selective_scan(**{**inputs, "B": [1.0]})
