"""Multi-query associative recall: which value followed this key? (paper, 3.1; Arora et al., 2024)

    single    0 0 k1 v1 0 k2 v2 0 0 ... kN vN 0 ... ki                 label: vi
    multi     k1 v1 k2 v2 ... kN vN | 0 k2 0 0 0 kN k1 0 ...           labels: v2, vN, v1, ...

Keys come from the first half of the vocabulary, [1, V / 2), values from the second, [V / 2, V);
0 is filler. No key and no value stands twice among the pairs of a sequence.
"""

from __future__ import annotations

from typing import Literal

import torch
from pydantic import Field, model_validator

from fcilib.tasks.batch import Batch
from fcilib.tasks.task import Task

FILLER = 0


class MQAR(Task):
    """Associative recall, with the last token as the one query or with a query for every pair.

    `form="single"` is the paper's: pairs anywhere in the sequence, and a key at its end. `"multi"`
    is Zoology's: the pairs come first, in one run, then each key once more; the farther from the
    pairs the rarer, by a power law. Impossible layouts raise a `ValueError` naming the field.
    """

    kind: Literal["mqar"] = "mqar"
    length: int = Field(256, ge=4)
    """L, tokens in a sequence."""
    vocabulary: int = Field(8192, ge=4, multiple_of=2)
    """V, number of token ids: filler 0, keys [1, V / 2), values [V / 2, V)."""
    pairs: int = Field(16, ge=1)
    """N, key-value pairs in a sequence."""
    form: Literal["single", "multi"] = "single"
    power: float = Field(0.01, gt=0, le=1)
    """a: a query's gap is g with a weight of (g + 1)^(a - 1). Form `multi` only."""
    asks: Literal["one", "all"] = "one"
    """Whether an example's question is one of those that its sequence holds, or all of them are
    asked, as in Zoology. Form `multi` only."""
    filler: Literal["zero", "random"] = "zero"
    """What stands where nothing else does: token 0, or a token drawn from all of the vocabulary.
    Random filler is never the key of the one query (`single`); in `multi` it may be anything, as in
    Zoology."""

    @model_validator(mode="after")
    def _layout_exists(self) -> MQAR:
        keys = self.vocabulary // 2 - 1
        if self.pairs > keys:
            raise ValueError(f"pairs: {self.pairs} need as many keys, {self.vocabulary} has {keys}")
        needed = 4 * self.pairs if self.form == "multi" else 2 * self.pairs + 1
        if needed > self.length:
            raise ValueError(f"length: {self.pairs} pairs and their queries take {needed} tokens")
        if self.form == "single" and self.asks == "all":
            raise ValueError("asks: form 'single' holds one question, there are no others to ask")
        if self.form == "multi" and self.length % 2:
            raise ValueError(f"length: {self.length} is odd; queries stand at every other token")
        return self

    def examples(self, count: int, rng: torch.Generator) -> Batch:
        """Draw `count` examples, with one question each or with all that their sequences hold.

        One is drawn from several with equal chance. All are in the order of their pairs.
        """
        tokens, queries, evidence, values = self._draw(count, rng)
        if self.asks == "all":
            return Batch(tokens, queries, evidence, values)
        asked = torch.randint(queries.shape[1], (count, 1), generator=rng)
        query, evidence, label = (t.gather(1, asked)[:, 0] for t in (queries, evidence, values))
        return Batch(tokens, query, evidence, label)

    def _draw(self, count: int, rng: torch.Generator) -> tuple[torch.Tensor, ...]:
        """Tokens `(B, L)`; for each query in it its position, its evidence and its value."""
        half = self.vocabulary // 2
        keys = 1 + distinct(half - 1, count, self.pairs, rng)
        values = half + distinct(half, count, self.pairs, rng)
        if self.form == "single":
            # N of L - 1 - N slots in order, each pair pushing what follows one to the right.
            slots = distinct(self.length - 1 - self.pairs, count, self.pairs, rng)
            places = slots.sort(dim=1).values + torch.arange(self.pairs)
            queries = torch.full((count, 1), self.length - 1)
            asked = torch.randint(self.pairs, (count, 1), generator=rng)
        else:
            places = (2 * torch.arange(self.pairs)).expand(count, -1)
            queries = 2 * self.pairs + 2 * self._gaps(count, rng)
            asked = torch.arange(self.pairs).expand(count, -1)
        tokens = self._filler(count, keys.gather(1, asked), rng)
        tokens.scatter_(1, places, keys).scatter_(1, places + 1, values)
        tokens.scatter_(1, queries, keys.gather(1, asked))
        return tokens, queries, places.gather(1, asked), values.gather(1, asked)

    def gap_weights(self) -> torch.Tensor:
        """The chance of each gap for the first query to be placed, `(gaps,)` float64."""
        gaps = torch.arange(1, (self.length - 2 * self.pairs) // 2 + 1, dtype=torch.float64)
        weights = gaps ** (self.power - 1)
        return weights / weights.sum()

    def _gaps(self, count: int, rng: torch.Generator) -> torch.Tensor:
        """Distinct gaps `(B, N)`, one after the other by weight among those that are left.

        The largest of log(u) / weight, in order, are such a draw (Efraimidis and Spirakis, 2006).
        """
        weights = self.gap_weights()
        uniform = torch.rand(count, len(weights), dtype=torch.float64, generator=rng)
        return (uniform.log_() / weights).topk(self.pairs, dim=1).indices

    def _filler(self, count: int, asked: torch.Tensor, rng: torch.Generator) -> torch.Tensor:
        shape = (count, self.length)
        if self.filler == "zero":
            return torch.full(shape, FILLER)
        if self.form == "multi":
            return torch.randint(self.vocabulary, shape, generator=rng)
        tokens = torch.randint(self.vocabulary - 1, shape, generator=rng)
        return tokens.add_(tokens >= asked)


def distinct(number: int, count: int, draws: int, rng: torch.Generator) -> torch.Tensor:
    """For each of `count` rows `draws` different integers of [0, number), in a random order.

    Floyd's algorithm, on all rows at once: step j picks one of the first n - draws + j + 1
    integers, or the last of those where the pick is taken. A set so drawn is uniform; its order is
    not, so it is shuffled.
    """
    first = number - draws  # the last integer of step 0
    picks = torch.empty(draws, count, dtype=torch.int64)
    for step in range(draws):
        picks[step] = torch.randint(first + step + 1, (count,), generator=rng)
    # A pick is taken if an earlier step picked it, or took it as its last since its own was taken.
    # Equal picks become neighbours when they are sorted: a search for each would be quadratic.
    ordered, steps = picks.sort(dim=0, stable=True)
    taken = torch.zeros_like(picks, dtype=torch.bool)
    taken.scatter_(0, steps[1:], ordered[1:] == ordered[:-1])
    # Integers below the last of step 0 are looked up there: the first pick is never taken.
    as_last = (picks - first).clamp(min=0)
    for step in range(draws):
        taken[step] |= taken.gather(0, as_last[step : step + 1])[0]
    integers = torch.where(taken, first + torch.arange(draws)[:, None], picks).T
    order = torch.rand(count, draws, generator=rng).argsort(dim=1)
    return integers.gather(1, order)
