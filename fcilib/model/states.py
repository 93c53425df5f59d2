"""What the states of a frozen backbone say of the tokens they stand for.

A router looks for the state whose token is the query's. That is easy where states of equal tokens
are alike, and states of other tokens are not. Context, and a few loud features, may stand in the
way.
"""

from __future__ import annotations

import torch
from torch.nn import functional as F

from fcilib.tasks import Batch


@torch.no_grad()
def measure_states(states: torch.Tensor, batch: Batch) -> dict[str, float]:
    """How well tokens can be told from states, before any router is trained on them.

    `token_share`: the share of the variance of the states that the means by token explain: 1 where
        a state follows from its token alone.
    `token_read`: accuracy of a linear probe that reads a position's own token off its state,
        fitted on the first half of the sequences and tested on the second.
    `nearest`: how often the evidence's state is the nearest to the query's, by cosine, among all
        other positions: the routing precision of a router that learned nothing.
        `nearest_standardised`: the same after every feature was brought to mean 0 and deviation 1;
        `nearest_read`: after the probe's linear map, on the second half of the sequences.
    `any_cosine`: the mean cosine of any two states: 0 where they prefer no direction.
    `largest_norm`: the largest norm of a state, over the median.

    Args:
        states: `(B, L, w)`.
        batch: the B sequences that they are the states of, with their tokens; B is at least 2.
    """
    x = states.float()
    flat, tokens = x.flatten(0, 1), batch.tokens.flatten()
    mean, deviation = flat.mean(0), flat.std(0)
    standard = (x - mean) / deviation.clamp(min=1e-12)
    one_hot = F.one_hot(tokens).float()
    sums = one_hot.T @ (flat - mean)
    between = sums.square().sum(dim=1) / one_hot.sum(dim=0).clamp(min=1)
    norms = flat.norm(dim=1)
    half = len(x) // 2
    tested, said = batch[half:], _read(standard, batch.tokens, half)
    right = said.argmax(dim=2) == tested.tokens
    return {
        "token_share": float(between.sum() / (flat - mean).square().sum()),
        "token_read": float(right.double().mean()),
        "nearest": _nearest(x, batch),
        "nearest_standardised": _nearest(standard, batch),
        "nearest_read": _nearest(said, tested),
        "any_cosine": float(F.normalize(flat, dim=1).mean(0).square().sum()),
        "largest_norm": float(norms.max() / norms.median()),
    }


def _nearest(x: torch.Tensor, batch: Batch) -> float:
    """How often the evidence is the nearest to the query."""
    rows = torch.arange(len(x))
    x = F.normalize(x, dim=2)
    cosines = torch.bmm(x, x[rows, batch.query].unsqueeze(2)).squeeze(2)
    cosines[rows, batch.query] = -torch.inf
    return float((cosines.argmax(dim=1) == batch.evidence).float().mean())


def _read(x: torch.Tensor, tokens: torch.Tensor, half: int) -> torch.Tensor:
    """A ridge regression from features to which token it is, fitted on the first `half` sequences.

    Returns `(B - half, L, V)`, what it says of the others.
    """
    fit, test = (F.pad(part, (0, 1), value=1.0).double() for part in (x[:half], x[half:]))
    fit, target = fit.flatten(0, 1), F.one_hot(tokens).double()[:half].flatten(0, 1)
    gram = fit.T @ fit + torch.eye(fit.shape[1], dtype=fit.dtype)
    return test @ torch.linalg.solve(gram, fit.T @ target)
