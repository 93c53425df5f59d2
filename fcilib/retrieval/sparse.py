"""Learned sparse retrieval: one weight for each word piece, trained on questions.

As in SPLADE (Formal et al., 2021) a text is a sparse vector over the encoder's vocabulary and two
texts are compared by their inner product, so that an inverted index can serve it. Unlike there, the
weight of a word piece does not depend on the text it stands in, and no text is given a word that it
does not have. A linear layer reads the weight off the piece's vector in the frozen encoder's
embedding table: pieces that no training question has are weighed by those that are like them.
"""

from __future__ import annotations

from collections.abc import Sequence
from itertools import chain
from typing import Literal

import torch
from pydantic import Field
from torch import nn
from torch.nn import functional as F

from fcilib.backbones import Packaged, load
from fcilib.retrieval.encoder import tokenize
from fcilib.retrieval.retriever import Pair, Retriever, gold_loss


class LearnedSparse(Retriever):
    """Scores a segment by the word pieces that it shares with the question.

    The vector of a text holds w(t) for each piece t that stands in it, however often, with
    w(t) = softplus(a · e(t) + b) of the piece's normalised embedding e(t). The score is the sum of
    w(t)² over shared pieces. Before training all weigh the same, and the score counts them. Every
    step sees all training questions, so that nothing is drawn.
    """

    kind: Literal["sparse"] = "sparse"
    encoder: Packaged
    steps: int = Field(200, ge=1)
    learning_rate: float = Field(0.01, gt=0)
    weight_decay: float = Field(0.01, ge=0)

    def score(self, pairs, train, seed):
        if not train:
            raise ValueError("train: learned weights need questions to learn from")
        weights = self.weights(train)
        pieces, shared = self._shared(pairs)
        scores = _scores(weights, pieces, shared)
        return [row[: len(cut)].numpy() for row, (_, cut) in zip(scores, pairs, strict=True)]

    def weights(self, train: Sequence[Pair]) -> torch.Tensor:
        """w of every piece of the vocabulary, `(V,)`, trained on those questions."""
        pieces, shared = self._shared(train)
        present, gold = torch.zeros(2, *shared.shape[:2], dtype=torch.bool)
        for row, (_, cut) in enumerate(train):
            present[row, : len(cut)] = True
            gold[row, list(cut.gold)] = True
        table = load(self.encoder).model.get_input_embeddings().weight
        table = F.layer_norm(table, table.shape[1:])
        layer = nn.Linear(table.shape[1], 1)
        nn.init.zeros_(layer.weight)
        nn.init.zeros_(layer.bias)
        optimizer = torch.optim.AdamW(
            layer.parameters(), self.learning_rate, weight_decay=self.weight_decay
        )
        used, index = pieces.unique(return_inverse=True)
        for _ in range(self.steps):
            weights = F.softplus(layer(table[used]).squeeze(1))
            loss = gold_loss(_scores(weights, index, shared), present, gold)
            optimizer.zero_grad()
            loss.backward()
            optimizer.step()
        with torch.no_grad():
            return F.softplus(layer(table).squeeze(1))

    def _shared(self, pairs: Sequence[Pair]) -> tuple[torch.Tensor, torch.Tensor]:
        """The pieces of each question, `(B, u)` int64, and which of them each segment has.

        The latter is `(B, n, u)`, of ones and zeros; what fills either up is shared by no segment.
        """
        texts = chain.from_iterable((q.question, *cut.texts) for q, cut in pairs)
        ids, pad = tokenize(self.encoder, list(texts))
        # The two that frame a text add the same to every segment, which changes no rank.
        sets = iter([set(row) - {pad} for row in ids.tolist()])
        asked = [(sorted(next(sets)), [next(sets) for _ in cut.texts]) for _, cut in pairs]
        longest = max(len(question) for question, _ in asked)
        pieces = torch.zeros(len(pairs), longest, dtype=torch.long)
        shared = torch.zeros(len(pairs), max(len(cut) for _, cut in pairs), longest)
        for row, (question, segments) in enumerate(asked):
            pieces[row, : len(question)] = torch.tensor(question)
            for at, segment in enumerate(segments):
                held = [piece in segment for piece in question]
                shared[row, at, : len(question)] = torch.tensor(held)
        return pieces, shared


def _scores(weights: torch.Tensor, pieces: torch.Tensor, shared: torch.Tensor) -> torch.Tensor:
    """`(B, n)`, of weights by piece."""
    return torch.einsum("bnu,bu->bn", shared, weights[pieces] ** 2)
