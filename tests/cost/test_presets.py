"""The presets of `fci bench`: what takes part, and that the book's record is of the same."""

import pytest

from fcilib.cost import Bench, find_cost, meter, presets
from fcilib.ledger import benches, hybrids
from fcilib.storage.places import default_records
from fcilib.study.profiles import PROFILES

QUICK = PROFILES["quick"]


@pytest.mark.parametrize("preset", benches.PRESETS.values(), ids=benches.PRESETS)
def test_the_base_takes_part(preset):
    assert preset.base in preset.workloads()


@pytest.mark.parametrize("name", ["layers", "routers"])
def test_what_is_forward_only_has_no_backward_pass(name):
    preset = benches.PRESETS[name]
    assert not preset.backward
    bench = presets.bench(preset, "128", 1, {})
    for workload in bench.workloads.values():
        call = workload.prepare(128)
        assert call.backward is None
        assert sum(meter.seconds(call)) > 0


def test_every_layer_and_router_takes_part():
    layers, routers = benches.layers(QUICK), benches.routers(QUICK)
    for method in hybrids.representations(QUICK):
        found = layers.pop(method.label)
        assert found.representation == method.representation
    assert list(layers) == ["raw embeddings", "attention", "Mamba", "bidirectional Mamba"]
    assert {w.router for w in routers.values()} >= {m.router for m in hybrids.routers()}


def test_the_record_of_chapter_12_is_of_these():
    workloads = benches.layers(QUICK) | benches.routers(QUICK)
    bench = Bench(workloads=workloads, lengths=benches.LENGTHS, **QUICK.cost.limits)
    assert find_cost(bench, default_records() / "quick" / "costs") is not None
