"""A training step on a device that is not the CPU: nothing in it touches the CPU or waits for it.

The device is torch's `meta`, on which tensors have shapes and no values: whatever would have to
wait for a value raises there, as `item`, a branch or an index by a mask do; a CUDA graph can't
hold that. torch itself lets some operations mix devices. Here none may, and none may make a tensor
on the CPU.
"""

from __future__ import annotations

from contextlib import nullcontext
from functools import partial

import pytest
import torch
from torch.utils._python_dispatch import TorchDispatchMode
from torch.utils._pytree import tree_leaves

from fcilib.representations import Attention, Embedding, Frozen, Hybrid
from fcilib.representations.base import RepresentationSpec
from fcilib.routers import Budgeted, Investigator
from fcilib.routers.investigator import PairwiseScores
from fcilib.routers.router import RouterSpec
from fcilib.scan import dispatch
from fcilib.specs.kinds import kinds
from fcilib.study.profiles import PROFILES
from fcilib.tasks import Ladder
from fcilib.tasks.task import Task
from fcilib.training import loop
from fcilib.training.experiment import Experiment
from fcilib.training.graph import OnDevice, Steps, capturable

SMOKE = PROFILES["smoke"]
DEVICE = torch.device("meta")

NEEDED = {
    Hybrid: {"layers": ("attention", "bidirectional-flow")},
    Ladder: {"rung": "hop"},
}
"""What has no default."""

SMALL = {"segment": 2, "within": 8, "k": 4, "bits": 16}
"""Sizes of a router, as far as it has them, that fit a short sequence."""


def listed(base):
    """One description of each kind that the library lists, at a small size."""
    small = SMALL if base is RouterSpec else {}
    for kind in kinds(base).values():
        if kind is Frozen:
            continue  # a backbone's states are drawn beforehand, and its own layers are Attention's
        sizes = {name: value for name, value in small.items() if name in kind.model_fields}
        if "segment" in sizes or kind is Budgeted:  # they have no tokens of one segment
            sizes.pop("within", None)
        yield kind(**sizes, **NEEDED.get(kind, {}))


REPRESENTATIONS = [
    *listed(RepresentationSpec),
    Attention(mask="causal"),
    Attention(mask="sparse"),
]
ROUTERS = list(listed(RouterSpec))
TASKS = list(listed(Task))


def experiment(**parts):
    start = {"representation": Embedding(), "router": Investigator(), "task": SMOKE.evidence}
    return Experiment(width=SMOKE.width, **{**start, **parts})


class OffTheCPU(TorchDispatchMode):
    """Raises at an operation that takes a tensor of the CPU, or makes one."""

    def __torch_dispatch__(self, function, types, args=(), kwargs=None):
        made = function(*args, **(kwargs or {}))
        for value in tree_leaves((args, kwargs, made)):
            # A number that torch has wrapped for an operation is a tensor without dimensions.
            if isinstance(value, torch.Tensor) and value.device != DEVICE and value.dim():
                raise RuntimeError(f"{function} has a tensor on {value.device}")
        return made


def step(spec: Experiment, place=None) -> None:
    """The step that a GPU captures, once; `place` is the mode that training has it under."""
    place = OnDevice(DEVICE) if place is None else place
    model = spec.build()
    assert capturable(model)
    training = spec.training.model_copy(update={"sequences": 8, "batch": 4})
    data = model.representation.prepare(spec.task.draw(training.sequences, 0, "train"))
    model, data = model.to(DEVICE), data.to(DEVICE)
    optimizer = torch.optim.AdamW([p for p in model.parameters() if p.requires_grad])
    forward = partial(loop._forward, model, training)
    with place:
        steps = Steps(model, optimizer, data, training.batch, training.clip, forward)
        with OffTheCPU():
            steps._step(training.batch)
    assert all(p.grad.device == DEVICE for p in steps.learning)


@pytest.fixture(autouse=True)
def _captured(monkeypatch):
    """As under capture; a scan that torch can follow, since a kernel needs values; and no autocast,
    which torch has for devices of its own alone.
    """
    monkeypatch.setattr(torch, "autocast", lambda *kind, **options: nullcontext())
    monkeypatch.setattr(torch, "is_autocast_enabled", lambda kind: False)
    monkeypatch.setattr(loop, "_capturing", lambda: True)
    monkeypatch.setattr(dispatch, "PREFERENCE", ("torch",))


def ids(spec):
    return "-".join(str(value) for value in spec.essence().values())


@pytest.mark.parametrize("representation", REPRESENTATIONS, ids=ids)
def test_representations(representation):
    step(experiment(representation=representation))


@pytest.mark.parametrize("router", ROUTERS, ids=ids)
def test_routers(router):
    spec = experiment(router=router)
    if capturable(spec.build()):
        step(spec)
    else:
        assert router.kind in {"bm25", "linucb", "thompson", "oful", "budgeted", "k-means"}


@pytest.mark.parametrize("task", TASKS, ids=ids)
def test_tasks(task):
    sizes = getattr(SMOKE, task.kind)
    step(experiment(task=type(task)(**{**dict(sizes), **NEEDED.get(type(task), {})})))


def test_a_model_without_a_router():
    step(experiment(router=None))


@pytest.mark.parametrize("router", [Investigator(), None], ids=["router", "no router"])
def test_several_questions_in_a_sequence(router):
    (task,) = SMOKE.recall.tasks
    step(experiment(task=task, router=router))


@pytest.mark.parametrize(
    "extra",
    [
        partial(torch.full, (1,), 0.0),
        partial(torch.arange, 1, device="cpu"),
        partial(torch.tensor, [0.0]),
    ],
)
def test_a_tensor_of_the_cpu_is_noticed(monkeypatch, extra):
    whole = PairwiseScores.forward
    monkeypatch.setattr(
        PairwiseScores, "forward", lambda self, x, query: whole(self, x + extra(), query)
    )
    with pytest.raises(RuntimeError, match=r"device|cpu"):
        step(experiment())


class Nowhere(torch.overrides.TorchFunctionMode):
    """In the place of the mode that gives `torch.arange` its device."""

    def __torch_function__(self, function, types, args=(), kwargs=None):
        return function(*args, **(kwargs or {}))


def test_an_index_range_without_a_device_is_noticed():
    with pytest.raises(RuntimeError, match="cpu"):
        step(experiment(), Nowhere())


def test_a_branch_on_a_value_is_noticed(monkeypatch):
    monkeypatch.setattr(loop, "_capturing", lambda: False)
    with pytest.raises((RuntimeError, NotImplementedError)):
        step(experiment())
