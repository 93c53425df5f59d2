"""Late interaction: every word of the question looks for its best match in a segment."""

from __future__ import annotations

from itertools import chain
from typing import Literal

import torch
from torch.nn import functional as F

from fcilib.backbones import Packaged, cached, fingerprint
from fcilib.retrieval.encoder import BATCH, LONGEST, token_states, tokenize
from fcilib.retrieval.retriever import Retriever

TOGETHER = 50
"""Questions whose states are held at a time."""


def maxsim(question: torch.Tensor, segment: torch.Tensor) -> torch.Tensor:
    """The sum over the question's tokens `(q, w)` of the best cosine with one of `(d, w)`."""
    return (question @ segment.T).amax(dim=1).sum()


class LateInteraction(Retriever):
    """ColBERT's comparison (Khattab and Zaharia, 2020) of a frozen encoder's token states.

    The states are normalised, and all tokens of both texts count, the two that frame a text
    included. The encoder was trained for one vector a text, not for this, and nothing is trained
    here. Its matrices are multiplied in bf16.
    """

    kind: Literal["late"] = "late"
    encoder: Packaged

    def score(self, pairs, train, seed):
        number = max(len(cut) for _, cut in pairs)
        rows = ((q.question, *cut.texts, *[""] * (number - len(cut))) for q, cut in pairs)
        ids, pad = tokenize(self.encoder, list(chain.from_iterable(rows)))

        def compute(piece: torch.Tensor) -> torch.Tensor:
            parts = piece.split(TOGETHER)
            return torch.cat([_scores(self.encoder, part, pad) for part in parts])

        what = {
            "pool": "maxsim, bf16",
            "longest": LONGEST,
            "fingerprint": fingerprint(self.encoder),
        }
        scores = cached(what, ids.unflatten(0, (len(pairs), number + 1)), compute)
        return [row[: len(cut)].numpy() for row, (_, cut) in zip(scores, pairs, strict=True)]


def _scores(encoder: Packaged, ids: torch.Tensor, pad: int) -> torch.Tensor:
    """From `(B, 1 + n, L)`, each question before its segments, to `(B, n)`."""
    flat = ids.flatten(0, 1)
    lengths = (flat != pad).sum(dim=1)
    states: dict[int, torch.Tensor] = {}
    for part in lengths.argsort(stable=True).split(BATCH):  # of like lengths together
        with torch.autocast("cpu", torch.bfloat16):
            batch = token_states(encoder, flat[part, : int(lengths[part].max())], pad)
        for at, text in zip(part.tolist(), F.normalize(batch.float(), dim=2), strict=True):
            states[at] = text[: int(lengths[at])]
    rows = range(0, len(flat), ids.shape[1])
    return torch.stack(
        [
            torch.stack([maxsim(states[row], states[row + n]) for n in range(1, ids.shape[1])])
            for row in rows
        ]
    )
