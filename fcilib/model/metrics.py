"""How routing and prediction are scored. One definition, for trained and random routers alike."""

from __future__ import annotations

import torch

from fcilib.model.fci import Output
from fcilib.routers.router import TIE
from fcilib.tasks import Batch


def score(output: Output, batch: Batch, k: int) -> dict[str, torch.Tensor]:
    """Metrics of each question, each `(B,)` float, or `(B N,)` with N questions in a sequence.

    Where the candidates are segments, "the evidence" is the segment that holds it, and likewise for
    the query.

    `accuracy`: is the label the most likely token?
    `precision`: is the evidence the best candidate? Candidates that share the best score are
        picked with equal chance, so m tied candidates give 1 / m.
    `precision_tie_lost`, `precision_tie_won`: the same, were every tie decided against the
        evidence, or for it.
    `precision_at_k`: is the evidence among the k best, as the router picked them?
    `picked_query`: the chance that the router's best candidate is the query itself.
    `precision_lookalike`: as `precision`, were the look-alikes the only candidates; where a task
        has some and tokens are picked.
    """
    label, query, evidence = (t.flatten() for t in (batch.label, batch.query, batch.evidence))
    metrics = {"accuracy": (output.logits.argmax(dim=1) == label).float()}
    if output.scores is None or output.picks is None:
        return metrics
    scores = output.scores
    slack = tie_slack(scores)
    share = tie_shares(scores, slack)
    target, asking = output.candidate(evidence), output.candidate(query)
    at_evidence = share.gather(1, target[:, None]).squeeze(1)
    metrics["precision"] = at_evidence
    metrics["precision_tie_lost"] = (at_evidence == 1).float()
    metrics["precision_tie_won"] = (at_evidence > 0).float()
    hits = output.candidate(output.picks[:, :k]) == target[:, None]
    metrics["precision_at_k"] = hits.any(dim=1).float()
    metrics["picked_query"] = share.gather(1, asking[:, None]).squeeze(1)
    if batch.lookalikes is not None and output.granularity == 1:
        among = tie_shares(scores.gather(1, batch.lookalikes), slack)
        metrics["precision_lookalike"] = (among * (batch.lookalikes == target[:, None])).sum(dim=1)
    return metrics


def tie_slack(scores: torch.Tensor) -> torch.Tensor:
    """How far below the best a score `(B, C)` still ties with it, `(B, 1)`."""
    finite = scores.masked_fill(scores.isinf(), 0)
    return TIE * finite.abs().amax(dim=1, keepdim=True)


def tie_shares(scores: torch.Tensor, slack: torch.Tensor) -> torch.Tensor:
    """The chance that each candidate is picked, `(B, C)`: 1 / m for those that share the best."""
    best = scores >= scores.amax(dim=1, keepdim=True) - slack
    return best.float() / best.sum(dim=1, keepdim=True)
