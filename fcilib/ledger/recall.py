"""The recall gap: Zoology's models on its task, and the accuracies that its paper draws of them.

Zoology (Arora et al., 2024, arXiv:2312.04927) asks every question of MQAR in sequences of several
lengths, and finds attention right at any width, where models without it need to be wide. Its
figure 2 has the accuracies as points; the numbers here are read off it.
"""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass
from typing import Any

from fcilib.ledger.agreement import ROUNDING, STANDARD
from fcilib.representations import Attention, BaseConv, Based, Embedding, Flow, Hyena, Rwkv4
from fcilib.representations.base import RepresentationSpec
from fcilib.routers import Investigator
from fcilib.routers.router import RouterSpec
from fcilib.study.profiles import Profile
from fcilib.tasks import MQAR
from fcilib.training.experiment import Experiment

READING = 0.02
"""How far a value that was read off the figure may lie from what was drawn."""

PUBLISHED: Mapping[str, Mapping[int, tuple[float, ...]]] = {
    "attention": {64: (1.0,) * 4, 128: (1.0,) * 4, 256: (1.0,) * 4, 512: (1.0,) * 4},
    "Hyena": {
        64: (0.52, 0.75, 0.84, 0.86),
        128: (0.18, 0.64, 0.74, 0.84),
        256: (0.05, 0.13, 0.53, 0.69),
        512: (0.01, 0.03, 0.10, 0.17),
    },
    "RWKV-4": {
        64: (0.76, 0.93, 0.96, 0.98),
        128: (0.18, 0.50, 0.75, 0.92),
        256: (0.05, 0.06, 0.67, 0.79),
        512: (0.01, 0.02, 0.15, 0.37),
    },
    "BaseConv": {
        64: (0.70, 0.94, 0.96, 1.0),
        128: (0.37, 0.61, 0.84, 0.96),
        256: (0.14, 0.33, 0.81, 0.94),
        512: (0.02, 0.02, 0.05, 0.71),
    },
}
"""Accuracy by model and length, at the widths 64, 128, 256 and 512 (figure 2; H3 is left out)."""

WIDTHS = (64, 128, 256, 512)

SMALL = 0.02
"""The standard deviation of Zoology's embeddings before training."""


@dataclass(frozen=True)
class Model:
    """A representation, and the router behind it where there is one."""

    representation: RepresentationSpec
    router: RouterSpec | None = None


def models() -> dict[str, Model]:
    """Every model, by label: two layers each, no per-token network, positions for attention alone.

    These are Zoology's settings. Flow has its own.
    """
    bare: Any = {"feed_forward": False, "positions": "none"}
    return {
        "attention": Model(Attention(mask="causal", heads=1, layers=2, feed_forward=False)),
        "Hyena": Model(Hyena(layers=2, **bare)),
        "RWKV-4": Model(Rwkv4(layers=2, **bare)),
        "BaseConv": Model(BaseConv(positions="none")),
        "Based": Model(Based(heads=1, **bare)),
        "Mamba": Model(Flow(positions="none")),
    }


def ingredients() -> dict[str, Model]:
    """The paper's two ingredients, added to models without them: one, the other, and both."""
    pairwise = Investigator(candidates="others", k=1)
    known = models()
    found = {"token embeddings, router": Model(Embedding(positions="none"), pairwise)}
    for label in ("Hyena", "Mamba"):
        one_way = known[label].representation
        both_ways = one_way.model_copy(update={"bidirectional": True})
        found |= {
            label: Model(one_way),
            f"bidirectional {label}": Model(both_ways),
            f"{label}, router": Model(one_way, pairwise),
            f"bidirectional {label}, router": Model(both_ways, pairwise),
        }
    return found


def experiment(
    sizes: Profile, model: Model, task: MQAR, width: int, rate: float, scale: float = SMALL
) -> Experiment:
    """One training of a model, on one of the profile's tasks.

    `scale`: the standard deviation of its vectors before training, by default Zoology's.
    """
    return Experiment(
        task=task,
        width=width,
        representation=model.representation.model_copy(update={"embedding_scale": scale}),
        router=model.router,
        training=sizes.recall.train(task, rate),
    )


def shortened(run: Experiment) -> Experiment:
    """The run with an eighth of the sequences, in batches of 128: at Zoology's settings for short
    sequences, half of the steps. Wider than 64 its matrix products are bf16. It is what minutes
    allow, on a GPU or a CPU, and no fair trial.
    """
    training = run.training
    precision = "fp32" if run.width <= 64 else "bf16"
    shorter = {"epochs": max(training.epochs // 8, 1), "batch": 128, "precision": precision}
    return run.model_copy(update={"training": training.model_copy(update=shorter)})


def published(label: str, length: int, width: int) -> float | None:
    """What Zoology's figure shows; None where it shows nothing."""
    values = PUBLISHED.get(label, {}).get(length)
    return None if values is None or width not in WIDTHS else values[WIDTHS.index(width)]


def agrees(value: float, shown: float) -> bool:
    """Whether an accuracy agrees with one read off the figure: within the margin and the reading's
    own error.
    """
    return abs(value - shown) <= STANDARD.margin + READING + ROUNDING
