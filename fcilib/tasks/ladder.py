"""The context ladder: what must a vector know for its token to be picked? (our own)

    token    [Q] k .   ...  k v .     k2 v2 .    k3 v3 .    k4 v4 .         only a holds k
    left     [Q] c k   ...  c k v     c2 k v2    c3 k v3    c4 k v4         the token before tells
    right    [Q] k c   ...  k c v     k c2 v2    k c3 v3    k c4 v4         the token after tells
    hop      [Q] k .   ...  m v .     m2 v2 .    m3 v3 .    m4 v4 .         a definition tells:
                       ...  [A] k m   [A] k2 m2  [A] k3 m3  [A] k4 m4

A fifth, `alias`, is a lesson for `hop`: the definitions stand alone, and m, k's meaning, is to be
found.

    alias    [Q] k .   ...  [A] k m   [A] k2 m2  [A] k3 m3  [A] k4 m4

Each line is a sequence's pieces, which stand at random places among filler. `[Q]` is token 0 and
`[A]` token 1; all others are drawn from `[2, V)`. The label is v; with `alias` it is m.
"""

from __future__ import annotations

from typing import Literal

import torch
from pydantic import Field, model_validator

from fcilib.tasks.batch import Batch
from fcilib.tasks.mqar import distinct
from fcilib.tasks.task import Task

MARKER, ALIAS, SPECIAL = 0, 1, 2
"""The query's marker, that of a definition, and the first ordinary token."""

PIECE = 3
"""Tokens in a piece: the query, a look-alike or a definition."""

LOOKALIKES = 4
"""Tokens that could be the evidence, itself included: 25% is chance among them."""

Rung = Literal["token", "left", "right", "hop", "alias"]


class Ladder(Task):
    """One rung of the context ladder.

    The evidence and its look-alikes are told apart by: the token itself (`token`); the token
    before it, or after it, which is that before, or after, the query (`left`, `right`); or a
    definition elsewhere, `[A] k m`, by which the query k stands for the evidence m (`hop`). With
    `alias` the evidence is the m of that definition itself, and the token before it tells. Filler
    is never one of the sequence's keys, so nothing else looks alike. Impossible layouts raise a
    `ValueError` that names the field.
    """

    kind: Literal["ladder"] = "ladder"
    length: int = Field(128, ge=1)
    """L, tokens in a sequence."""
    vocabulary: int = Field(64, ge=1)
    """V, number of token ids."""
    rung: Rung

    @model_validator(mode="after")
    def _layout_exists(self) -> Ladder:
        pieces, keys = self._pieces(), self._keys()
        if PIECE * pieces > self.length:
            raise ValueError(f"length: {pieces} pieces take {PIECE * pieces} tokens")
        if SPECIAL + keys + LOOKALIKES > self.vocabulary:
            raise ValueError(
                f"vocabulary: {keys} keys and filler take {SPECIAL + keys + LOOKALIKES} tokens"
            )
        return self

    def _pieces(self) -> int:
        return 1 + LOOKALIKES * (2 if self.rung == "hop" else 1)

    def _keys(self) -> int:
        """Tokens that are no filler of a sequence."""
        double = 2 * LOOKALIKES
        return {"token": LOOKALIKES, "left": 1, "right": 1, "hop": double, "alias": double}[
            self.rung
        ]

    def examples(self, count: int, rng: torch.Generator) -> Batch:
        places = self._places(count, rng)
        ordinary = self.vocabulary - SPECIAL
        # A shuffled vocabulary for each sequence: its keys, then what its filler is drawn from.
        shuffled = SPECIAL + distinct(ordinary, count, ordinary, rng)
        number = self._keys()
        keys, rest = shuffled[:, :number], shuffled[:, number:]

        def filler(*shape: int) -> torch.Tensor:
            return rest.gather(1, torch.randint(rest.shape[1], (count, *shape), generator=rng))

        tokens = filler(self.length)
        values = filler(LOOKALIKES)
        contexts = rest[:, :LOOKALIKES]  # different from each other

        def write(piece: int, *content: torch.Tensor | int) -> None:
            for step, token in enumerate(content):
                at = (places[:, piece] + step).unsqueeze(1)
                tokens.scatter_(1, at, token if isinstance(token, int) else token.unsqueeze(1))

        asking = {
            "left": (contexts[:, 0], keys[:, 0]),
            "right": (keys[:, 0], contexts[:, 0]),
        }.get(self.rung, (keys[:, 0],))
        write(0, MARKER, *asking)
        for i in range(LOOKALIKES):
            piece, value = 1 + i, values[:, i]
            if self.rung == "token":
                write(piece, keys[:, i], value)
            elif self.rung == "left":
                write(piece, contexts[:, i], keys[:, 0], value)
            elif self.rung == "right":
                write(piece, keys[:, 0], contexts[:, i], value)
            elif self.rung == "alias":
                write(piece, ALIAS, keys[:, i], keys[:, LOOKALIKES + i])
            else:
                write(piece, keys[:, LOOKALIKES + i], value)
                write(piece + LOOKALIKES, ALIAS, keys[:, i], keys[:, LOOKALIKES + i])
        # Places of the look-alikes in their pieces, and of the query after its marker.
        where = {"left": 1, "alias": 2}.get(self.rung, 0)
        lookalikes = places[:, 1 : 1 + LOOKALIKES] + where
        query = places[:, 0] + 1 + int(self.rung == "left")
        label = keys[:, LOOKALIKES] if self.rung == "alias" else values[:, 0]
        return Batch(tokens, query, lookalikes[:, 0], label, lookalikes)

    def _places(self, count: int, rng: torch.Generator) -> torch.Tensor:
        """Where each piece begins, `(B, pieces)`: any layout without overlap, as likely as any."""
        pieces = self._pieces()
        slots = distinct(self.length - pieces * (PIECE - 1), count, pieces, rng).sort(dim=1).values
        begins = slots + (PIECE - 1) * torch.arange(pieces)
        order = torch.rand(count, pieces, generator=rng).argsort(dim=1)
        return begins.gather(1, order)
