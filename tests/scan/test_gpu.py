"""The Triton back end on a real GPU; the first thing to run where there is one.

    python -m pytest -m gpu tests/scan/test_gpu.py

The reference runs on the same device in float64. None of this has run where the kernels were
written, which had no GPU.
"""

from importlib.util import find_spec

import cases
import pytest
import torch

from fcilib.scan import causal_conv_silu, selective_scan

pytestmark = [
    pytest.mark.gpu,
    pytest.mark.skipif(not torch.cuda.is_available(), reason="there is no CUDA device"),
    pytest.mark.skipif(
        find_spec("triton") is None, reason="triton is not installed: pip install 'fcilib[cuda]'"
    ),
]

# B, L, d, N: small and awkward, then realistic; the last takes the wide tiles in every kernel
SHAPES = [
    *cases.SHAPES,
    (1, 8192, 64, 16),
    (2, 1000, 200, 7),
    (4, 512, 1024, 16),
    (1, 65, 3, 64),
    (64, 128, 512, 16),
]
CONV_SHAPES = [*cases.CONV_SHAPES, (2, 8192, 256, 4), (8, 1000, 1100, 4)]
BOTH_WAYS = pytest.mark.parametrize("reverse", [False, True], ids=["forward", "reverse"])


@pytest.fixture(autouse=True)
def backend(monkeypatch):
    """The back end, with memory full of NaN: what is not written, or read too early, shows."""
    from fcilib.scan.cuda import triton_convolution, triton_scan, triton_shared

    if triton_shared.INTERPRETED:
        pytest.skip("TRITON_INTERPRET is set: nothing runs on the GPU in this process")

    def empty(shape, like, dtype=torch.float32):
        return torch.full(shape, float("nan"), dtype=dtype, device=like.device)

    monkeypatch.setattr(triton_scan, "empty", empty)
    monkeypatch.setattr(triton_convolution, "empty", empty)
    return triton_scan


def draw(*shape, dtype=torch.float64, device="cuda"):
    return cases.draw(*shape, dtype=dtype, device=device)


def draw_conv(*shape, dtype=torch.float64):
    return cases.draw_conv(*shape, dtype=dtype, device="cuda")


@BOTH_WAYS
@pytest.mark.parametrize("shape", SHAPES, ids=cases.scan_id)
def test_scan_equals_the_reference_in_float64(shape, reverse):
    expected = cases.results(draw(*shape), "reference", reverse=reverse)
    found = cases.results(draw(*shape, dtype=torch.float32), "triton", reverse=reverse)
    cases.assert_same(found, expected, tolerance=1e-5)


@pytest.mark.parametrize("dtype", [torch.bfloat16, torch.float16], ids=str)
@pytest.mark.parametrize("shape", [(2, 1000, 200, 16), (1, 8192, 64, 16)], ids=cases.scan_id)
def test_half_precision_is_only_in_what_goes_in_and_out(shape, dtype):
    expected = cases.results(draw(*shape), "reference")
    found = cases.results(draw(*shape, dtype=dtype), "triton")
    assert found["h"].dtype == torch.float32
    assert all(tensor.dtype == dtype for name, tensor in found.items() if name != "h")
    cases.assert_same({"h": found["h"]}, {"h": expected["h"]}, tolerance=1e-5)
    cases.assert_same(found, expected, tolerance=1e-2)


@pytest.mark.parametrize("missing", ["D", "z", "delta_bias", "all", "softplus"])
def test_every_optional_argument_may_be_missing(missing):
    def without(dtype):
        inputs = draw(2, 100, 70, 16, dtype=dtype)
        if missing == "softplus":
            for name in ("delta", "delta_bias"):
                inputs[name] = inputs[name].detach().abs().requires_grad_()
        for name in ("D", "z", "delta_bias"):
            if missing in (name, "all"):
                inputs[name] = None
        return inputs

    softplus = missing != "softplus"
    expected = cases.results(without(torch.float64), "reference", delta_softplus=softplus)
    found = cases.results(without(torch.float32), "triton", delta_softplus=softplus)
    cases.assert_same(found, expected, tolerance=1e-5)


@BOTH_WAYS
def test_slices_of_one_projection(reverse):
    """As a Mamba block makes them: rows with a stride, not always a multiple of 16."""
    plain = {n: t.detach() for n, t in draw(2, 300, 70, 5, dtype=torch.float32).items()}
    parts = [plain[name] for name in ("u", "z", "B", "C")]
    slices = torch.cat(parts, dim=-1).split([part.shape[-1] for part in parts], dim=-1)
    views = plain | dict(zip(("u", "z", "B", "C"), slices, strict=True))
    views["delta"] = plain["delta"].transpose(1, 2).contiguous().transpose(1, 2)
    found, expected = (
        cases.results(
            {n: t.detach().requires_grad_() for n, t in given.items()}, "triton", reverse=reverse
        )
        for given in (views, plain)
    )
    cases.assert_same(found, expected, tolerance=1e-6)


@BOTH_WAYS
@pytest.mark.parametrize("shape", [(2, 4097, 70, 16), (4, 500, 1100, 5)], ids=cases.scan_id)
def test_long_and_wide(shape, reverse, backend):
    """A long sequence, which is cut into spans, and channels that many programs share."""
    expected = cases.results(draw(*shape), "reference", reverse=reverse)
    found = cases.results(draw(*shape, dtype=torch.float32), "triton", reverse=reverse)
    cases.assert_same(found, expected, tolerance=1e-5)


@pytest.mark.parametrize("shape", [(8, 777, 1000, 16), (1, 8192, 64, 16)], ids=cases.scan_id)
@pytest.mark.parametrize("dtype", [torch.float32, torch.bfloat16], ids=str)
def test_results_repeat_bit_for_bit(dtype, shape):
    first, second = (cases.results(draw(*shape, dtype=dtype), "triton") for _ in range(2))
    cases.assert_equal(second, first)


@pytest.mark.parametrize("name", cases.NAMES)
def test_nan_is_not_hidden(name):
    inputs = draw(1, 70, 3, 2, dtype=torch.float32)
    with torch.no_grad():
        inputs[name].view(-1)[0] = float("nan")
        assert selective_scan(**inputs, delta_softplus=True, backend="triton").isnan().any()


def test_steps_and_gates_of_any_size():
    inputs = draw(1, 100, 70, 16, dtype=torch.float32)
    for name in ("z", "delta"):
        inputs[name] = (inputs[name].detach() * 60).requires_grad_()
    wide = {name: t.detach().double().requires_grad_() for name, t in inputs.items()}
    found, expected = cases.results(inputs, "triton"), cases.results(wide, "reference")
    cases.assert_same(found, expected, tolerance=1e-5)


@BOTH_WAYS
@pytest.mark.parametrize("shape", CONV_SHAPES, ids=cases.conv_id)
def test_convolution_equals_the_reference_in_float64(shape, reverse):
    expected = cases.conv_results(draw_conv(*shape), "reference", reverse=reverse)
    found = cases.conv_results(draw_conv(*shape, dtype=torch.float32), "triton", reverse=reverse)
    cases.assert_same(found, expected, tolerance=1e-5)


def test_convolution_in_bfloat16_and_again():
    shape = (4, 1000, 200, 4)
    first, second = (
        cases.conv_results(draw_conv(*shape, dtype=torch.bfloat16), "triton") for _ in range(2)
    )
    cases.assert_equal(second, first)
    cases.assert_same(first, cases.conv_results(draw_conv(*shape), "reference"), tolerance=1e-2)


def test_auto_takes_triton(backend, monkeypatch):
    called = []
    for name in ("selective_scan", "causal_conv_silu"):
        kept = getattr(backend, name)

        def spy(*arguments, name=name, kept=kept):
            called.append(name)
            return kept(*arguments)

        monkeypatch.setattr(backend, name, spy)
    selective_scan(**draw(1, 4, 3, 2, dtype=torch.float32))
    causal_conv_silu(**draw_conv(1, 4, 3, 2, dtype=torch.float32))
    assert called == ["selective_scan", "causal_conv_silu"]


def test_auto_keeps_float64():
    y = selective_scan(**draw(1, 4, 3, 2))
    assert y.dtype == torch.float64
    assert y.is_cuda


@pytest.mark.skipif(torch.cuda.device_count() < 2, reason="there is only one CUDA device")
def test_on_a_device_that_is_not_the_current_one():
    expected = cases.results(draw(2, 50, 40, 4), "reference")
    inputs = draw(2, 50, 40, 4, dtype=torch.float32, device="cuda:1")
    cases.assert_same(cases.results(inputs, "triton"), expected, tolerance=1e-5)


def test_more_entries_than_an_int32_counts(backend, monkeypatch):
    """The last sequence of many equals itself alone; 2^31 entries, so only on a large card."""
    B, L, d, N = 16, 8192, 16448, 1
    if torch.cuda.mem_get_info()[0] < 40 * 2**30:
        pytest.skip("needs 40 GiB of GPU memory")
    monkeypatch.undo()  # full() would double the memory
    u = torch.empty(B, L, d, dtype=torch.bfloat16, device="cuda")
    assert u.numel() > 2**31
    for row in u:
        row.normal_(std=0.5)
    maps = torch.ones(B, L, N, dtype=torch.bfloat16, device="cuda")
    A = -torch.ones(d, N, device="cuda")
    with torch.no_grad():
        many = selective_scan(u, u, A, maps, maps, delta_softplus=True, backend="triton")[-1:]
        alone = (u[-1:], u[-1:], A, maps[-1:], maps[-1:])
        one = selective_scan(*alone, delta_softplus=True, backend="triton")
    torch.testing.assert_close(many, one, rtol=1e-2, atol=1e-2)


@pytest.mark.skipif(find_spec("mamba_ssm") is None, reason="mamba_ssm is not installed")
@pytest.mark.parametrize("shape", [(2, 1000, 200, 16), (1, 4096, 64, 16)], ids=cases.scan_id)
def test_equals_mamba_ssm(shape):
    """Their public function, in their layout `(B, d, L)`."""
    from mamba_ssm.ops.selective_scan_interface import selective_scan_fn

    inputs = draw(*shape, dtype=torch.float32)
    u, delta, B, C, z = (inputs[name].transpose(1, 2) for name in ("u", "delta", "B", "C", "z"))
    A, D, bias = (inputs[name] for name in ("A", "D", "delta_bias"))
    y, h = selective_scan_fn(
        u, delta, A, B, C, D, z, bias, delta_softplus=True, return_last_state=True
    )
    y = y.transpose(1, 2)
    expected = {"y": y, "h": h}
    # their last state carries no gradient
    expected |= cases.gradients((y,), inputs)
    inputs = draw(*shape, dtype=torch.float32)
    y, h = selective_scan(**inputs, delta_softplus=True, return_last_state=True, backend="triton")
    found = {"y": y, "h": h} | cases.gradients((y,), inputs)
    cases.assert_same(found, expected, tolerance=5e-5)
