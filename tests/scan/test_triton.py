"""The Triton kernels in Triton's interpreter, on the CPU, against the sequential loop in float64.

The interpreter has to be chosen before the kernels are imported and cannot be undone, so what is
checked here runs in a process of its own: `check_*` are its tests, collected only there. By hand:

    TRITON_INTERPRET=1 python -m pytest -o 'python_functions=check_*' tests/scan/test_triton.py

It says nothing about a GPU: that is `test_triton_compile.py` and `test_gpu.py`.
"""

import importlib.util
import os
import subprocess
import sys
from importlib.util import find_spec
from pathlib import Path

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

SEGMENT = 16  # steps; 128 on a card
# B, L, d, N: small, for the interpreter is slow. Lengths around a chunk (8), past a segment,
# widths around the blocks (8 and 32 of a walk, 32 and 64 of the gradients)
SHAPES = [
    (1, 1, 1, 1),
    (2, 3, 5, 2),
    (2, 8, 8, 3),
    (1, 17, 9, 2),
    (1, 7, 4, 16),
    (1, 19, 2, 2),
]
WIDE_SHAPES = [(2, 9, 66, 2), (1, 18, 3, 1)]
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


@pytest.fixture(autouse=True)
def quick(monkeypatch):
    """Functions called by kernels prepare the interpreter once per launch, not at every call."""
    if "TRITON_INTERPRET" not in os.environ:
        return
    from triton.runtime import interpreter

    prepare, launch = interpreter._patch_lang, interpreter.GridExecutor.__call__
    done = {}

    def prepare_once(function):
        module = id(function.__globals__)
        if module not in done:
            done[module] = prepare(function)
        return done[module]

    def launched(executor, *arguments, **options):
        done.clear()
        return launch(executor, *arguments, **options)

    monkeypatch.setattr(interpreter, "_patch_lang", prepare_once)
    monkeypatch.setattr(interpreter.GridExecutor, "__call__", launched)


@pytest.fixture(autouse=True)
def in_bounds(monkeypatch):
    """Fails a launch that reads or writes outside of the memory of the tensors it was given.

    A GPU may let this pass, for beside a tensor there mostly is another.
    """
    if "TRITON_INTERPRET" not in os.environ:
        return
    from triton.runtime import interpreter

    first, after = np.array([0], np.uint64), np.array([0], np.uint64)  # byte of each tensor
    taken = interpreter.GridExecutor._init_args_hst

    def take(executor, arguments, options):
        nonlocal first, after
        memory = {
            (tensor.untyped_storage().data_ptr(), tensor.untyped_storage().nbytes())
            for tensor in arguments
            if isinstance(tensor, torch.Tensor)
        }
        first = np.array(sorted(begin for begin, _ in memory), np.uint64)
        after = np.array(sorted(begin + size for begin, size in memory), np.uint64)
        return taken(executor, arguments, options)

    monkeypatch.setattr(interpreter.GridExecutor, "_init_args_hst", take)

    def watched(name, mask_at):
        access = getattr(interpreter.InterpreterBuilder, name)

        def checked(builder, pointers, *arguments):
            at = pointers.data[arguments[mask_at].data.astype(bool)].astype(np.uint64)
            size = np.uint64(pointers.get_element_ty().primitive_bitwidth // 8)
            place = np.searchsorted(first, at, side="right") - 1
            inside = (place >= 0) & (at + size <= after[place])
            assert inside.all(), f"{name}: {np.count_nonzero(~inside)} addresses out of bounds"
            return access(builder, pointers, *arguments)

        monkeypatch.setattr(interpreter.InterpreterBuilder, name, checked)

    watched("create_masked_load", 0)
    watched("create_masked_store", 1)


@pytest.fixture
def backend(monkeypatch):
    """The back end, with memory full of NaN: what is not written, or read too early, shows.

    Its segments are short, so that short sequences have several.
    """
    from fcilib.scan.cuda import triton_convolution, triton_scan

    def empty(shape, like, dtype=torch.float32):
        return torch.full(shape, float("nan"), dtype=dtype, device=like.device)

    monkeypatch.setattr(triton_scan, "empty", empty)
    monkeypatch.setattr(triton_convolution, "empty", empty)
    monkeypatch.setattr(triton_scan, "SEGMENT", SEGMENT)
    return triton_scan


def cut(backend, patch, spans):
    """From here on short sequences are cut too, into about so many spans of 8 steps or more."""
    patch.setattr(backend, "SEGMENT", 8)
    patch.setattr(backend, "LONG", 1)
    patch.setattr(backend, "AIM", spans)
    patch.setattr(backend, "JOIN", (2, 128))  # spans read at a time
    patch.setattr(backend, "ADDED", 2)  # sums over more than this go by groups


def from_a_state(shape, dtype, backend, **options):
    """Results with an initial state as well."""
    B, _, d, N = shape
    state = torch.linspace(-1, 1, B * d * N, dtype=torch.float64).bfloat16().to(dtype)
    inputs = cases.draw(*shape, dtype=dtype)
    inputs["initial_state"] = state.view(B, d, N).requires_grad_()
    return cases.results(inputs, backend, **options)


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
@pytest.mark.parametrize("shape", [(2, 3, 5, 2), (1, 17, 9, 2)], ids=cases.scan_id)
def check_a_scan_from_an_initial_state(shape, reverse, backend):
    expected = from_a_state(shape, torch.float64, "reference", reverse=reverse)
    found = from_a_state(shape, torch.float32, "triton", reverse=reverse)
    cases.assert_same(found, expected, CLOSE)


# B, L, d, N; spans that are asked for; steps of a span and spans it gives
CUT = [
    ((1, 7, 2, 1), 9, (7, 1)),  # one step less than a segment, as many, one more
    ((1, 8, 2, 1), 9, (8, 1)),
    ((2, 9, 2, 2), 9, (8, 2)),
    ((1, 15, 9, 1), 9, (8, 2)),  # and of the second one; two blocks of channels
    ((1, 16, 2, 1), 9, (8, 2)),
    ((1, 33, 2, 1), 3, (16, 3)),  # two segments in a span, the last one cut
]
WAYS = [(case, reverse) for case in CUT[2:4] for reverse in (False, True)]
WAYS += [(case, bool(k % 2)) for k, case in enumerate(CUT[:2] + CUT[4:])]


@pytest.mark.parametrize(("case", "reverse"), WAYS, ids=str)
def check_spans(case, reverse, backend, monkeypatch):
    """A sequence that is cut: with an initial state, a gradient of the last, and every option."""
    (batch, length, width, _), spans, expected = case
    cut(backend, monkeypatch, spans * batch)
    span = backend._span(batch, length, width)
    assert (min(span, length), -(-length // span)) == expected
    wanted = from_a_state(case[0], torch.float64, "reference", reverse=reverse)
    found = from_a_state(case[0], torch.float32, "triton", reverse=reverse)
    cases.assert_same(found, wanted, CLOSE)


# B, L, d, N; reverse; steps of a segment; bytes of channels for each part of what B and C get
SEGMENTS = [
    ((2, 33, 3, 1), True, 32, 256),  # four chunks, and a second segment of one step
    ((1, 57, 9, 2), False, 64, 16),  # eight, of which the last one is cut; each block has its part
    ((1, 131, 17, 1), True, 128, 32),  # sixteen, as on a card; of five blocks the last has its part
    ((1, 120, 9, 1), False, 128, 256),  # three blocks, which add to one part
]


@pytest.mark.parametrize("case", SEGMENTS, ids=str)
def check_segments_of_many_chunks(case, backend, monkeypatch):
    shape, reverse, steps, part = case
    monkeypatch.setattr(backend, "SEGMENT", steps)
    monkeypatch.setattr(backend, "PART", part)
    expected = cases.results(cases.draw(*shape), "reference", reverse=reverse)
    found = cases.results(cases.draw(*shape, dtype=torch.float32), "triton", reverse=reverse)
    cases.assert_same(found, expected, CLOSE)


def check_spans_of_wide_blocks(backend, monkeypatch):
    """And no gate, no initial state, no gradient of the last one."""
    cut(backend, monkeypatch, spans=9)
    monkeypatch.setattr(backend, "ENOUGH_PROGRAMS", 0)
    inputs = {
        name: cases.draw(1, 18, 33, 1, dtype=dtype) | {"z": None, "D": None}
        for name, dtype in (("triton", torch.float32), ("reference", torch.float64))
    }
    found, expected = (
        cases.gradients_through(0, {k: v for k, v in given.items() if v is not None}, name)
        for name, given in inputs.items()
    )
    cases.assert_same(found, expected, CLOSE)


@pytest.mark.parametrize("dtype", [torch.bfloat16, torch.float16], ids=str)
def check_spans_in_half_precision(dtype, backend, monkeypatch):
    shape = (1, 12, 3, 2)
    expected = cases.results(cases.draw(*shape), "reference")
    cut(backend, monkeypatch, spans=9)
    found, again = (cases.results(cases.draw(*shape, dtype=dtype), "triton") for _ in range(2))
    cases.assert_equal(again, found)
    cases.assert_same({"h": found["h"]}, {"h": expected["h"]}, CLOSE)
    cases.assert_same(found, expected, tolerance=1e-2)


def check_spans_without_gradients(backend, monkeypatch):
    inputs = cases.draw(1, 20, 3, 2, dtype=torch.float32)
    cut(backend, monkeypatch, spans=9)
    wanted, _ = selective_scan(**inputs, return_last_state=True, backend="triton")
    with torch.no_grad():
        assert torch.equal(selective_scan(**inputs, backend="triton"), wanted)


def check_nothing_stays_nothing_in_spans(backend, monkeypatch):
    """Where A is above 0 a span's decay may be infinite; times no state it is still none."""
    cut(backend, monkeypatch, spans=9)
    u, rows = torch.zeros(1, 24, 1), torch.ones(1, 24, 1)
    u[0, -1] = 1.0
    y = selective_scan(u, 20 * rows, torch.ones(1, 1), rows, rows, backend="triton")
    assert torch.equal(y, 20 * u)


# What on a card read outside of the memory of a tensor: rows for the reading after the last one
PREFETCHES = {
    "before the first step": ("delta, delta_t, ahead,", "delta, delta_t, left + STEPS,"),
    "past the end": ("u, u_t, left - STEPS,", "u, u_t, STEPS,"),
}


@pytest.mark.parametrize("where", PREFETCHES)
def check_a_prefetch_out_of_bounds_is_found(where, backend, monkeypatch, tmp_path):
    from fcilib.scan.cuda import triton_scan_kernels

    text = Path(triton_scan_kernels.__file__).read_text()
    right, wrong = PREFETCHES[where]
    assert text.count(right) == 1
    path = tmp_path / "wrong_kernels.py"
    path.write_text(text.replace(right, wrong))
    spec = importlib.util.spec_from_file_location("wrong_kernels", path)
    module = importlib.util.module_from_spec(spec)
    spec.loader.exec_module(module)
    for name in ("scan_states_kernel", "scan_carry_kernel"):
        monkeypatch.setattr(backend, name, getattr(module, name))
    cut(backend, monkeypatch, spans=9)
    with pytest.raises(Exception, match="out of bounds"):
        from_a_state((1, 16, 1, 1), torch.float32, "triton")


@settings(max_examples=6, deadline=None, derandomize=True)
@given(
    st.tuples(st.integers(1, 2), st.integers(1, 20), st.integers(1, 12), st.integers(1, 4)),
    st.booleans(),
    st.sets(st.sampled_from(["D", "z", "delta_bias"])),
    st.booleans(),
    st.integers(0, 4),
)
def check_any_shape_and_options(shape, reverse, missing, wide, spans):
    from fcilib.scan.cuda import triton_scan

    def results(dtype, backend):
        inputs = cases.draw(*shape, dtype=dtype) | dict.fromkeys(missing)
        return cases.results(inputs, backend, reverse=reverse)

    with pytest.MonkeyPatch.context() as patch:
        patch.setattr(triton_scan, "ENOUGH_PROGRAMS", 0 if wide else 1 << 30)
        if spans:
            cut(triton_scan, patch, spans)
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
