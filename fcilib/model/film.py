"""A router's softmax over a few sequences, kept epoch by epoch: the film of its training."""

from __future__ import annotations

import math

import torch

from fcilib.model.fci import FCI
from fcilib.tasks import Batch

FILMED = 2
"""Held-out sequences, from the first, whose shares are kept by epoch."""

FILM = 1600
"""About as many numbers are kept of all shares; neighbours are added up where there are more."""


@torch.no_grad()
def shares(model: FCI, held_out: Batch, epochs: int) -> list[float]:
    """How a router divides its softmax over each of the first `FILMED` held-out sequences.

    For each sequence in turn: the evidence's share, the query's own, and those of the others, added
    up over `film_group` neighbours; to four decimals. Leaves torch's random state as it was.
    """
    model.eval()
    few = held_out[torch.arange(FILMED)]
    with torch.random.fork_rng():
        output = model(few.tokens, few.query, few.evidence)
    share = output.scores.float().softmax(dim=1)
    rows, kept = torch.arange(len(few)), []
    for position in (few.evidence, few.query):
        kept.append(share[rows, output.candidate(position)])
        share = share.scatter(1, output.candidate(position)[:, None], 0)
    groups = share.split(film_group(share.shape[1], epochs), dim=1)
    numbers = torch.stack([*kept, *(group.sum(dim=1) for group in groups)], dim=1)
    return [round(value, 4) for value in numbers.flatten().tolist()]


def film_group(candidates: int, epochs: int) -> int:
    """Neighbouring candidates whose shares are kept as one number."""
    return math.ceil(FILMED * candidates * (epochs + 1) / FILM)
