"""What names a record: a hash of the whole description of what it is a record of."""

from __future__ import annotations

import hashlib
import json
from typing import Self

from fcilib.specs.spec import Spec

NUMERICS = 1
"""Part of every run's identity: raised when a change alters what a run computes."""


def short_hash(text: str) -> str:
    """16 hexadecimal digits."""
    return hashlib.sha256(text.encode()).hexdigest()[:16]


class Repeatable(Spec):
    """A whole description of something that is done once for each `seed`, a field of it."""

    def canonical(self) -> str:
        """Sorted JSON of what differs from the defaults: one text for one description."""
        return json.dumps(self.essence(), sort_keys=True, separators=(",", ":"))

    @property
    def identity(self) -> str:
        """16 hexadecimal digits that name what is kept of it: a hash of the canonical text."""
        return short_hash(self.canonical())

    def with_seed(self, seed: int) -> Self:
        """The same under another seed."""
        return type(self).model_validate({**dict(self), "seed": seed})


class Numerical(Repeatable):
    """One whose results depend on how it is computed: another `NUMERICS` is another identity."""

    @property
    def identity(self) -> str:
        """16 hexadecimal digits."""
        return short_hash(f"{NUMERICS}:{self.canonical()}")
