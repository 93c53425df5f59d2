"""Who picks segments of a text: keywords, an encoder with or without training, or nobody."""

from __future__ import annotations

import unicodedata
from collections.abc import Sequence
from typing import Annotated, Literal

import numpy as np
import rank_bm25
import torch
from pydantic import Field
from torch.nn import functional as F

from fcilib.backbones import Packaged
from fcilib.layers.optimizer import one_cycle
from fcilib.retrieval.encoder import encode
from fcilib.retrieval.late import LateInteraction
from fcilib.retrieval.retriever import Pair, Retriever, gold_loss
from fcilib.retrieval.sparse import LearnedSparse
from fcilib.routers.investigator import PairwiseScores
from fcilib.routers.random import RandomScores


class Keywords(Retriever):
    """Robertson's BM25 and its kin as rank-bm25 computes them, with its defaults.

    The segments of one question are the collection; where none of them has a token, all score 0.
    Tokens are what white space separates, as they stand; or, with `"words"`, runs of letters, marks
    and numbers in lower case, without joiners and soft hyphens in them. The paper gives
    neither. Text is compared in Unicode's form NFC, in which an accented letter is one code point
    wherever there is one.

    `score` raises a ValueError where the mean weight of a context's words is not positive, as in
    two segments: `"okapi"` would then rank the segments that hold the question's words last.
    """

    kind: Literal["keywords"] = "keywords"
    variant: Literal["okapi", "plus", "l"] = "okapi"
    tokens: Literal["whitespace", "words"] = "whitespace"

    def split(self, text: str) -> list[str]:
        """A text's tokens."""
        text = unicodedata.normalize("NFC", text)
        if self.tokens == "words":
            text = unicodedata.normalize("NFC", "".join(map(_of_a_word, text.lower())))
        return text.split()

    def score(self, pairs, train, seed):
        index = {
            "okapi": rank_bm25.BM25Okapi,
            "plus": rank_bm25.BM25Plus,
            "l": rank_bm25.BM25L,
        }[self.variant]
        rows = []
        for question, segments in pairs:
            collection = [self.split(text) for text in segments.texts]
            # One segment is the best whatever it scores; of no token, rank-bm25 has no mean length.
            if len(collection) == 1 or not any(collection):
                rows.append(np.zeros(len(segments)))
                continue
            built = index(collection)
            if self.variant == "okapi" and built.average_idf <= 0:
                raise ValueError(
                    f"segments: most words stand in most of the {len(segments)} segments of "
                    f"{question.question!r}, so that BM25 gives them negative weights; use the "
                    f'variant "plus" or longer contexts'
                )
            rows.append(built.get_scores(self.split(question.question)))
        return rows


def _of_a_word(character: str) -> str:
    """The character, a space where it ends a word, or nothing where it only tells how to draw one.

    Python's "word characters" leave out the marks, which are half of the letters of some scripts.
    """
    category = unicodedata.category(character)
    if category[0] in "LMN":
        return character
    return "" if category == "Cf" and character != "\N{ZERO WIDTH SPACE}" else " "


class AtRandom(Retriever):
    """The random router of all other chapters: the chance level, through the same metric."""

    kind: Literal["random"] = "random"

    @property
    def draws(self) -> bool:
        return True

    def score(self, pairs, train, seed):
        router = RandomScores()
        with torch.random.fork_rng():
            torch.manual_seed(seed)
            return [router(torch.empty(1, len(s), 1), None)[0].numpy() for _, s in pairs]


class Encoder(Retriever):
    """A frozen encoder's vectors of question and segments, compared.

    `compare="cosine"` needs no training. `"router"` is the Investigator's Eq. 1 with the question
    as the query and the segments as keys, trained on questions of the train split so that the
    weight of the softmax lies on gold segments; `"router-from-cosine"` starts from W_q = W_k = I in
    place of random matrices, which ranks as the cosine of centred vectors does.
    """

    kind: Literal["encoder"] = "encoder"
    encoder: Packaged
    compare: Literal["cosine", "router", "router-from-cosine"] = "cosine"
    heads: int = Field(4, ge=1)
    epochs: int = Field(40, ge=1)
    batch: int = Field(32, ge=1)
    learning_rate: float = Field(1e-3, gt=0)
    weight_decay: float = Field(0.01, ge=0)

    @property
    def draws(self) -> bool:
        return self.compare != "cosine"

    def score(self, pairs, train, seed):
        questions, segments, _ = self._vectors(pairs)
        if self.compare == "cosine":
            scores = torch.einsum("bd,bnd->bn", questions, segments)
        else:
            with torch.random.fork_rng():
                torch.manual_seed(seed)
                router = self._trained(train)
            with torch.no_grad():
                scores = router.compare(questions, segments)
        rows = zip(scores, pairs, strict=True)
        return [row[: len(cut)].numpy() for row, (_, cut) in rows]

    def _vectors(self, pairs: Sequence[Pair]) -> tuple[torch.Tensor, torch.Tensor, torch.Tensor]:
        """Questions `(B, w)`, segments `(B, n, w)`, and which of these are gold, `(B, n)` bool.

        Questions with fewer segments are filled up with zeros.
        """
        texts = [q.question for q, _ in pairs] + [t for _, cut in pairs for t in cut.texts]
        vectors = encode(self.encoder, texts)
        if self.compare == "cosine":
            vectors = F.normalize(vectors, dim=1)
        else:  # as before every router
            vectors = F.layer_norm(vectors, vectors.shape[1:])
        number = max(len(cut) for _, cut in pairs)
        segments = vectors.new_zeros(len(pairs), number, vectors.shape[1])
        gold = torch.zeros(len(pairs), number, dtype=torch.bool)
        start = len(pairs)
        for row, (_, cut) in enumerate(pairs):
            segments[row, : len(cut)] = vectors[start : start + len(cut)]
            gold[row, list(cut.gold)] = True
            start += len(cut)
        return vectors[: len(pairs)], segments, gold

    def _trained(self, train: Sequence[Pair]) -> PairwiseScores:
        if not train:
            raise ValueError("train: a learned router needs questions to learn from")
        questions, segments, gold = self._vectors(train)
        numbers = torch.tensor([len(cut) for _, cut in train])
        present = torch.arange(segments.shape[1]) < numbers[:, None]
        router = PairwiseScores(questions.shape[1], self.heads)
        if self.compare == "router-from-cosine":
            for projection in (router.query, router.key):
                torch.nn.init.eye_(projection.weight)
        steps = self.epochs * -(-len(train) // self.batch)
        optimizer, scheduler = one_cycle(
            router.parameters(), self.learning_rate, steps, weight_decay=self.weight_decay
        )
        for _ in range(self.epochs):
            for index in torch.randperm(len(train)).split(self.batch):
                scores = router.compare(questions[index], segments[index])
                loss = gold_loss(scores, present[index], gold[index])
                optimizer.zero_grad()
                loss.backward()
                optimizer.step()
                scheduler.step()
        return router


AnyRetriever = Annotated[
    Keywords | AtRandom | Encoder | LearnedSparse | LateInteraction, Field(discriminator="kind")
]
"""Every retriever a retrieval can name, told apart by `kind`."""
