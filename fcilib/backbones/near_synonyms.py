"""Classes of four near-synonyms, by MiniLM, and what it makes of each word.

    python -m fcilib.backbones.near_synonyms

makes both files anew from the package of MiniLM's weights, and prints where they are. Whoever reads
them needs no package.

The words are the most frequent of MiniLM's vocabulary: ids of one whole word of three or more
lower-case letters. The vector of a word is the mean of the last layer's states over a text of that
word alone, which is how MiniLM was trained to be read. Two words that are each other's nearest, by
cosine, are a pair; two pairs that are each other's nearest, by the lowest cosine between a word of
the one and a word of the other, are a class. In a class every two words have a cosine of at least
`THRESHOLD` and begin differently: else most pairs would be forms of one word.
"""

from __future__ import annotations

from functools import cache
from pathlib import Path

import torch
from torch.nn import functional as F

from fcilib.backbones import MINILM, fingerprint, load
from fcilib.backbones.hub import required
from fcilib.storage.files import write_atomic
from fcilib.storage.sealed import seal, unseal
from fcilib.storage.tensors import seal_tensors, unseal_tensors

WORDS = 3000
"""Words that classes are sought among."""

THRESHOLD = 0.5
"""Lowest cosine of two words of a class."""

BEGINNING = 3
"""Letters by which two words of a class differ in their beginning."""

CLASSES = 64
"""Classes that are kept, those with the most frequent words first: the paper's V = 256 tokens."""

DIRECTIONS = 128
"""Of MiniLM's 384: as many as the paper's d, those that the words' vectors lie along most."""

LIST = Path(__file__).with_name("near_synonyms.json")
TABLE = LIST.with_suffix(".safetensors")
REMEDY = "Restore it from version control, or run python -m fcilib.backbones.near_synonyms."


@cache
def classes() -> tuple[tuple[str, ...], ...]:
    """The words of every class, more frequent ones first. Raises RecordError on a damaged file."""
    return tuple(tuple(words) for words in unseal(LIST)["classes"])


def vectors(vocabulary: int, width: int) -> torch.Tensor:
    """Vectors of the words that the tokens 1 … V - 1 stand for, `(V - 1, d)`, mean square one.

    Token 1 is the first word of the first class. The cosine of two is close to that of MiniLM's
    own vectors.

    Raises:
        ValueError: there are fewer words, or fewer directions.
        TensorsError: the file is damaged.
    """
    table = unseal_tensors(TABLE, REMEDY)[0]["vectors"].float()
    for name, asked, there in (
        ("vocabulary", vocabulary, len(table) + 1),
        ("width", width, table.shape[1]),
    ):
        if asked > there:
            raise ValueError(f"{name}: {asked}, and the words' vectors are made for {there}")
    return F.normalize(table[: vocabulary - 1, :width], dim=1) * width**0.5


def mutual(likeness: torch.Tensor, threshold: float) -> torch.Tensor:
    """Pairs of rows that are each other's nearest, `(n, 2)`, the smaller index first, in order.

    `likeness` is symmetric, `(m, m)`; pairs below the threshold are left out.
    """
    if not len(likeness):
        return torch.empty(0, 2, dtype=torch.long)
    nearest = likeness.argmax(dim=1)
    rows = torch.arange(len(likeness))
    are = (nearest[nearest] == rows) & (rows < nearest)
    are &= likeness[rows, nearest] >= threshold
    return torch.stack([rows, nearest], dim=1)[are]


def grouped(words: list[str], vectors: torch.Tensor) -> list[list[int]]:
    """Classes of four, each in the order of `words`, by the rule above. `vectors` are `(m, w)`."""
    unit = F.normalize(vectors, dim=1)
    begins: dict[str, int] = {}
    beginning = torch.tensor([begins.setdefault(w[:BEGINNING], len(begins)) for w in words])
    same = beginning[:, None] == beginning
    likeness = (unit @ unit.T).masked_fill(same, -2.0)
    pairs = mutual(likeness, THRESHOLD)
    between = likeness[pairs[:, None, :, None], pairs[None, :, None, :]].amin(dim=(2, 3))
    between.fill_diagonal_(-2.0)
    return sorted(sorted(pairs[pair].flatten().tolist()) for pair in mutual(between, THRESHOLD))


def words_and_vectors() -> tuple[list[str], torch.Tensor]:
    """The `WORDS` most frequent words and MiniLM's vectors of them, `(m, 384)`.

    Raises BackboneError where its package is missing.
    """
    tokenizer = required("transformers").AutoTokenizer.from_pretrained(MINILM.folder())
    ids = sorted(tokenizer.get_vocab().items(), key=lambda entry: entry[1])
    plain = [(w, i) for w, i in ids if w.isascii() and w.isalpha() and w.islower() and len(w) > 2]
    chosen = plain[:WORDS]
    first, last = tokenizer.cls_token_id, tokenizer.sep_token_id
    texts = torch.tensor([[first, i, last] for _, i in chosen])
    model = load(MINILM).model
    with torch.no_grad():
        states = [model(input_ids=part).last_hidden_state.mean(dim=1) for part in texts.split(256)]
    return [word for word, _ in chosen], torch.cat(states)


def make() -> None:
    """Write both files."""
    words, found = words_and_vectors()
    chosen = grouped(words, found)[:CLASSES]
    unit = F.normalize(found[torch.tensor(chosen).flatten()].double(), dim=1)
    left, size, _ = torch.linalg.svd(unit, full_matrices=False)
    table = (left * size)[:, :DIRECTIONS].to(torch.float16)
    source = {"model": MINILM.name, "weights": fingerprint(MINILM), "words": WORDS}
    rule = {"threshold": THRESHOLD, "beginning": BEGINNING, "classes": CLASSES}
    named = [[words[i] for i in members] for members in chosen]
    write_atomic(LIST, seal({"source": source, "rule": rule, "classes": named}))
    write_atomic(TABLE, seal_tensors({"vectors": table}, {"source": source, "rule": rule}))
    print(LIST, TABLE, sep="\n")


if __name__ == "__main__":
    make()
