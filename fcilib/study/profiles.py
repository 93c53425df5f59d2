"""How big: the sizes of a profile, so that a chapter names none."""

from __future__ import annotations

from dataclasses import dataclass
from typing import Any

from fcilib.backbones import MAMBA_3M, TRANSFORMER_3M, ByteLM
from fcilib.tasks import MQAR, Evidence, Ladder
from fcilib.training.experiment import Training


@dataclass(frozen=True)
class CostSizes:
    """Lengths that costs are measured at, and where a curve ends before them."""

    lengths: tuple[int, ...]
    """n, for representations and routers of one sequence."""
    scan_lengths: tuple[int, ...]
    """L, for the scan and whole blocks at their own batch and width."""
    rounds: int
    seconds: float
    """No measured call takes longer."""
    megabytes: float
    """No measured call holds more memory."""

    @property
    def limits(self) -> dict[str, float]:
        """Rounds and the limits on time and memory, as fields of a `Bench`."""
        return {"rounds": self.rounds, "seconds": self.seconds, "megabytes": self.megabytes}


def _doubling(first: int, last: int) -> tuple[int, ...]:
    """2^first ... 2^last."""
    return tuple(2**power for power in range(first, last + 1))


@dataclass(frozen=True)
class Profile:
    """Sizes that every experiment of a study starts from."""

    evidence: Evidence
    mqar: MQAR
    width: int
    training: Training
    settled: Training
    """Long enough for loss curves to be flat, where a short training would decide."""
    frozen: Training
    """Of what stands on a frozen backbone: fewer sequences, since each costs a pass through it, and
    more epochs, since those cost none."""
    bridged: Training
    """Of a bridge, where the passes can be afforded: the paper's sequences and epochs."""
    byte_lms: tuple[ByteLM, ByteLM]
    """The Transformer and the Mamba that are pretrained alike."""
    ladder: Ladder
    """The first rung of the context ladder; the others are as large."""
    climbing: Training
    """On every rung."""
    segment: int
    """Tokens in a segment that routers pick: a sixteenth of a sequence, as the paper's 32 of 512,
    so that a router at random picks right as often as there."""
    arms: int
    """Tokens in the segment that a bandit chooses from: the paper's 32, for the same reason."""
    cost: CostSizes
    recall: RecallSizes


@dataclass(frozen=True)
class RecallSizes:
    """Of Zoology's experiment: accuracy on MQAR by the width of a model."""

    tasks: tuple[MQAR, ...]
    """By length; every question of every sequence is asked."""
    widths: tuple[int, ...]
    rates: tuple[float, ...]
    """Learning rates; of each model the best one counts."""
    training: Training
    """Up to the rate and, where sequences are long, the batch."""
    tokens: int
    """The most tokens in a batch."""

    def train(self, task: MQAR, rate: float) -> Training:
        """The training on a task's sequences."""
        batch = min(self.training.batch, self.tokens // task.length)
        return self.training.model_copy(update={"learning_rate": rate, "batch": batch})


def _recall(vocabulary: int, pairs: dict[int, int]) -> tuple[MQAR, ...]:
    """Zoology's task with so many pairs at each length."""
    sizes: Any = {"form": "multi", "asks": "all", "vocabulary": vocabulary}
    return tuple(MQAR(length=length, pairs=number, **sizes) for length, number in pairs.items())


def _byte_lms(**sizes: Any) -> tuple[ByteLM, ByteLM]:
    return ByteLM(family="transformer", **sizes), ByteLM(family="mamba", **sizes)


PROFILES = {
    # Seconds: for tests of the machinery, not of any claim.
    "smoke": Profile(
        evidence=Evidence(length=32, vocabulary=16, min_distance=8, distractors=2),
        mqar=MQAR(length=32, vocabulary=16, pairs=4),
        width=16,
        training=Training(sequences=128, epochs=2, held_out=64),
        settled=Training(sequences=128, epochs=2, held_out=64),
        frozen=Training(sequences=128, epochs=2, held_out=64),
        bridged=Training(sequences=128, epochs=2, held_out=64),
        ladder=Ladder(length=32, vocabulary=16, rung="token"),
        climbing=Training(sequences=128, epochs=2, held_out=64),
        byte_lms=_byte_lms(layers=1, width=16, context=32, steps=2),
        segment=2,
        arms=8,
        cost=CostSizes(_doubling(5, 8), (4, 8), rounds=1, seconds=0.5, megabytes=256.0),
        recall=RecallSizes(
            tasks=_recall(16, {16: 2}),
            widths=(8, 16),
            rates=(3e-3,),
            training=Training(sequences=64, epochs=2, held_out=32),
            tokens=512,
        ),
    ),
    # What the book shows. On two CPU cores a seed of a chapter takes from minutes to some hours.
    "quick": Profile(
        evidence=Evidence(length=128, vocabulary=64, min_distance=50),
        mqar=MQAR(length=128, vocabulary=64),
        width=64,
        training=Training(epochs=5),
        settled=Training(epochs=20),
        frozen=Training(sequences=2000, epochs=10, held_out=500),
        bridged=Training(held_out=500),
        # The smallest size with room for every rung, so that 1,250 steps can tell them apart.
        ladder=Ladder(length=32, vocabulary=16, rung="token"),
        climbing=Training(sequences=16_000, batch=64, epochs=5, learning_rate=3e-3),
        byte_lms=(TRANSFORMER_3M, MAMBA_3M),
        segment=8,
        arms=32,
        cost=CostSizes(_doubling(7, 20), _doubling(7, 11), rounds=5, seconds=4.0, megabytes=6144.0),
        recall=RecallSizes(
            tasks=_recall(128, {64: 4, 128: 8}),
            widths=(16, 32, 64),
            rates=(3e-3,),
            training=Training(sequences=20_000, batch=64, epochs=10, weight_decay=0.1),
            tokens=8192,
        ),
    ),
    # The paper's own sizes.
    "paper": Profile(
        evidence=Evidence(),
        mqar=MQAR(),
        width=128,
        training=Training(),
        settled=Training(),
        frozen=Training(),
        bridged=Training(),
        ladder=Ladder(rung="token"),
        climbing=Training(learning_rate=3e-3),
        byte_lms=(TRANSFORMER_3M, MAMBA_3M),
        segment=32,
        arms=32,
        cost=CostSizes(
            _doubling(7, 20), _doubling(7, 13), rounds=5, seconds=60.0, megabytes=16384.0
        ),
        # Zoology's own, as its configuration of figure 2 has them.
        recall=RecallSizes(
            tasks=_recall(8192, {64: 4, 128: 8, 256: 16, 512: 64}),
            widths=(64, 128, 256, 512),
            rates=(1e-4, 4.64e-4, 2.15e-3, 1e-2),
            training=Training(
                sequences=100_000, batch=512, epochs=64, weight_decay=0.1, held_out=3000
            ),
            tokens=65_536,
        ),
    ),
}


def profile(name: str) -> Profile:
    """The profile of that name. Raises ValueError listing the names there are."""
    if name not in PROFILES:
        raise ValueError(f"profile: {name!r} is none of {', '.join(PROFILES)}")
    return PROFILES[name]
