"""The scan against the sequential loop in float64, transformers, mambapy and itself."""

from types import SimpleNamespace

import pytest
import torch
from hypothesis import given, settings
from hypothesis import strategies as st
from mambapy.mamba import MambaBlock as MambapyBlock
from transformers.models.mamba.modeling_mamba import mamba_selective_scan

from fcilib.scan import lanes, numba_cpu, plumbing, selective_scan

NAMES = ("u", "delta", "A", "B", "C", "D", "z", "delta_bias")
# B, L, d, N: lengths around the chunk, widths around a block of lanes
SHAPES = [
    (1, 1, 1, 1),
    (1, 3, 5, 2),
    (2, 17, 64, 16),
    (3, 63, 65, 3),
    (1, 129, 40, 16),
    (2, 8, 130, 4),
]


def draw(B, L, d, N, dtype=torch.float64, seed=0):
    """Inputs of a plausible scan, every one a leaf; the same numbers whatever the dtype."""
    generator = torch.Generator().manual_seed(seed)

    def normal(*shape):
        # Rounded to bfloat16, so that every dtype sees the same inputs.
        return torch.randn(*shape, generator=generator).bfloat16().to(dtype)

    inputs = {
        "u": normal(B, L, d),
        "delta": normal(B, L, d),
        "A": -(normal(d, N).abs() + 0.25).bfloat16().to(dtype),
        "B": normal(B, L, N),
        "C": normal(B, L, N),
        "D": normal(d),
        "z": normal(B, L, d),
        "delta_bias": normal(d),
    }
    return {name: tensor.requires_grad_() for name, tensor in inputs.items()}


def results(inputs, backend="numba", **options):
    """Output, last state and every gradient, under fixed cotangents."""
    options = {"delta_softplus": True, **options}
    y, h = selective_scan(**inputs, backend=backend, return_last_state=True, **options)
    generator = torch.Generator().manual_seed(1)
    loss = sum(
        (part.double() * torch.randn(part.shape, generator=generator)).sum() for part in (y, h)
    )
    given_names = [name for name in NAMES if inputs.get(name) is not None]
    gradients = torch.autograd.grad(loss, [inputs[name] for name in given_names])
    return {"y": y, "h": h} | dict(zip(given_names, gradients, strict=True))


def assert_same(found, expected, tolerance=2e-6):
    """Each result within `tolerance` of the largest entry of what is expected."""
    assert found.keys() == expected.keys()
    for name, want in expected.items():
        have = found[name]
        assert have.shape == want.shape, name
        worst = (have.double() - want.double()).abs().max()
        scale = want.double().abs().max().clamp(min=1e-2)
        assert worst <= tolerance * scale, f"{name}: {worst / scale:.1e}"


def assert_equal(found, expected):
    """Bit for bit."""
    for name, want in expected.items():
        assert torch.equal(found[name], want), name


@pytest.fixture
def threads():
    """Set the number of threads; put it back afterwards."""
    before = torch.get_num_threads()
    yield torch.set_num_threads
    torch.set_num_threads(before)


@pytest.fixture
def nan_filled(monkeypatch):
    """What a kernel forgets to write, or reads before writing, becomes NaN."""

    def empty(*shape):
        return torch.full(shape, float("nan"))

    monkeypatch.setattr(plumbing, "empty", empty)
    monkeypatch.setattr(numba_cpu, "empty", empty)


@pytest.mark.parametrize("reverse", [False, True], ids=["forward", "reverse"])
@pytest.mark.parametrize("shape", SHAPES, ids=lambda s: "B{}-L{}-d{}-N{}".format(*s))
def test_numba_equals_the_reference_in_float64(shape, reverse, nan_filled):
    expected = results(draw(*shape), "reference", reverse=reverse)
    found = results(draw(*shape, dtype=torch.float32), reverse=reverse)
    assert_same(found, expected)


@pytest.mark.parametrize("missing", ["D", "z", "delta_bias", "all", "softplus"])
def test_every_optional_argument_may_be_missing(missing, nan_filled):
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
    assert_same(results(without(torch.float32), delta_softplus=softplus), expected)


@pytest.mark.parametrize("part", [0, 1], ids=["output", "state"])
def test_gradient_through_one_of_the_two_results(part, nan_filled):
    def gradients(dtype, backend):
        inputs = draw(2, 21, 9, 4, dtype=dtype)
        result = selective_scan(
            **inputs, delta_softplus=True, return_last_state=True, backend=backend
        )[part]
        found = torch.autograd.grad(result.square().sum(), inputs.values(), allow_unused=True)
        zeros = (torch.zeros_like(tensor) for tensor in inputs.values())
        return {
            name: zero if gradient is None else gradient
            for name, gradient, zero in zip(inputs, found, zeros, strict=True)
        }

    assert_same(
        gradients(torch.float32, "numba"), gradients(torch.float64, "reference"), tolerance=1e-5
    )


def test_gradcheck_of_the_reference():
    inputs = draw(2, 3, 2, 2)
    for reverse in (False, True):
        assert torch.autograd.gradcheck(
            lambda *tensors, reverse=reverse: selective_scan(
                *tensors,
                delta_softplus=True,
                return_last_state=True,
                reverse=reverse,
                backend="reference",
            ),
            tuple(inputs.values()),
        )


@pytest.mark.parametrize("backend", ["reference", "numba"])
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
    generator = torch.Generator().manual_seed(1)
    loss = sum(
        (part.double() * torch.randn(part.shape, generator=generator)).sum() for part in (y, h)
    )
    gradients = torch.autograd.grad(loss, list(expected_inputs.values()))
    expected = {"y": y, "h": h} | dict(zip(NAMES, gradients, strict=True))
    found = results(draw(2, 37, 70, 16, dtype=torch.float32), backend)
    assert_same(found, expected, tolerance=1e-5)


@pytest.mark.parametrize("backend", ["reference", "numba"])
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


@pytest.mark.parametrize("backend", ["reference", "numba"])
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


def test_inputs_need_not_be_contiguous():
    """Transposed, sliced and broadcast views give the bits of their copies."""
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
    assert_equal(
        results({name: view.detach().requires_grad_() for name, view in views.items()}),
        results({name: copy.requires_grad_() for name, copy in copies.items()}),
    )


def test_cotangent_need_not_be_dense():
    inputs = draw(2, 9, 6, 2, dtype=torch.float32)
    y = selective_scan(**inputs)
    broadcast = torch.autograd.grad(y.sum(), inputs["u"])[0]
    y = selective_scan(**inputs)
    dense = torch.autograd.grad(y, inputs["u"], torch.ones_like(y))[0]
    assert torch.equal(broadcast, dense)


def test_bits_do_not_depend_on_the_number_of_threads(threads):
    threads(1)
    one = results(draw(5, 33, 130, 4, dtype=torch.float32))
    threads(2)
    for _ in range(3):
        assert_equal(results(draw(5, 33, 130, 4, dtype=torch.float32)), one)


def test_bits_do_not_depend_on_whether_gradients_are_wanted():
    inputs = draw(2, 33, 20, 4, dtype=torch.float32)
    with_gradient = selective_scan(**inputs, return_last_state=True)
    with torch.no_grad():
        without = selective_scan(**inputs, return_last_state=True)
    assert torch.equal(with_gradient[0], without[0])
    assert torch.equal(with_gradient[1], without[1])


@pytest.mark.parametrize("backend", ["reference", "numba"])
def test_half_precision_is_only_in_what_goes_in_and_out(backend):
    """States stay float32; output and gradients have the dtype of their input."""
    expected = results(draw(2, 40, 24, 8), "reference")
    found = results(draw(2, 40, 24, 8, dtype=torch.bfloat16), backend)
    assert found["h"].dtype == torch.float32
    assert all(tensor.dtype == torch.bfloat16 for name, tensor in found.items() if name != "h")
    assert_same({"h": found["h"]}, {"h": expected["h"]}, tolerance=1e-5)
    assert_same(found, expected, tolerance=2e-2)


def test_exponential_over_its_whole_range():
    """One step of size 1 turns a state of 1 into exp(A)."""
    A = torch.cat([torch.linspace(-200, 90, 4001), torch.logspace(-8, 6, 500)])
    A = torch.cat([A, -torch.logspace(-8, 9, 500)])[:, None]
    u = torch.zeros(1, 2, len(A))
    u[0, 0] = 1.0
    one = torch.ones(1, 2, 1)
    found = selective_scan(u, torch.ones_like(u), A, one, one, backend="numba")[0, 1].double()
    exact = A[:, 0].double().exp()
    normal = (exact > 1.2e-38) & (exact < 1.6e38)
    # exp(A) = 2**(A log2 e): the product is rounded in units of its own size, up to 128.
    torch.testing.assert_close(found[normal], exact[normal], rtol=1e-5, atol=0)
    assert found[exact <= 1.2e-38].abs().max() < 2e-38
    assert found[exact >= 1.6e38].min() > 1e38


def test_nothing_drifts_where_nothing_decays():
    length = 4096
    u = torch.zeros(1, length, 1)
    u[0, 0] = 1.0
    one = torch.ones(1, length, 1)
    y = selective_scan(u, one, torch.zeros(1, 1), one, one, backend="numba")
    assert torch.equal(y, one)


def test_large_gates_and_steps_stay_finite():
    inputs = draw(1, 12, 70, 4, dtype=torch.float32)
    for name in ("z", "delta"):
        inputs[name] = (inputs[name].detach() * 60).requires_grad_()
    wide = {name: t.detach().double().requires_grad_() for name, t in inputs.items()}
    assert_same(results(inputs), results(wide, "reference"), tolerance=1e-5)


@pytest.mark.parametrize("name", NAMES)
def test_nan_is_not_hidden(name):
    inputs = draw(1, 5, 3, 2, dtype=torch.float32)
    with torch.no_grad():
        inputs[name].view(-1)[0] = float("nan")
        assert selective_scan(**inputs, delta_softplus=True, backend="numba").isnan().any()


def test_auto_keeps_float64():
    inputs = draw(1, 4, 3, 2)
    assert selective_scan(**inputs).dtype == torch.float64
    with pytest.raises(ValueError, match=r"'numba' does not take torch\.float64"):
        selective_scan(**inputs, backend="numba")


def test_unknown_backend_lists_the_names():
    with pytest.raises(ValueError, match=r"auto, reference, numba.*'fast'"):
        selective_scan(**draw(1, 2, 2, 2), backend="fast")


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


def test_kernels_compile_where_nothing_can_be_cached():
    """A function without a file stands for a machine without a folder to write to."""
    namespace = {}
    exec("def double(x):\n    return 2 * x", namespace)
    assert lanes.kernel(namespace["double"])(21) == 42
