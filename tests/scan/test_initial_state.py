"""A state before the first step: chunks of a sequence, one after another, are the whole."""

from __future__ import annotations

import pytest
import torch
from cases import draw

from fcilib.scan import causal_conv_silu, selective_scan

BACKENDS = ["reference", "numba", "torch"]
SHAPES = [(2, 13, 5, 3), (1, 21, 64, 1), (2, 17, 70, 4)]
ROWS = ("u", "delta", "B", "C", "z")
CLOSE = {"reference": 1e-12, "torch": 1e-12, "numba": 3e-5}


def numbers(shape, backend):
    dtype = torch.float32 if backend == "numba" else torch.float64
    return draw(*shape, dtype=dtype)


def leaves(inputs):
    return {name: value.clone().requires_grad_() for name, value in inputs.items()}


def close(found, expected, backend):
    for one, other in zip(found, expected, strict=True):
        size = other.abs().max().clamp(min=1e-30)
        assert float(((one - other).abs().max() / size).detach()) < CLOSE[backend]


def in_chunks(inputs, borders, reverse, backend, start=None):
    """Chunk by chunk, in the order of the scan; gives the whole output and the last state."""
    length, state, parts = inputs["u"].shape[1], start, []
    edges = list(zip([0, *borders], [*borders, length], strict=True))
    for first, last in reversed(edges) if reverse else edges:
        part = {n: v[:, first:last] if n in ROWS else v for n, v in inputs.items()}
        y, state = selective_scan(
            **part,
            initial_state=state,
            delta_softplus=True,
            return_last_state=True,
            reverse=reverse,
            backend=backend,
        )
        parts.append(y)
    return torch.cat(parts[::-1] if reverse else parts, dim=1), state


@pytest.mark.parametrize("reverse", [False, True])
@pytest.mark.parametrize("borders", [(1,), (4, 5), (3, 8, 9)], ids=str)
@pytest.mark.parametrize("shape", SHAPES, ids=str)
@pytest.mark.parametrize("backend", BACKENDS)
def test_chunks_are_the_whole_in_values_and_gradients(backend, shape, borders, reverse):
    inputs = numbers(shape, backend)
    results = []
    for edges in ((), borders):
        own = leaves(inputs)
        y, last = in_chunks(own, edges, reverse, backend)
        weights = torch.linspace(-1, 1, y.numel(), dtype=y.dtype).view_as(y)
        loss = (y * weights).sum() + last.square().sum()
        results.append([y, last, *torch.autograd.grad(loss, list(own.values()))])
    close(results[1], results[0], backend)


@pytest.mark.parametrize("reverse", [False, True])
@pytest.mark.parametrize("shape", SHAPES, ids=str)
@pytest.mark.parametrize("backend", ["numba", "torch"])
def test_values_and_gradients_are_those_of_the_loop(backend, shape, reverse):
    inputs = numbers(shape, backend)
    B, _, d, N = shape
    start = torch.randn(B, d, N, generator=torch.Generator().manual_seed(3)).to(inputs["u"].dtype)
    results = []
    for name, dtype in ((backend, inputs["u"].dtype), ("reference", torch.float64)):
        own = leaves({n: v.to(dtype) for n, v in (inputs | {"initial_state": start}).items()})
        y, last = selective_scan(
            **own, delta_softplus=True, return_last_state=True, reverse=reverse, backend=name
        )
        loss = y.square().sum() + (3 * last).sum()
        results.append([y, last, *torch.autograd.grad(loss, list(own.values()))])
    close(results[0], results[1], "numba")


@pytest.mark.parametrize("backend", BACKENDS)
def test_the_gradient_of_the_last_state_is_not_written_over(backend):
    inputs = leaves(numbers((1, 5, 64, 1), backend))
    y, last = selective_scan(**inputs, return_last_state=True, backend=backend)
    cotangent = torch.ones_like(last)
    torch.autograd.grad([y, last], list(inputs.values()), [torch.ones_like(y), cotangent])
    assert torch.equal(cotangent, torch.ones_like(last))


def test_one_step_at_a_time_is_decoding():
    inputs = numbers((2, 9, 6, 4), "numba")
    whole = selective_scan(**inputs, delta_softplus=True)
    steps, _ = in_chunks(inputs, tuple(range(1, 9)), False, "numba")
    torch.testing.assert_close(steps, whole)


@pytest.mark.parametrize("shape", [(2, 5, 3), (2, 6, 4), (1, 6, 3), (6, 3)], ids=str)
def test_a_state_of_another_shape_is_refused_by_name(shape):
    with pytest.raises(ValueError, match="initial_state"):
        selective_scan(**numbers((2, 9, 6, 3), "numba"), initial_state=torch.zeros(shape))


@pytest.mark.parametrize("reverse", [False, True])
@pytest.mark.parametrize("taps", [1, 2, 4])
@pytest.mark.parametrize("backend", BACKENDS)
def test_a_convolution_goes_on_where_the_last_chunk_ended(backend, taps, reverse):
    dtype = torch.float32 if backend == "numba" else torch.float64
    generator = torch.Generator().manual_seed(0)
    x, weight, bias = (
        torch.randn(*shape, generator=generator, dtype=dtype)
        for shape in ((2, 11, 5), (5, taps), (5,))
    )
    whole = causal_conv_silu(x, weight, bias, reverse=reverse, backend=backend)
    options = {"reverse": reverse, "backend": backend}
    if taps == 1:
        context = {}
    else:
        context = {"initial_state": x[:, 7 : 7 + taps - 1] if reverse else x[:, 8 - taps : 7]}
    part = x[:, :7] if reverse else x[:, 7:]
    found = causal_conv_silu(part, weight, bias, **context, **options)
    torch.testing.assert_close(found, whole[:, :7] if reverse else whole[:, 7:])
