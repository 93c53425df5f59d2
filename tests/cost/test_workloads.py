"""What is timed is the thing itself: peers give what the scan gives, losses agree."""

import numpy as np
import pytest
import torch

from fcilib.cost import (
    Arithmetic,
    Loss,
    MambaPass,
    Represent,
    Route,
    Scan,
    arithmetic,
    meter,
    peers,
)
from fcilib.representations import Flow
from fcilib.routers import Investigator, RandomRouter, RankOne
from fcilib.scan import MissingBackendError
from fcilib.scan.cpu.lanes import LANES

HERE = [n for n in peers.SCANS if peers.available(n) and n not in peers.GPU_ONLY]


def results(workload, length):
    torch.manual_seed(0)
    call = workload.prepare(length)
    found = call.forward()
    return found, call.backward(found) if call.backward else None


@pytest.mark.parametrize("backend", HERE)
def test_every_peer_computes_the_same_scan(backend):
    sizes = {"batch": 2, "width": 6, "state": 4}
    y, gradients = results(Scan(backend="reference", **sizes), 16)
    same_y, same_gradients = results(Scan(backend=backend, **sizes), 16)
    torch.testing.assert_close(same_y, y, rtol=1e-4, atol=1e-5)
    assert len(gradients) == 8
    for found, expected in zip(same_gradients, gradients, strict=True):
        torch.testing.assert_close(found, expected, rtol=1e-4, atol=1e-4)


@pytest.mark.parametrize("name", peers.BLOCKS)
def test_every_block_takes_and_gives_the_same_shapes(name):
    if not peers.available(name):
        pytest.skip(f"{name} is not installed")
    y, gradients = results(MambaPass(implementation=name, batch=2, width=8, state=4), 8)
    assert y.shape == (2, 8, 8)
    assert sorted(tuple(g.shape) for g in gradients[1:]) == sorted(
        tuple(p.shape) for p in peers.block("fcilib", 8, 4).parameters()
    )


def test_a_peer_that_is_not_installed_says_so(monkeypatch):
    monkeypatch.setattr(peers, "find_spec", lambda name: None)
    with pytest.raises(MissingBackendError, match=r"mambapy is not installed: pip install"):
        Scan(backend="mambapy").prepare(4)
    with pytest.raises(MissingBackendError, match="transformers is not installed"):
        MambaPass(implementation="transformers").prepare(4)


@pytest.mark.parametrize("router", [Investigator(), RankOne()])
def test_one_row_and_all_pairs_give_the_same_loss(router):
    loss, gradients = results(Loss(router=router, scores="row", width=8), 33)
    whole, whole_gradients = results(Loss(router=router, scores="matrix", width=8), 33)
    torch.testing.assert_close(loss, whole)
    for found, expected in zip(gradients, whole_gradients, strict=True):
        torch.testing.assert_close(found, expected, rtol=1e-4, atol=1e-6)


@pytest.mark.parametrize("router", [Investigator(), RankOne(), RandomRouter()])
def test_routing_one_query_picks_k(router):
    found, _ = results(Route(router=router, width=8), 40)
    assert found.shape == (router.k,)
    assert len(found.unique()) == router.k


def test_routing_every_query_picks_k_for_each():
    found, _ = results(Route(router=Investigator(), queries="all", width=8), 40)
    assert found.shape == (40, 8)


def test_a_representation_keeps_no_graph():
    found, _ = results(Represent(representation=Flow(layers=1), width=8), 12)
    assert found.shape == (1, 12, 8)
    assert not found.requires_grad


def test_the_arithmetic_is_done():
    """x <- 0.999 x + 0.001, as often as asked, in every lane of four chains."""
    work = torch.full((LANES,), 3.0)
    arithmetic.multiply_add(0, 2, 50, work.data_ptr())
    x = np.float32(3.0)
    for _ in range(100):
        x = np.float32(x * np.float32(0.999) + np.float32(0.001))
    torch.testing.assert_close(work, torch.full((LANES,), 4 * float(x)), rtol=1e-5, atol=0)


def test_the_limit_counts_what_a_scan_of_its_size_needs(monkeypatch):
    asked = []
    monkeypatch.setattr(arithmetic, "spend", asked.append)
    call = Arithmetic(batch=2, width=3, state=4).prepare(5)
    meter.seconds(call)
    assert asked == [120 * arithmetic.FORWARD, 120 * arithmetic.BACKWARD]
