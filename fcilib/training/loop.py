"""The one training loop."""

from __future__ import annotations

import math
import time
from collections.abc import Callable
from contextlib import nullcontext
from dataclasses import dataclass, field, replace
from functools import partial
from pathlib import Path
from typing import Any

import torch
from torch import nn
from torch.nn import functional as F

from fcilib.layers.optimizer import one_cycle
from fcilib.model import film, metrics, probes
from fcilib.model.fci import FCI, Output
from fcilib.model.mechanism import mechanism
from fcilib.model.states import measure_states
from fcilib.storage.checkpoint import load_checkpoint, save_checkpoint
from fcilib.tasks import Batch
from fcilib.training.experiment import Experiment, Training
from fcilib.training.graph import OnDevice, Steps, capturable, hit_rate

Report = Callable[[int, int, float], None]
"""Called during training with (steps done, steps in all, live precision; NaN without a router)."""

LEFT_OUT = -100
"""In place of a target: the routing loss leaves this sequence out."""


class DivergedError(RuntimeError):
    """The loss stopped being a finite number."""


@dataclass
class Outcome:
    """What a finished run measured."""

    metrics: dict[str, float]
    """On the held-out sequences, after the last epoch."""
    curve: list[dict[str, float]]
    """The same after each epoch, with the mean training loss."""
    probes: dict[str, Any]
    parameters: int
    seconds: float
    """Time spent training, over all the processes that had a share in it."""
    captured: bool
    """Whether its steps were replays of one CUDA graph."""
    model: FCI = field(repr=False)


def train(
    experiment: Experiment,
    checkpoint: Path | None = None,
    report: Report | None = None,
    device: str | torch.device = "cpu",
) -> Outcome:
    """Train one model and measure it.

    Args:
        experiment: what to run.
        checkpoint: a file written after each epoch and resumed from where it exists; a run that
            was stopped at any moment ends with the metrics of one that was not.
        report: called some 50 times an epoch with the progress.
        device: where the model is trained. Data, initial weights and the order of the batches are
            drawn on the CPU, and are the same everywhere; probes are measured there. On a GPU a
            step is a replay of one CUDA graph, except where it can't be captured.

    Raises:
        DivergedError: the loss is not finite; names epoch, step and experiment.
        TensorsError: the checkpoint can't be trusted.
        StoreError: it can't be written.
    """
    spec, seed = experiment.training, experiment.seed
    data = _sequences(experiment, 0)
    drawn = experiment.task.draw(spec.held_out, seed, "test")
    device = torch.device(device)
    place = nullcontext() if device.type == "cpu" else OnDevice(device)
    with torch.random.fork_rng():
        torch.manual_seed(seed)
        model = experiment.build()
        begun = time.perf_counter()
        data, held_out = map(model.representation.prepare, (data, drawn))
        model, data, tested = model.to(device), data.to(device), held_out.to(device)
        begins = checkpoint is None or not checkpoint.exists()
        if begins:
            with place:
                model.pretrain(data.first)
        optimizer, scheduler = one_cycle(
            [p for p in model.parameters() if p.requires_grad],
            spec.learning_rate,
            max(spec.steps, 1),
            weight_decay=spec.weight_decay,
            fused=True,
        )
        notes: dict[str, Any] = {"curve": [], "shares": [], "mechanism": {}, "seconds": 0.0}
        if checkpoint is not None and not begins:
            notes |= load_checkpoint(checkpoint, model, optimizer, scheduler)
        curve, spent = notes["curve"], notes["seconds"]
        if not curve:
            with place:
                _watch(experiment, model, tested, notes)
        captured = None
        if device.type != "cpu" and spec.epochs and capturable(model):
            forward = partial(_forward, model, spec)
            with place:
                captured = Steps(model, optimizer, data, spec.batch, spec.clip, forward)
        for epoch in range(len(curve), spec.epochs):
            # An epoch's randomness depends on its number alone, so a resumed run repeats it.
            torch.manual_seed(_mix(seed, epoch))
            if epoch and spec.data == "fresh":
                data = model.representation.prepare(_sequences(experiment, epoch)).to(device)
                if captured is not None:
                    captured.data.copy_(data)
            with place:
                loss = _epoch(
                    experiment, model, optimizer, scheduler, data, epoch, report, captured
                )
                curve.append({"loss": loss, **evaluate(model, tested, spec)})
                _watch(experiment, model, tested, notes)
            if checkpoint is not None:
                notes["seconds"] = spent + time.perf_counter() - begun
                save_checkpoint(checkpoint, model, optimizer, scheduler, notes)
        seconds = spent + time.perf_counter() - begun
        with place:
            final = curve[-1] if curve else evaluate(model, tested, spec)
        model.to("cpu")
        return Outcome(
            metrics={name: value for name, value in final.items() if name != "loss"},
            curve=curve,
            probes=probes.measure(model, held_out.first, seed, experiment.probing)
            | (measure_states(held_out.tokens, drawn) if experiment.probing == "states" else {})
            | ({"shares_by_epoch": notes["shares"]} if notes["shares"] else {})
            | {f"{name}_by_epoch": values for name, values in notes["mechanism"].items()},
            parameters=sum(p.numel() for p in model.parameters() if p.requires_grad),
            seconds=seconds,
            captured=captured is not None,
            model=model,
        )


def _watch(experiment: Experiment, model: FCI, tested: Batch, notes: dict[str, Any]) -> None:
    """Measure what the probing keeps by epoch, and add it to the notes."""
    if experiment.probing == "by-epoch":
        notes["shares"] += film.shares(model, tested.first, experiment.training.epochs)
    elif experiment.probing == "mechanism":
        for name, value in mechanism(model, tested.first).items():
            notes["mechanism"].setdefault(name, []).append(round(value, 5))


def _epoch(
    experiment: Experiment,
    model: FCI,
    optimizer: torch.optim.Optimizer,
    scheduler: torch.optim.lr_scheduler.LRScheduler,
    data: Batch,
    epoch: int,
    report: Report | None,
    captured: Steps | None,
) -> float:
    """One pass over the data in a fresh order; gives the mean loss."""
    spec = experiment.training
    model.train()
    parameters = [p for p in model.parameters() if p.requires_grad]
    order = torch.randperm(len(data)).split(spec.batch)
    steps = len(order) * spec.epochs
    first = epoch * len(order)
    weights = [routing_weight(spec, (first + n) / max(steps - 1, 1)) for n in range(len(order))]
    total, precision = 0.0, math.nan

    def tell(step: int, hit: float) -> None:
        nonlocal precision
        precision = hit if math.isnan(precision) else 0.8 * precision + 0.2 * hit
        if report is not None:
            report(first + step, steps, precision)

    def add(step: int, value: float) -> None:
        nonlocal total
        if not math.isfinite(value):
            raise DivergedError(
                f"loss is {value} at epoch {epoch}, step {step} of {experiment.canonical()}"
            )
        total += value * len(order[step])

    if captured is not None:
        telling = None if report is None else tell
        for step, value in enumerate(captured.epoch(order, weights, scheduler, telling)):
            add(step, value)
        return total / len(data)
    for step, index in enumerate(order):
        batch = data[index]
        loss, output = _forward(model, spec, batch, weights[step])
        add(step, loss.item())
        optimizer.zero_grad()
        loss.backward()
        nn.utils.clip_grad_norm_(parameters, spec.clip)
        optimizer.step()
        scheduler.step()
        if report is not None and (step + 1) % max(len(order) // 50, 1) == 0:
            tell(step + 1, hit_rate(output, batch).item())
    return total / len(data)


def _forward(
    model: FCI, spec: Training, batch: Batch, weight: float | torch.Tensor
) -> tuple[torch.Tensor, Output]:
    """The loss of a batch in training, and what the model gave for it."""
    with autocast(spec, batch.tokens.device.type):
        output = model(batch.tokens, batch.query, batch.evidence)
        return _loss(output, batch, weight), output


def _loss(output: Output, batch: Batch, weight: float | torch.Tensor) -> torch.Tensor:
    """Task cross-entropy plus the weighted routing cross-entropy CE(s_q, a).

    The latter is a mean over the questions whose evidence is a candidate.
    """
    loss = F.cross_entropy(output.logits.float(), batch.label.flatten())
    if output.scores is None or not output.scores.requires_grad:
        return loss
    target = output.candidate(batch.evidence.flatten())
    hidden = output.scores.detach().gather(1, target[:, None]).squeeze(1).isneginf()
    # Under capture nothing may depend on a value, and there is no router that hides all evidence.
    if _capturing() or not hidden.all():
        target = target.masked_fill(hidden, LEFT_OUT)
        loss = loss + weight * F.cross_entropy(output.scores.float(), target, ignore_index=LEFT_OUT)
    return loss


def _sequences(experiment: Experiment, epoch: int) -> Batch:
    """The sequences of an epoch, as they are drawn; the first epoch's are those of fixed data."""
    spec, seed, lesson = experiment.training, experiment.seed, experiment.lesson
    task = lesson.task if lesson is not None and epoch < lesson.epochs else experiment.task
    data = task.draw(spec.sequences, _mix(seed, epoch) if epoch else seed, "train")
    if spec.targets == "true":
        return data
    order = torch.randperm(len(data), generator=torch.Generator().manual_seed(seed))
    return replace(data, evidence=data.evidence[order], label=data.label[order])


def routing_weight(spec: Training, progress: float) -> float:
    """The weight of the routing loss, at `progress` from 0 (first step) to 1 (last)."""
    first, last = spec.routing_weight
    if spec.routing_decay == "linear":
        return first + (last - first) * progress
    return first * (last / first) ** progress


@torch.no_grad()
def evaluate(model: FCI, held_out: Batch, spec: Training) -> dict[str, float]:
    """The mean of every metric over the questions of the held-out sequences."""
    model.eval()
    k = model.router_spec.k if model.router_spec else 0
    totals: dict[str, float] = {}
    on_cpu = not held_out.tokens.is_cuda
    for index in torch.arange(len(held_out)).split(spec.batch if on_cpu else 8 * spec.batch):
        batch = held_out[index]
        with autocast(spec, batch.tokens.device.type):
            output = model(batch.tokens, batch.query, batch.evidence)
        for name, values in metrics.score(output, batch, k).items():
            totals[name] = totals.get(name, 0.0) + values.double().sum().item()
    return {name: value / held_out.label.numel() for name, value in totals.items()}


def autocast(spec: Training, kind: str) -> Any:
    """bf16 matrix products, on a kind of device, where the experiment asks for them."""
    return torch.autocast(kind, dtype=torch.bfloat16, enabled=spec.precision == "bf16")


def _capturing() -> bool:
    return torch.cuda.is_available() and torch.cuda.is_current_stream_capturing()


def _mix(seed: int, epoch: int) -> int:
    """A distinct torch seed for each (seed, epoch)."""
    return (seed * 1_000_003 + epoch + 1) % 2**63
