"""Tensors without memory of their own: no kernel is let near them."""

from __future__ import annotations

import pytest
import torch
from cases import draw
from torch._subclasses.fake_tensor import FakeTensorMode
from torch.fx.experimental.proxy_tensor import make_fx

from fcilib.layers.mamba import MambaBlock
from fcilib.scan import causal_conv_silu, selective_scan


def scan(u, delta, A, B, C):
    return selective_scan(u, delta, A, B, C)


def inputs():
    drawn = draw(2, 9, 6, 3, dtype=torch.float32)
    return [drawn[name] for name in ("u", "delta", "A", "B", "C")]


def test_fake_tensors_have_a_shape_and_crash_nothing():
    with FakeTensorMode() as mode:
        fakes = [mode.from_tensor(tensor) for tensor in inputs()]
        assert scan(*fakes).shape == (2, 9, 6)
        x, weight = torch.zeros(2, 9, 6), torch.zeros(6, 4)
        assert causal_conv_silu(x, weight).shape == x.shape


def test_meta_tensors_have_a_shape():
    assert scan(*(tensor.to("meta") for tensor in inputs())).shape == (2, 9, 6)


def test_a_traced_graph_computes_what_the_scan_does():
    graph = make_fx(scan)(*inputs())
    others = [tensor * 0.5 for tensor in inputs()]
    torch.testing.assert_close(graph(*others), scan(*others))


def test_an_exported_block_computes_what_the_block_does():
    torch.manual_seed(0)
    block, x = MambaBlock(width=8), torch.randn(2, 7, 8)
    exported = torch.export.export(block, (x,)).module()
    other = torch.randn(2, 7, 8)
    torch.testing.assert_close(exported(other), block(other), rtol=1e-4, atol=1e-5)


def test_a_named_back_end_refuses_them():
    with FakeTensorMode():
        x, A, weight, rows = (torch.zeros(*s) for s in ((2, 9, 6), (6, 3), (6, 4), (2, 9, 3)))
        with pytest.raises(ValueError, match="use 'auto'"):
            selective_scan(x, x, A, rows, rows, backend="numba")
        with pytest.raises(ValueError, match="use 'auto'"):
            causal_conv_silu(x, weight, backend="numba")


def test_a_negated_view_is_read_as_it_is_meant():
    u, delta, A, B, C = inputs()
    negated = torch._neg_view(u)
    torch.testing.assert_close(scan(negated, delta, A, B, C), scan(-u, delta, A, B, C))


def test_a_sparse_tensor_is_refused():
    u, *others = inputs()
    with pytest.raises(ValueError, match="u must be dense"):
        scan(u.to_sparse(), *others)
