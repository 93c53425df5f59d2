"""Numbers by hand, as runs would give them."""

from dataclasses import dataclass, field

import pandas as pd
import pytest

from fcilib.ledger.catalogue import CHANCE, catalogue
from fcilib.study.profiles import PROFILES
from fcilib.study.results import Summarised


@dataclass(frozen=True)
class Measured(Summarised):
    """Numbers by hand, for each condition and metric one a seed."""

    numbers: dict[str, dict[str, list[float]]]
    sizes: dict[str, str] = field(default_factory=dict)
    """The profile of a condition's runs, where it is not the paper's."""

    @property
    def records(self):
        """Of all the same training: raw embeddings, at the sizes of the condition's profile."""
        profiles = {name: PROFILES[self.sizes.get(name, "paper")] for name in self.numbers}
        return {(n, 0): catalogue(p)["raw"].under["all"] for n, p in profiles.items()}

    @property
    def frame(self):
        return pd.DataFrame(
            {"condition": name, "seed": seed, **dict(zip(metrics, row, strict=True))}
            for name, metrics in self.numbers.items()
            for seed, row in enumerate(zip(*metrics.values(), strict=True))
        )


@pytest.fixture(scope="session")
def results():
    """By protocol: three conditions with two metrics, two seeds each."""
    return {
        "all": Measured(
            {
                "raw embeddings": {"precision": [0.9, 0.92], "cosine_gap": [0.5, 0.6]},
                "global mean": {"precision": [0.019, 0.021], "cosine_gap": [0.0, 0.1]},
                CHANCE: {"precision": [0.01, 0.03], "cosine_gap": [0.4, 0.4]},
            }
        ),
        "others": Measured(
            {
                "raw embeddings": {"precision": [0.0, 0.01], "cosine_gap": [-0.15, -0.16]},
                "global mean": {"precision": [0.5, 0.5], "cosine_gap": [0.2, 0.2]},
                CHANCE: {"precision": [0.03, 0.03], "cosine_gap": [0.1, 0.1]},
            }
        ),
    }
