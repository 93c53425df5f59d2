"""How big: the sizes of a profile, so that a chapter names none."""

from __future__ import annotations

from dataclasses import dataclass

from fcilib.experiment import Training
from fcilib.tasks import Evidence


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
    """None holds more memory."""


def _doubling(first: int, last: int) -> tuple[int, ...]:
    """2^first ... 2^last."""
    return tuple(2**power for power in range(first, last + 1))


@dataclass(frozen=True)
class Profile:
    """Sizes that every experiment of a study starts from."""

    evidence: Evidence
    width: int
    training: Training
    segment: int
    """Tokens in a segment that routers pick: a sixteenth of a sequence, as the paper's 32 of 512,
    so that a router at random picks right as often as there."""
    arms: int
    """Tokens in the segment that a bandit chooses from: the paper's 32, for the same reason."""
    cost: CostSizes


PROFILES = {
    # Seconds: for tests of the machinery, not of any claim.
    "smoke": Profile(
        evidence=Evidence(length=32, vocabulary=16, min_distance=8, distractors=2),
        width=16,
        training=Training(sequences=128, epochs=2, held_out=64),
        segment=2,
        arms=8,
        cost=CostSizes(_doubling(5, 8), (4, 8), rounds=1, seconds=0.5, megabytes=256.0),
    ),
    # Two CPU cores: what the book shows. Half an hour for a seed of two chapters bounds the epochs.
    "quick": Profile(
        evidence=Evidence(length=128, vocabulary=64, min_distance=50),
        width=64,
        training=Training(epochs=5),
        segment=8,
        arms=32,
        cost=CostSizes(_doubling(7, 20), _doubling(7, 11), rounds=5, seconds=4.0, megabytes=6144.0),
    ),
    # The paper's own sizes.
    "paper": Profile(
        evidence=Evidence(),
        width=128,
        training=Training(),
        segment=32,
        arms=32,
        cost=CostSizes(
            _doubling(7, 20), _doubling(7, 13), rounds=5, seconds=60.0, megabytes=16384.0
        ),
    ),
}


def profile(name: str) -> Profile:
    """The profile of that name. Raises ValueError listing the names there are."""
    if name not in PROFILES:
        raise ValueError(f"profile: {name!r} is none of {', '.join(PROFILES)}")
    return PROFILES[name]
