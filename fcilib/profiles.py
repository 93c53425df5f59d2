"""How big: the sizes of a profile, so that a chapter names none."""

from __future__ import annotations

from dataclasses import dataclass

from fcilib.experiment import Training
from fcilib.tasks import Evidence


@dataclass(frozen=True)
class Profile:
    """Sizes that every experiment of a study starts from."""

    evidence: Evidence
    width: int
    training: Training


PROFILES = {
    # Seconds: for tests of the machinery, not of any claim.
    "smoke": Profile(
        evidence=Evidence(length=32, vocabulary=16, min_distance=8, distractors=2),
        width=16,
        training=Training(sequences=128, epochs=2, held_out=64),
    ),
    # Two CPU cores: what the book shows. Half an hour for a seed of two chapters bounds the epochs.
    "quick": Profile(
        evidence=Evidence(length=128, vocabulary=64, min_distance=50),
        width=64,
        training=Training(epochs=5),
    ),
    # The paper's own sizes.
    "paper": Profile(evidence=Evidence(), width=128, training=Training()),
}


def profile(name: str) -> Profile:
    """The profile of that name. Raises ValueError listing the names there are."""
    if name not in PROFILES:
        raise ValueError(f"profile: {name!r} is none of {', '.join(PROFILES)}")
    return PROFILES[name]
