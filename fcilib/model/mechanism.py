"""What a router's scores are made of, epoch by epoch: token match, and match with itself.

The score of a pair is large for two reasons that training has to tell apart: the two positions hold
the same token, and the two are the same position. The evidence has the first alone; the query, as a
candidate, has both.
"""

from __future__ import annotations

import torch
from torch import nn

from fcilib.model import metrics
from fcilib.model.fci import FCI
from fcilib.representations.base import TokenEmbedding
from fcilib.routers.router import mask_candidates
from fcilib.tasks import Batch


@torch.no_grad()
def mechanism(model: FCI, held_out: Batch, batch: int = 128) -> dict[str, float]:
    """The parts of a trained or untrained router's scores over held-out sequences.

    `precision_others`: routing precision with the query taken out of the candidates, whatever the
        model was trained with.
    `token_match`: by how much the evidence's score is above the mean of all positions but the
        query and the evidence, in standard deviations of those; the mean over sequences.
    `self_match`: by how much the query's own score is above the evidence's, in the same unit.
        Above 0 the query picks itself.
    `self_token`, `self_position`, `self_layers`: the three parts whose sum is `self_match`. A
        candidate's vector is its token's vector, plus its position's, plus what the layers added;
        a bilinear score is a sum over the same three, once the LayerNorm's division is done.
    `token_form`: the router's form on the token vectors alone, e_u^T F e_v: its mean over u = v
        less its mean over u != v, in standard deviations over u != v.
    `position_form`: the same for the position vectors.

    The two forms see the vectors as the router does, through the LayerNorm, but one without the
    other and without what a layer adds. They, and the three parts, are left out where there is no
    form, or no such vectors.
    """
    model.eval()
    sums = dict.fromkeys(("precision_others", "token_match", "self_match"), 0.0)
    form, embedding = _form(model), _embedding(model)
    for index in torch.arange(len(held_out)).split(batch):
        part = held_out[index]
        x = model.represent(part.tokens)
        scores = model.router(part.tokens if model.router.reads_tokens else x, part.query)
        others = mask_candidates(scores, part.query, "others")
        share = metrics.tie_shares(others, metrics.tie_slack(others))
        evidence, query = part.evidence[:, None], part.query[:, None]
        at_evidence, at_query = scores.gather(1, evidence), scores.gather(1, query)
        rest = others.scatter(1, evidence, float("-inf")).isfinite()
        deviation, mean = _spread(scores, rest)
        sums["precision_others"] += float(share.gather(1, evidence).sum())
        sums["token_match"] += float(((at_evidence - mean) / deviation).sum())
        sums["self_match"] += float(((at_query - at_evidence) / deviation).sum())
        if form is not None and embedding is not None:
            for name, values in _self_parts(model, embedding, form, part, rest).items():
                sums[name] = sums.get(name, 0.0) + float(values.sum())
    measured = {name: total / len(held_out) for name, total in sums.items()}
    if form is None or embedding is None:
        return measured
    return measured | _forms(model, embedding, form)


def _form(model: FCI) -> torch.Tensor | None:
    """The router's form, where its scores are bilinear."""
    form: torch.Tensor | None = model.router.form()
    return form


def _embedding(model: FCI) -> TokenEmbedding | None:
    """The vectors of tokens and positions that the representation begins with."""
    return next((m for m in model.modules() if isinstance(m, TokenEmbedding)), None)


def _spread(scores: torch.Tensor, chosen: torch.Tensor) -> tuple[torch.Tensor, torch.Tensor]:
    """Standard deviation and mean, `(B, 1)` each, of the scores that are chosen."""
    number = chosen.sum(dim=1, keepdim=True)
    mean = (scores * chosen).sum(dim=1, keepdim=True) / number
    square = ((scores - mean).square() * chosen).sum(dim=1, keepdim=True) / number
    return square.sqrt().clamp(min=1e-12), mean


def _self_parts(
    model: FCI, embedding: TokenEmbedding, form: torch.Tensor, part: Batch, rest: torch.Tensor
) -> dict[str, torch.Tensor]:
    """What tokens, positions and layers add to `self_match`, `(B,)` each."""
    before = model.representation(part.tokens)
    x = model.norm(before)
    rows = torch.arange(len(x), device=x.device)
    asking = x[rows, part.query] @ form
    deviation, _ = _spread((x @ asking.unsqueeze(2)).squeeze(2), rest)
    token = embedding.token(part.tokens)
    position = torch.zeros_like(token)
    if embedding.position is not None:
        position = position + embedding.position.weight[: token.shape[1]]
    vectors = {"token": token, "position": position, "layers": before - token - position}

    def score(vector: torch.Tensor, place: torch.Tensor) -> torch.Tensor:
        seen = _as_normalised(model.norm, vector[rows, place], before[rows, place])
        return (seen * asking).sum(dim=1)

    return {
        f"self_{name}": (score(vector, part.query) - score(vector, part.evidence)) / deviation[:, 0]
        for name, vector in vectors.items()
    }


def _as_normalised(norm: nn.Module, vector: torch.Tensor, whole: torch.Tensor) -> torch.Tensor:
    """A part of a vector as the norm hands it on with the whole, up to the norm's own bias."""
    if not isinstance(norm, nn.LayerNorm):
        return vector
    deviation = (whole.var(dim=-1, unbiased=False, keepdim=True) + norm.eps).sqrt()
    return norm.weight * (vector - vector.mean(dim=-1, keepdim=True)) / deviation


def _forms(model: FCI, embedding: TokenEmbedding, form: torch.Tensor) -> dict[str, float]:
    tables = {"token_form": embedding.token, "position_form": embedding.position}
    return {
        name: _diagonal_excess(model.norm(table.weight), form)
        for name, table in tables.items()
        if table is not None
    }


def _diagonal_excess(vectors: torch.Tensor, form: torch.Tensor) -> float:
    """How far the form's diagonal is above the rest, in standard deviations of the rest."""
    values = (vectors @ form @ vectors.T).double()
    diagonal = values.diagonal()
    rest = values[~torch.eye(len(values), dtype=torch.bool, device=values.device)]
    return float((diagonal.mean() - rest.mean()) / rest.std())
