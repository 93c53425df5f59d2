"""What is inside a trained model (paper, section 4.2 and Table 2)."""

from __future__ import annotations

import math
from typing import Any

import torch
from torch.nn import functional as F

from fcilib import metrics
from fcilib.model import FCI, Output
from fcilib.routers import mask_candidates, pick
from fcilib.tasks import Batch

RANDOM_DRAWS = 5
"""Random replacements of the routing form that a precision is averaged over."""

MATRICES = 8
"""Sequences whose full score matrix is decomposed."""


@torch.no_grad()
def measure(model: FCI, held_out: Batch, seed: int) -> dict[str, Any]:
    """Every probe that applies to the model, on held-out sequences.

    `cosine_gap`: mean cosine of query and evidence, less that of the query and a random other.
    `random_form_precision`: routing precision with W_q, W_k replaced by Gaussian matrices of the
        same Frobenius norm, over `RANDOM_DRAWS` draws.
    `singular_values` of W_q W_k^T, and `rank_90`, how many hold 90% of the energy (of the squares).
    `effective_rank`, `effective_rank_softmax`: of the score matrix, raw and softmaxed by row.
    """
    model.eval()
    rng = torch.Generator().manual_seed(seed)
    x = torch.cat([model.represent(part) for part in held_out.tokens.split(100)])
    found: dict[str, Any] = {"cosine_gap": _cosine_gap(x, held_out, rng)}
    if not hasattr(model.router, "form"):
        return found
    values = torch.linalg.svdvals(model.router.form().double())
    energy = (values**2).cumsum(0) / (values**2).sum()
    found["singular_values"] = [float(f"{v:.6g}") for v in values]
    found["rank_90"] = int((energy < 0.9).sum()) + 1
    found["random_form_precision"] = _random_form_precision(model, x, held_out, rng)
    scores = model.router.matrix(x[:MATRICES]).double()
    found["effective_rank"] = _mean(effective_rank(s) for s in scores)
    found["effective_rank_softmax"] = _mean(effective_rank(s.softmax(1)) for s in scores)
    return found


def effective_rank(matrix: torch.Tensor) -> float:
    """The exponential of the entropy of the normalised singular values (Roy and Vetterli, 2007)."""
    values = torch.linalg.svdvals(matrix)
    share = values / values.sum()
    share = share[share > 0]
    return float(torch.exp(-(share * share.log()).sum()))


def _cosine_gap(x: torch.Tensor, batch: Batch, rng: torch.Generator) -> float:
    rows = torch.arange(len(x))
    other = torch.randint(x.shape[1], (len(x),), generator=rng)
    query, evidence, random = x[rows, batch.query], x[rows, batch.evidence], x[rows, other]
    gap = F.cosine_similarity(query, evidence) - F.cosine_similarity(query, random)
    return float(gap.mean())


def _random_form_precision(
    model: FCI, x: torch.Tensor, batch: Batch, rng: torch.Generator
) -> float:
    norm = [p.detach().norm() for p in model.router.parameters()]
    shapes = [p.shape for p in model.router.parameters()]
    asking = x[torch.arange(len(x)), batch.query]
    found = []
    for _ in range(RANDOM_DRAWS):
        drawn = [torch.randn(s, generator=rng) for s in shapes]
        first, *rest = (w * (n / w.norm()) for w, n in zip(drawn, norm, strict=True))
        second = rest[0] if rest else first
        scores = torch.bmm(x, (asking @ first.T @ second).unsqueeze(2)).squeeze(2)
        scores = mask_candidates(scores, batch.query, model.spec.candidates)
        output = Output(
            logits=F.one_hot(batch.label).float(),
            scores=scores,
            picks=pick(scores, model.spec.k, model.spec.neighbours),
        )
        found.append(metrics.score(output, batch, model.spec.k)["precision"].mean().item())
    return _mean(found)


def _mean(values: Any) -> float:
    values = list(values)
    return math.fsum(values) / len(values)
