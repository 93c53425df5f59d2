"""Vectors of texts from a frozen encoder, kept on disk once computed."""

from __future__ import annotations

import warnings
from collections.abc import Sequence

import torch

from fcilib.backbones import Packaged, cached, fingerprint, load
from fcilib.backbones.hub import required

LONGEST = 256
"""Tokens of a text that are read: what all-MiniLM-L6-v2 was made for."""


def encode(spec: Packaged, texts: Sequence[str]) -> torch.Tensor:
    """One vector for each text, `(n, w)` fp32: the mean over its tokens of the last layer's states.

    As sentence-transformers has it for all-MiniLM-L6-v2, before its normalisation. Of a text with
    more than `LONGEST` tokens only the first are read, with a warning. Raises BackboneError where
    the encoder's package is missing.
    """
    tokenizer = required("transformers").AutoTokenizer.from_pretrained(spec.folder())
    ids = tokenizer(list(texts), truncation=True, max_length=LONGEST, padding="max_length")
    ids = torch.tensor(ids["input_ids"])
    lengths = (ids != tokenizer.pad_token_id).sum(dim=1)
    full = [text for text, length in zip(texts, lengths, strict=True) if length == LONGEST]
    if full and (cut := sum(len(i) > LONGEST for i in tokenizer(full, verbose=False)["input_ids"])):
        warnings.warn(
            f"{cut} of {len(texts)} texts are longer than the {LONGEST} tokens that the encoder "
            f"reads; their ends are left out. Cut the context into more segments to keep them.",
            stacklevel=2,
        )
    # Of like lengths together: a piece is as long as its longest text.
    order = lengths.argsort(stable=True)

    def compute(piece: torch.Tensor) -> torch.Tensor:
        held = (piece != tokenizer.pad_token_id).long()
        piece, held = (t[:, : int(held.sum(dim=1).max())] for t in (piece, held))
        model = load(spec).model
        with torch.no_grad():
            states = [
                model(input_ids=part, attention_mask=mask).last_hidden_state
                for part, mask in zip(piece.split(32), held.split(32), strict=True)
            ]
        weights = held.unsqueeze(2)
        return (torch.cat(states) * weights).sum(dim=1) / weights.sum(dim=1)

    what = {"pool": "mean", "longest": LONGEST, "fingerprint": fingerprint(spec)}
    vectors = cached(what, ids[order], compute)
    return torch.empty_like(vectors).index_copy_(0, order, vectors)
