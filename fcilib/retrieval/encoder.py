"""What a frozen encoder makes of texts: tokens, their states, and one vector for each text."""

from __future__ import annotations

import warnings
from collections.abc import Sequence

import torch

from fcilib.backbones import Packaged, cached, fingerprint, load
from fcilib.backbones.hub import required

LONGEST = 256
"""Tokens of a text that are read: what all-MiniLM-L6-v2 was made for."""

BATCH = 32
"""Texts in a pass."""


def tokenize(spec: Packaged, texts: Sequence[str]) -> tuple[torch.Tensor, int]:
    """The texts' tokens, `(n, LONGEST)` int64, and the id that fills a text up.

    Of a text with more than `LONGEST` tokens, the two that frame it among them, only the first are
    read, with a warning. Raises BackboneError where the encoder's package is missing.
    """
    tokenizer = required("transformers").AutoTokenizer.from_pretrained(spec.folder())
    ids = tokenizer(list(texts), truncation=True, max_length=LONGEST, padding="max_length")
    ids, pad = torch.tensor(ids["input_ids"]), tokenizer.pad_token_id
    lengths = (ids != pad).sum(dim=1)
    full = [text for text, length in zip(texts, lengths, strict=True) if length == LONGEST]
    if full and (cut := sum(len(i) > LONGEST for i in tokenizer(full, verbose=False)["input_ids"])):
        warnings.warn(
            f"{cut} of {len(texts)} texts are longer than the {LONGEST} tokens that the encoder "
            f"reads; their ends are left out. Cut the context into more segments to keep them.",
            stacklevel=3,
        )
    return ids, pad


def token_states(spec: Packaged, ids: torch.Tensor, pad: int) -> torch.Tensor:
    """The last layer's states of a few texts' tokens, `(b, L)` to `(b, L, w)` fp32."""
    with torch.no_grad():
        return load(spec).model(input_ids=ids, attention_mask=(ids != pad).long()).last_hidden_state


def encode(spec: Packaged, texts: Sequence[str]) -> torch.Tensor:
    """One vector for each text, `(n, w)` fp32: the mean over its tokens of their states.

    As sentence-transformers has it for all-MiniLM-L6-v2, before its normalisation. Long texts and a
    missing package are as in `tokenize`.
    """
    ids, pad = tokenize(spec, texts)
    # Of like lengths together: a piece is as long as its longest text.
    order = (ids != pad).sum(dim=1).argsort(stable=True)

    def compute(piece: torch.Tensor) -> torch.Tensor:
        held = (piece != pad).long()
        piece = piece[:, : int(held.sum(dim=1).max())]
        weights = held[:, : piece.shape[1], None]
        states = torch.cat([token_states(spec, part, pad) for part in piece.split(BATCH)])
        return (states * weights).sum(dim=1) / weights.sum(dim=1)

    what = {"pool": "mean", "longest": LONGEST, "fingerprint": fingerprint(spec)}
    vectors = cached(what, ids[order], compute)
    return torch.empty_like(vectors).index_copy_(0, order, vectors)
