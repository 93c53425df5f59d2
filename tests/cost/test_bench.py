"""Benches: turns, limits, records; times are never asserted, only that they were taken."""

import gc
import json

import pytest
import torch
from hypothesis import given, settings
from hypothesis import strategies as st
from pydantic import ValidationError

from fcilib.cost import Bench, Cost, Represent, Route, bench, find_cost, measure_cost, meter
from fcilib.cost.workloads import Workload
from fcilib.representations import Embedding
from fcilib.routers import Investigator, RankOne
from fcilib.storage.sealed import RecordError

SMALL = {"one": Route(router=Investigator()), "rank": Route(router=RankOne())}


def small(**fields):
    return Bench(**{"workloads": SMALL, "lengths": (16, 32), "rounds": 2, **fields})


@pytest.fixture
def scripted(monkeypatch):
    """Workloads whose costs are given, and the order in which they are called."""
    turns = []

    class Scripted(Workload):
        name: str
        power: float = 1.0
        bytes_power: float = 1.0

        def prepare(self, length):
            return meter.Call(lambda: turns.append((self.name, length)))

    def first_pass(call):
        call.forward()
        name, length = turns.pop()
        return int(2**20 * length ** workloads[name].bytes_power), 1.0

    def seconds(call, number=1):
        call.forward()
        name, length = turns[-1]
        return length ** workloads[name].power, 0.0

    workloads = {}
    monkeypatch.setattr(meter, "first_pass", first_pass)
    monkeypatch.setattr(meter, "seconds", seconds)
    monkeypatch.setattr(meter, "repeats", lambda call, once: 1)

    def run(lengths, powers, **limits):
        workloads.update(
            {name: Scripted(name=name, power=p, bytes_power=b) for name, (p, b) in powers.items()}
        )
        made = Bench.model_construct(
            workloads=dict(workloads), lengths=lengths, threads=1, rounds=3,
            **{"seconds": 1e9, "megabytes": 1e9, "seed": 0, **limits},
        )  # fmt: skip
        kept = Cost.model_construct
        monkeypatch.setattr(bench, "Cost", lambda **fields: kept(**fields))
        return measure_cost(made), turns

    return run


def test_workloads_take_turns(scripted):
    _, turns = scripted((4, 8), {"a": (1, 1), "b": (2, 1)})
    assert turns == [(name, n) for n in (4, 8) for _ in range(3) for name in ("a", "b")]


def test_a_workload_leaves_before_it_passes_a_limit(scripted):
    powers = {"linear": (1, 1), "square": (2, 1), "large": (1, 2)}
    cost, turns = scripted((2, 4, 8, 16, 32), powers, seconds=100.0, megabytes=300.0)
    assert cost.curves["linear"].length == [2, 4, 8, 16, 32]
    assert cost.curves["square"].length == [2, 4, 8]  # 16^2 > 100
    assert cost.curves["large"].length == [2, 4, 8, 16]  # 32^2 > 300
    assert cost.stopped == {
        "square": "n = 16 would pass 100 s",
        "large": "n = 32 would pass 300 MB",
    }
    assert ("square", 32) not in turns


def test_slow_workloads_get_fewer_turns(scripted):
    _, turns = scripted((8,), {"slow": (2, 1), "fast": (0, 1)}, seconds=63.0)
    assert turns.count(("slow", 8)) == 1
    assert turns.count(("fast", 8)) == 3


def test_peak_is_what_tensors_hold():
    x = torch.zeros(256, 1024)  # 1 MiB

    def work():
        y = x + 1  # 1 MiB
        z = y * 2  # 2 MiB held now
        del y
        return z.sum()

    assert meter.first_pass(meter.Call(work))[0] // 2**20 == 2
    inputs = torch.zeros(256, 1024, requires_grad=True)
    # exp keeps its result; the gradient of it is one more, and that of the sum is a broadcast
    both = meter.Call(lambda: inputs.exp().sum(), lambda y: torch.autograd.grad(y, inputs))
    assert meter.first_pass(both)[0] // 2**20 == 2


def test_peak_leaves_out_what_earlier_calls_left_behind():
    """Collected in the middle of a later call, such a tensor once lowered its peak by 51 MB."""

    class Cycle:
        def __init__(self):
            self.tensor, self.itself = torch.zeros(256, 1024), self

    def work():
        gc.collect()
        return torch.zeros(512, 1024)

    gc.disable()
    try:
        assert meter.first_pass(meter.Call(lambda: Cycle() and None))[0] // 2**20 == 1
        assert meter.first_pass(meter.Call(work))[0] // 2**20 == 2
        assert not gc.isenabled()
    finally:
        gc.enable()
    enabled = []
    meter.first_pass(meter.Call(lambda: enabled.append(gc.isenabled())))
    assert enabled == [False]
    assert gc.isenabled()


def test_the_meter_says_nothing_on_stderr(capfd):
    meter.first_pass(meter.Call(lambda: torch.zeros(3)))
    assert capfd.readouterr().err == ""


def test_memory_of_one_row_is_linear_and_of_all_pairs_quadratic():
    workloads = {
        "one": Route(router=Investigator()),
        "all": Route(router=Investigator(), queries="all"),
        "rank, all": Route(router=RankOne(), queries="all"),
    }
    cost = measure_cost(Bench(workloads=workloads, lengths=(1024, 2048), rounds=1))
    growth = {name: curve.megabytes[1] / curve.megabytes[0] for name, curve in cost.curves.items()}
    assert growth["one"] == pytest.approx(2, rel=0.1)
    assert growth["all"] == pytest.approx(4, rel=0.1)
    assert growth["rank, all"] == pytest.approx(2, rel=0.1)


def test_a_measured_bench_is_read_again(tmp_path):
    first = measure_cost(small(), tmp_path)
    assert first.curves["one"].length == [16, 32]
    assert all(value > 0 for value in first.curves["rank"].seconds)
    written = {p: p.read_bytes() for p in tmp_path.glob("*.json")}
    assert [p.name for p in written] == [f"{small().identity}.json"]
    assert measure_cost(small(), tmp_path) == first == find_cost(small(), tmp_path)
    assert {p: p.read_bytes() for p in tmp_path.glob("*.json")} == written


def test_repetitions_are_kept_apart(tmp_path):
    measure_cost(small(), tmp_path)
    assert find_cost(small().with_seed(1), tmp_path) is None
    measure_cost(small().with_seed(1), tmp_path)
    assert len(list(tmp_path.glob("*.json"))) == 2


def test_a_damaged_record_is_refused_and_left_alone(tmp_path):
    measure_cost(small(), tmp_path)
    path = next(tmp_path.glob("*.json"))
    damaged = path.read_bytes().replace(b'"threads": 1', b'"threads": 2')
    path.write_bytes(damaged)
    with pytest.raises(RecordError, match=f"{path.stem}.*checksum"):
        measure_cost(small(), tmp_path)
    assert path.read_bytes() == damaged


def test_a_record_under_anothers_name_is_refused(tmp_path):
    measure_cost(small(), tmp_path)
    path = next(tmp_path.glob("*.json"))
    path.rename(tmp_path / f"{small(rounds=3).identity}.json")
    with pytest.raises(RecordError, match="another bench"):
        find_cost(small(rounds=3), tmp_path)


def test_threads_and_randomness_are_put_back():
    before, state = torch.get_num_threads(), torch.random.get_rng_state()
    measure_cost(small(threads=before + 1))
    assert torch.get_num_threads() == before
    assert torch.equal(torch.random.get_rng_state(), state)


@settings(max_examples=30, deadline=None)
@given(
    st.sampled_from(
        [
            {"lengths": ("8",)},
            {"lengths": ()},
            {"workloads": {}},
            {"threads": 0},
            {"rounds": 0},
            {"seconds": 0.0},
            {"megabytes": -1.0},
            {"workloads": {"a": {"kind": "unknown"}}},
            {"workloads": {"a": {"kind": "scan", "backend": "fast"}}},
            {"speed": 1},
        ]
    )
)
def test_bad_fields_are_named(fields):
    with pytest.raises(ValidationError) as error:
        small(**fields)
    assert error.value.errors()[0]["loc"][0] == next(iter(fields))


def test_identity_is_of_the_whole_description():
    other = {"one": Represent(representation=Embedding()), "rank": SMALL["rank"]}
    benches = [small(), small(seed=1), small(rounds=3), small(workloads=other)]
    assert len({b.identity for b in benches}) == len(benches)
    round_trip = Bench.model_validate_json(json.dumps(small().model_dump(mode="json")))
    assert round_trip.identity == small().identity


def test_the_identity_leaves_defaults_out_at_any_depth():
    """So that a field which joins later, with a default, leaves the records there are valid."""
    bench = Bench(workloads={"routing": Route(router=RankOne(k=3))}, lengths=(16, 32))
    routing = bench.essence()["workloads"]["routing"]
    assert routing["router"] == {"kind": "rank-one", "k": 3}
    assert bench.essence()["lengths"] == [16, 32]
    other = Bench(workloads={"routing": Route(router=RankOne(k=4))}, lengths=(16, 32))
    assert bench.identity != other.identity
