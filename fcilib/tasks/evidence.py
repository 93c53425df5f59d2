"""Distant Evidence Retrieval: find the far-away token that equals the query (paper, 3.1).

    position      q-1    q                          a    a+1
    token    ...  [Q]    k   ...  k' v'  ...  ...   k     v   ...        label: v

The marker `[Q]` is token 0; all others are drawn from `[1, V)`. In the semantic variant
(`class_size`) the evidence holds another token of the same class as k. With a held-out vocabulary
(`unseen`) the test asks about tokens of each class that training never asks about.
"""

from __future__ import annotations

from dataclasses import replace
from typing import Literal

import torch
from pydantic import Field, model_validator

from fcilib.tasks.batch import Batch, Split, generator
from fcilib.tasks.task import Task

MARKER = 0
"""The QUERY token. It stands once in a sequence, right before the query key."""

NEARBY = 20
"""Distractors, and the evidence of the near control, lie within this many tokens of the query."""


class Evidence(Task):
    """Distant Evidence Retrieval.

    Impossible layouts raise a `ValueError` that names the field at fault.
    """

    kind: Literal["evidence"] = "evidence"
    length: int = Field(512, ge=4)
    """L, tokens in a sequence."""
    vocabulary: int = Field(256, ge=3)
    """V, number of token ids: the marker 0 and the range [1, V)."""
    min_distance: int = Field(200, ge=3)
    """Smallest |a - q|; without effect in the near control."""
    distractors: int = Field(4, ge=0)
    """Pairs (k', v') with k' != k, within `NEARBY` tokens of the query."""
    order: Literal["query-first", "evidence-first", "either"] = "query-first"
    """Which comes first. The paper's worked example has the query first."""
    collisions: bool = False
    """Whether filler may equal the query key by accident."""
    class_size: int = Field(1, ge=1)
    """Tokens of a latent class, which are runs of token ids from 1 on. Above 1 the evidence holds
    another token of the query key's class: it is to be matched by class, not by token. "The query
    key" that others may not equal is then its whole class."""
    unseen: int = Field(0, ge=0)
    """Tokens of every class, its last ones, that no training sequence asks about, or has as
    evidence; in the test query and evidence are two of them. 0: all tokens serve in both."""
    unseen_as: Literal["absent", "filler"] = "absent"
    """What those tokens are in training: absent, so that nothing says what they match, and the test
    is the same task over them alone; or filler, distractors and labels, like all others. Since
    filler is never of the query's class (unless `collisions`), it then tells what they don't
    match."""
    near: bool = False
    """The control: the evidence lies within `NEARBY` tokens of the query."""

    @model_validator(mode="after")
    def _layout_exists(self) -> Evidence:
        if not self.near and self.min_distance >= self.length - 2:
            raise ValueError(
                f"min_distance: {self.min_distance} leaves no room for the query and the evidence "
                f"in {self.length} tokens; it must be below length - 2 = {self.length - 2}"
            )
        if (self.vocabulary - 1) % self.class_size or self.vocabulary - 1 == self.class_size > 1:
            raise ValueError(
                f"class_size: {self.vocabulary - 1} tokens are not several classes of "
                f"{self.class_size}"
            )
        seen = self.class_size - self.unseen
        if self.unseen and min(seen, self.unseen) < 2:
            raise ValueError(
                f"unseen: {self.unseen} tokens of a class of {self.class_size} leave "
                f"{max(seen, 0)} for training; query and evidence are two tokens, there and in "
                f"the test"
            )
        if self.unseen_as == "filler" and not self.unseen:
            raise ValueError("unseen_as: no token of a class is unseen")
        for query_first in self._orders():
            first, last = self._query_range(query_first)
            if first > last:
                raise ValueError(
                    f"length: {self.length} tokens have no room for query and evidence"
                )
            # Between the ends every slot is free, however long the sequence.
            starts = range(first, min(first + NEARBY, last + 1))
            ends = range(max(first, last - NEARBY + 1), last + 1)
            positions = torch.tensor([*starts, *ends])
            free = self._slots(positions)[1].sum(dim=1)
            may_overlap = self.near or self.min_distance <= NEARBY + 1
            room = int(free.min()) - (2 if may_overlap else 0)
            if self.distractors > room:
                raise ValueError(
                    f"distractors: {self.distractors} pairs do not fit within {NEARBY} tokens of "
                    f"every query position; at most {max(room, 0)} do"
                )
        return self

    def draw(self, count: int, seed: int, split: Split = "train") -> Batch:
        if not self.unseen:
            return super().draw(count, seed, split)
        seen = self.class_size - self.unseen
        part = range(seen) if split == "train" else range(seen, self.class_size)
        if self.unseen_as == "filler":
            return self._examples(count, generator(seed, split), part)
        # The same task over a part of the tokens, which are then called what they are here.
        names = self._tokens_of(part)
        sizes = {"vocabulary": len(names), "class_size": len(part), "unseen": 0}
        batch = self.model_copy(update=sizes).draw(count, seed, split)
        return replace(batch, tokens=names[batch.tokens], label=names[batch.label])

    def examples(self, count: int, rng: torch.Generator) -> Batch:
        return self._examples(count, rng, range(self.class_size))

    def _examples(self, count: int, rng: torch.Generator, part: range) -> Batch:
        """Examples whose query and evidence are of that part of every class."""
        query, evidence = self._positions(count, rng)
        askable = self._tokens_of(part)
        key = askable[torch.randint(1, len(askable), (count,), generator=rng)]
        tokens = self._other_than(key, (count, self.length), rng, self.collisions)
        if self.distractors:
            slots = self._distractor_slots(query, evidence, rng)
            tokens.scatter_(1, slots, self._other_than(key, tuple(slots.shape), rng))
        label = self._other_than(key, (count, 1), rng)
        match = key if self.class_size == 1 else self._alike(key, rng, part)
        tokens.scatter_(1, query[:, None] - 1, MARKER)
        tokens.scatter_(1, query[:, None], key[:, None])
        tokens.scatter_(1, evidence[:, None], match[:, None])
        tokens.scatter_(1, evidence[:, None] + 1, label)
        return Batch(tokens, query, evidence, label[:, 0])

    def _orders(self) -> list[bool]:
        """The orders in play, as "is the query first?"."""
        return {"query-first": [True], "evidence-first": [False], "either": [True, False]}[
            self.order
        ]

    def _query_range(self, query_first: bool) -> tuple[int, int]:
        """First and last position the query may take, so that some evidence position is left."""
        least, _ = self._distances(query_first)
        return (1, self.length - 2 - least) if query_first else (least, self.length - 1)

    def _distances(self, query_first: bool) -> tuple[int, int]:
        """Smallest and largest |a - q|; the evidence's value stands before the query's marker."""
        if self.near:
            return 1 if query_first else 3, NEARBY
        return self.min_distance, self.length

    def _positions(self, count: int, rng: torch.Generator) -> tuple[torch.Tensor, torch.Tensor]:
        """Query and evidence positions, each `(count,)`: q uniform, then a uniform given q."""
        coin = torch.randint(2, (count,), generator=rng).bool()
        chance = torch.rand(2, count, generator=rng, dtype=torch.float64)
        drawn = []
        for query_first in self._orders():
            first, last = self._query_range(query_first)
            query = first + (chance[0] * (last - first + 1)).long()
            least, most = self._distances(query_first)
            if query_first:
                low, high = query + least, (query + most).clamp(max=self.length - 2)
            else:
                low, high = (query - most).clamp(min=0), query - least
            drawn.append((query, low + (chance[1] * (high - low + 1)).long()))
        (query_a, evidence_a), (query_b, evidence_b) = drawn[0], drawn[-1]
        return torch.where(coin, query_a, query_b), torch.where(coin, evidence_a, evidence_b)

    def _slots(self, query: torch.Tensor) -> tuple[torch.Tensor, torch.Tensor]:
        """Places for a pair around each query, `(n, slots)`, and which lie inside the sequence.

        Pairs never overlap each other, the query or its marker.
        """
        right = torch.arange(1, NEARBY, 2)
        left = torch.arange(-3, -NEARBY, -2)
        starts = query[:, None] + torch.cat([right, left])
        return starts, (starts >= 0) & (starts + 1 < self.length)

    def _distractor_slots(
        self, query: torch.Tensor, evidence: torch.Tensor, rng: torch.Generator
    ) -> torch.Tensor:
        """Positions of the distractors' tokens, `(n, 2 * distractors)`: free slots at random."""
        starts, free = self._slots(query)
        free &= (starts - evidence[:, None]).abs() > 1
        order = torch.rand(starts.shape, generator=rng).masked_fill_(~free, 2.0)
        chosen = starts.gather(1, order.topk(self.distractors, dim=1, largest=False).indices)
        return torch.cat([chosen, chosen + 1], dim=1)

    def _other_than(
        self,
        key: torch.Tensor,
        shape: tuple[int, ...],
        rng: torch.Generator,
        collisions: bool = False,
    ) -> torch.Tensor:
        """Uniform tokens of `[1, V)`, by row without that row's key's class unless `collisions`."""
        if collisions:
            return torch.randint(1, self.vocabulary, shape, generator=rng)
        size = self.class_size
        tokens = torch.randint(1, self.vocabulary - size, shape, generator=rng)
        return tokens.add_(size * (tokens >= self._first(key)[:, None]))

    def _first(self, key: torch.Tensor) -> torch.Tensor:
        """The first token of each key's class."""
        return key - (key - 1) % self.class_size

    def _alike(self, key: torch.Tensor, rng: torch.Generator, part: range) -> torch.Tensor:
        """Another token of each key's class, uniformly, of the part that the key is of."""
        step = torch.randint(1, len(part), key.shape, generator=rng)
        first = self._first(key) + part.start
        return first + (key - first + step) % len(part)

    def _tokens_of(self, part: range) -> torch.Tensor:
        """The marker, and that part of every class, in the order of the vocabulary."""
        member = (torch.arange(self.vocabulary) - 1) % self.class_size
        chosen = (member >= part.start) & (member < part.stop)
        chosen[0] = True
        return chosen.nonzero()[:, 0]
