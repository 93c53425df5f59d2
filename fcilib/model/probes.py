"""What is inside a trained model (paper, section 4.2 and Table 2)."""

from __future__ import annotations

import math
from dataclasses import replace
from typing import Any, Literal

import torch
from torch.nn import functional as F

from fcilib.model import metrics
from fcilib.model.fci import FCI, Output
from fcilib.routers import pick
from fcilib.routers.router import TIE
from fcilib.tasks import Batch

Probing = Literal["standard", "thorough", "by-epoch", "mechanism", "answer", "states"]

RANDOM_DRAWS = 5
"""Random replacements of the routing form that a precision is averaged over."""

MATRICES = 8
"""Sequences whose full score matrix is decomposed."""

PICKS = 16
"""Numbers of picked candidates, from 1, for which a precision is kept."""


@torch.no_grad()
def measure(
    model: FCI, held_out: Batch, seed: int, probing: Probing = "standard"
) -> dict[str, Any]:
    """Every probe that applies to the model, on held-out sequences.

    Standard, for every model:

    `cosine_gap`: mean cosine of query and evidence, less that of the query and a random other.
    `random_form_precision`: routing precision with W_q, W_k replaced by Gaussian matrices of the
        same Frobenius norm, over `RANDOM_DRAWS` draws.
    `singular_values` of W_q W_k^T, and `rank_90`, how many hold 90% of the energy (of the squares).
    `effective_rank`, `effective_rank_softmax`: of the score matrix, raw and softmaxed by row.
    `found_within`: precision with 1 … `PICKS` candidates picked, and `place`, the mean place of the
        evidence among the candidates in the order of their scores, from 1; those that tie share.

    Thorough, besides:

    `match_in_evidence`: a linear probe of x_j alone: is j the evidence? The other class is the same
        position in another sequence, so that one half is chance.
    `match_in_pair`: the same of x_q and x_j side by side; `match_in_product`: of their entries'
        products. `match_by_chance`: of x_j, for two classes neither of which is the evidence.
    `precision_projected`: precision by r = 1 … d with the form seen through a random orthogonal
        projection to r dimensions, P form P; over `RANDOM_DRAWS` draws.
    `precision_top`, `precision_rest`: with the r largest singular values of the form alone, and
        with all but those; with none left the latter is set to 0.

    Answer, besides: `cosine_gap_answer`, as `cosine_gap` with the token after the evidence, which
    is the answer, in the evidence's place.

    By epoch, mechanism and states are the standard ones. What is kept besides is measured by
    `fcilib.model.film` and `fcilib.model.mechanism`, before training and after each epoch, and by
    `fcilib.model.states`, on what a frozen backbone makes of the held-out sequences.
    """
    model.eval()
    rng = torch.Generator().manual_seed(seed)
    x = torch.cat([model.represent(part) for part in held_out.tokens.split(100)])
    measured: dict[str, Any] = {"cosine_gap": _cosine_gap(x, held_out, rng)}
    if model.router_spec is not None and model.router.rounds == 1:
        measured |= _places(model, x, held_out)
    if probing == "thorough":
        measured |= _match_probes(x, held_out)
    if probing == "answer":
        draws = torch.Generator().manual_seed(seed)
        after = replace(held_out, evidence=held_out.evidence + 1)
        measured["cosine_gap_answer"] = _cosine_gap(x, after, draws)
    form = None if model.router is None else model.router.form()
    if form is None:
        return measured
    values = torch.linalg.svdvals(form.double())
    energy = (values**2).cumsum(0) / (values**2).sum()
    measured["singular_values"] = [float(f"{v:.6g}") for v in values]
    measured["rank_90"] = int((energy < 0.9).sum()) + 1
    measured["random_form_precision"] = _random_form_precision(model, x, held_out, rng)
    scores = model.router.matrix(x[:MATRICES]).double()
    measured["effective_rank"] = _mean(effective_rank(s) for s in scores)
    measured["effective_rank_softmax"] = _mean(effective_rank(s.softmax(1)) for s in scores)
    if probing == "thorough":
        measured |= _subspace(model, x, held_out, rng)
    return measured


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
    asking = x[torch.arange(len(x)), batch.query]
    precisions = []
    for _ in range(RANDOM_DRAWS):
        first, second = model.router.random_factors(rng)
        scores = torch.bmm(x, (asking @ first.T @ second).unsqueeze(2)).squeeze(2)
        precisions.append(_precision(model, scores, batch))
    return _mean(precisions)


def _precision(model: FCI, scores: torch.Tensor, batch: Batch) -> float:
    """Routing precision of scores `(B, L)` in place of the router's own."""
    scores = model.router_spec.mask(scores, batch.query, batch.evidence)
    output = Output(
        logits=F.one_hot(batch.label).float(),
        scores=scores,
        picks=pick(scores, model.router_spec.k, model.router_spec.neighbours),
    )
    return metrics.score(output, batch, model.router_spec.k)["precision"].mean().item()


def _places(model: FCI, x: torch.Tensor, batch: Batch) -> dict[str, Any]:
    """Where the evidence comes in the router's order; ties share the places they take up."""
    seen = batch.tokens if model.router.reads_tokens else x
    scores = model.router_spec.mask(model.router(seen, batch.query), batch.query, batch.evidence)
    own = scores.gather(1, (batch.evidence // model.router_spec.granularity)[:, None])
    slack = TIE * own.abs().masked_fill(own.isinf(), 0)
    better = (scores > own + slack).sum(dim=1)
    tied = ((scores >= own - slack) & (scores <= own + slack)).sum(dim=1)
    picked = torch.arange(1, min(PICKS, scores.shape[1]) + 1)
    within = ((picked[:, None] - better) / tied).clamp(0, 1).mean(dim=1)
    place = better + (tied + 1) / 2
    return {"found_within": within.tolist(), "place": place.mean().item()}


def _subspace(model: FCI, x: torch.Tensor, batch: Batch, rng: torch.Generator) -> dict[str, Any]:
    """Where in the form the signal lies: precisions by number of dimensions r = 1 … d."""
    form = model.router.form()
    width = len(form)
    asking = x[torch.arange(len(x)), batch.query]
    u, s, v = torch.linalg.svd(form.double())
    # In the singular basis scores are sums over directions, the largest first.
    by_q, by_x = asking @ (u * s).float(), x @ v.T.float()
    total = torch.bmm(by_x, by_q.unsqueeze(2)).squeeze(2)
    kept = torch.zeros_like(total)
    top, rest = [], []
    for r in range(width):
        kept += by_x[:, :, r] * by_q[:, r, None]
        top.append(_precision(model, kept, batch))
        rest.append(_precision(model, total - kept, batch) if r + 1 < width else 0.0)
    projected = torch.zeros(width, dtype=torch.float64)
    for _ in range(RANDOM_DRAWS):
        basis = random_rotation(width, rng)
        turned, turned_q, turned_x = basis.T @ form @ basis, asking @ basis, x @ basis
        for r in range(1, width + 1):
            right = turned_q[:, :r] @ turned[:r, :r]
            scores = torch.bmm(turned_x[:, :, :r], right.unsqueeze(2)).squeeze(2)
            projected[r - 1] += _precision(model, scores, batch)
    return {
        "precision_top": top,
        "precision_rest": rest,
        "precision_projected": (projected / RANDOM_DRAWS).tolist(),
    }


def random_rotation(width: int, rng: torch.Generator) -> torch.Tensor:
    """An orthogonal matrix `(d, d)`, uniformly: QR of a Gaussian, signs settled (Mezzadri, 2007).

    Its first r columns span a uniformly random r-dimensional subspace.
    """
    q, r = torch.linalg.qr(torch.randn(width, width, generator=rng, dtype=torch.float64))
    return (q * r.diagonal().sign()).float()


def _match_probes(x: torch.Tensor, batch: Batch) -> dict[str, float]:
    """Accuracies of linear probes fitted on half of the sequences, on the other half."""
    rows = torch.arange(len(x))
    asking = x[rows, batch.query]
    matched = x[rows, batch.evidence]
    # Where the next but one and the next but three have their evidence: of the same half, so that
    # in either half both classes stand at the same positions.
    other, third = (x[rows, batch.evidence.roll(n)] for n in (2, 4))
    apart = (batch.evidence != batch.evidence.roll(2)) & (batch.evidence != batch.evidence.roll(4))
    classes = {
        "match_by_chance": (third, other),
        "match_in_evidence": (matched, other),
        "match_in_pair": tuple(torch.cat([asking, y], dim=1) for y in (matched, other)),
        "match_in_product": tuple(asking * y for y in (matched, other)),
    }
    accuracies = {}
    for name, pair in classes.items():
        fit, test = (torch.cat([y[apart][start::2] for y in pair]) for start in (0, 1))
        accuracies[name] = linear_probe(fit, test)
    return accuracies


def linear_probe(fit: torch.Tensor, test: torch.Tensor, ridge: float = 1.0) -> float:
    """Accuracy on `test` of a ridge regression to ±1 that was fitted on `fit`.

    Both are `(2 n, D)`, the n positives first; features are taken as they are, with a constant. A
    linear classifier on what a layer holds, as in Alain and Bengio, 2017.
    """
    fit, test = (
        torch.cat([part.double(), part.new_ones(len(part), 1).double()], dim=1)
        for part in (fit, test)
    )
    sign = torch.ones(len(fit), dtype=torch.float64)
    sign[len(fit) // 2 :] = -1
    gram = fit.T @ fit + ridge * torch.eye(fit.shape[1], dtype=torch.float64)
    said = test @ torch.linalg.solve(gram, fit.T @ sign)
    half = len(test) // 2
    right = torch.cat([said[:half], -said[half:]])
    return float(((right > 0).double() + (right == 0).double() / 2).mean())


def _mean(values: Any) -> float:
    values = list(values)
    return math.fsum(values) / len(values)
