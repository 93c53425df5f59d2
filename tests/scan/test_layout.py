"""The official layout and the calls of a user of mamba_ssm: accepted, or refused by name."""

from __future__ import annotations

import re
from pathlib import Path

import pytest
import torch
from cases import draw

import fcilib.scan
from fcilib.scan import selective_scan

ROWS = ("u", "delta", "B", "C", "z")


def official(inputs):
    """`(B, d, L)` and `(B, N, L)`."""
    return {n: v.transpose(1, 2).contiguous() if n in ROWS else v for n, v in inputs.items()}


@pytest.mark.parametrize("backend", ["reference", "numba", "torch"])
@pytest.mark.parametrize("shape", [(2, 9, 6, 3), (1, 4, 4, 4)], ids=str)
def test_the_official_layout_gives_the_same(shape, backend):
    inputs = draw(*shape, dtype=torch.float32)
    expected, last = selective_scan(**inputs, return_last_state=True, backend=backend)
    own = official(inputs)
    y, state = selective_scan(**own, return_last_state=True, layout="BDL", backend=backend)
    torch.testing.assert_close(y.transpose(1, 2), expected)
    torch.testing.assert_close(state, last)
    grouped = own | {"B": own["B"][:, None], "C": own["C"][:, None]}
    torch.testing.assert_close(selective_scan(**grouped, layout="BDL", backend=backend), y)


def test_rows_that_look_transposed_are_said_to():
    inputs = official(draw(2, 9, 6, 3, dtype=torch.float32))
    with pytest.raises(ValueError, match=r"u must be \(B, L, d\).*looks transposed.*layout='BDL'"):
        selective_scan(**inputs)
    with pytest.raises(ValueError, match="looks transposed"):
        selective_scan(**draw(2, 9, 6, 3, dtype=torch.float32), layout="BDL")


def test_an_unknown_layout_is_refused():
    with pytest.raises(ValueError, match="layout must be one of BLD, BDL"):
        selective_scan(**draw(1, 3, 2, 2, dtype=torch.float32), layout="LBD")


@pytest.mark.parametrize("maps", [(6, 3), (2, 2, 3, 9)], ids=["constant", "grouped"])
def test_constant_and_grouped_maps_are_named_as_unsupported(maps):
    inputs = official(draw(2, 9, 6, 3, dtype=torch.float32))
    with pytest.raises(ValueError, match=r"^B must be .*not supported"):
        selective_scan(**inputs | {"B": torch.zeros(maps)}, layout="BDL")


def test_a_complex_A_is_named():
    inputs = draw(1, 5, 4, 2, dtype=torch.float32)
    with pytest.raises(ValueError, match="A must be real"):
        selective_scan(**inputs | {"A": inputs["A"].to(torch.complex64)})


def test_the_last_state_may_be_asked_for_by_position():
    inputs = draw(1, 5, 4, 2, dtype=torch.float32)
    order = ("u", "delta", "A", "B", "C", "D", "z", "delta_bias")
    y, last = selective_scan(*(inputs[name] for name in order), None, True)
    expected, state = selective_scan(**inputs, delta_softplus=False, return_last_state=True)
    assert torch.equal(y, expected)
    assert torch.equal(last, state)


@pytest.mark.parametrize("backend", ["numba", "torch"])
def test_a_second_derivative_is_refused_and_not_cut_off(backend):
    inputs = {n: v.requires_grad_() for n, v in draw(1, 5, 4, 2, dtype=torch.float32).items()}
    y = selective_scan(**inputs, backend=backend)
    with pytest.raises(NotImplementedError, match="backend='reference'"):
        torch.autograd.grad(y.sum(), inputs["u"], create_graph=True)


@pytest.mark.parametrize("backend", ["numba", "torch"])
def test_batched_cotangents_are_refused_with_the_way_out(backend):
    def scan(u, chosen):
        return selective_scan(**inputs | {"u": u}, backend=chosen)

    inputs = draw(1, 5, 4, 2, dtype=torch.float32)
    with pytest.raises(NotImplementedError, match="backend='reference'"):
        torch.autograd.functional.jacobian(lambda u: scan(u, backend), inputs["u"], vectorize=True)
    one, by_one = (
        torch.autograd.functional.jacobian(
            lambda u: scan(u, "reference"), inputs["u"], vectorize=vectorize
        )
        for vectorize in (True, False)
    )
    torch.testing.assert_close(one, by_one)


@pytest.mark.parametrize("backend", ["numba", "torch"])
def test_transforms_are_refused_by_a_back_end_and_done_by_the_reference(backend):
    inputs = draw(1, 5, 4, 2, dtype=torch.float32)

    def total(u, chosen):
        return selective_scan(**inputs | {"u": u}, backend=chosen).sum()

    with pytest.raises(ValueError, match="use 'auto'"):
        torch.func.grad(total)(inputs["u"], backend)
    expected = torch.func.grad(total)(inputs["u"], "reference")
    torch.testing.assert_close(torch.func.grad(total)(inputs["u"], "auto"), expected)


def test_the_examples_of_the_readme_run():
    page = Path(fcilib.scan.__file__).with_name("README.md").read_text(encoding="utf-8")
    blocks = re.findall(r"```python\n(.*?)```", page, flags=re.DOTALL)
    assert any("layout=" in block and "initial_state=" in block for block in blocks)
    for block in blocks:
        exec(block, {})
