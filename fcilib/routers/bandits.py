"""Contextual bandits that choose a token within the right segment (paper, section 4.3).

| name here | symbol | shape |
| --- | --- | --- |
| `covariance` | A = ridge I + sum phi phi^T | `(D, D)` |
| `response` | b = sum reward phi | `(D,)` |
| `estimate` | theta = A^-1 b | `(D,)` |
| `width` | sqrt(phi^T A^-1 phi) | `(…,)` |
"""

from __future__ import annotations

import math
from typing import Literal

import torch
from pydantic import Field
from torch import nn

from fcilib.routers.router import RouterModule, RouterSpec
from fcilib.specs.size import Size

NOISE = 0.5
"""A reward in [0, 1] is 1/2-sub-Gaussian."""


class Bandit(RouterSpec):
    """A linear bandit whose arms are the tokens of the segment that holds the evidence.

    In training each sequence is one round: the best index is played, and the reward, 1 for the
    evidence and 0 for anything else, is all that is learned from it; no gradient. A batch is played
    before its rewards are seen. Held-out sequences are answered with the estimate, without a bonus.

    The paper names the bandits and not their context. An arm's features are here the two vectors
    side by side, a constant beside them (`"concatenation"`), the arm's alone (`"token"`), or the
    products of their entries (`"product"`), which a linear reward turns into a comparison.
    """

    within: int | None = Field(32, ge=1)
    features: Literal["concatenation", "token", "product"] = "concatenation"
    ridge: float = Field(1.0, gt=0)
    delta: float = Field(0.05, gt=0, lt=1)
    """The confidence set fails with at most this probability."""

    def build(self, size: Size) -> RouterModule:
        dimension = {"concatenation": 2 * size.width + 1, "token": size.width + 1}
        return BanditScores(self, dimension.get(self.features, size.width))

    def index(self, phi: torch.Tensor, model: LinearRewards) -> torch.Tensor:
        """What is maximised when arms are played, `(B, n)`, from features `(B, n, D)`."""
        raise NotImplementedError


class LinUCB(Bandit):
    """theta.phi + alpha width(phi), alpha = 1 + sqrt(ln(2 / delta) / 2).

    Source: Li et al., 2010 (arXiv:1003.0146), algorithm 1 with one theta for all arms, and eq. 4.
    """

    kind: Literal["linucb"] = "linucb"

    def index(self, phi: torch.Tensor, model: LinearRewards) -> torch.Tensor:
        alpha = 1 + math.sqrt(math.log(2 / self.delta) / 2)
        return phi @ model.estimate + alpha * model.width(phi)


class ThompsonSampling(Bandit):
    """theta~.phi with theta~ from N(theta, v^2 A^-1), drawn anew for each round.

    Source: Agrawal and Goyal, 2013 (arXiv:1209.3352). Their v, R sqrt(9 D ln(t / delta)), is for
    the proof; `scale` is v outright, R if left alone.
    """

    kind: Literal["thompson"] = "thompson"
    scale: float = Field(NOISE, gt=0)

    def index(self, phi: torch.Tensor, model: LinearRewards) -> torch.Tensor:
        drawn = model.estimate + self.scale * model.deviations(len(phi))
        return torch.bmm(phi, drawn.unsqueeze(2)).squeeze(2)


class OFUL(Bandit):
    """theta.phi + beta width(phi), with the radius beta of the self-normalised confidence set.

    beta = R sqrt(2 ln(det(A)^1/2 det(ridge I)^-1/2 / delta)) + sqrt(ridge) S.
    Source: Abbasi-Yadkori, Pal and Szepesvari, 2011, theorem 2.
    """

    kind: Literal["oful"] = "oful"
    bound: float = Field(1.0, gt=0)
    """S, the largest norm that theta is believed to have."""

    def index(self, phi: torch.Tensor, model: LinearRewards) -> torch.Tensor:
        return phi @ model.estimate + model.radius(self.delta, self.bound) * model.width(phi)


class LinearRewards(nn.Module):
    """Ridge regression of rewards on features, kept up as rounds come in: state, no parameters."""

    def __init__(self, dimension: int, ridge: float) -> None:
        super().__init__()
        self.ridge = ridge
        self.covariance = nn.Buffer(ridge * torch.eye(dimension, dtype=torch.float64))
        self.response = nn.Buffer(torch.zeros(dimension, dtype=torch.float64))
        # What follows from the two sums, kept beside them since it is read more often.
        self.estimate = nn.Buffer(torch.zeros(dimension))
        self.inverse = nn.Buffer(torch.eye(dimension) / ridge)
        self.root = nn.Buffer(torch.eye(dimension) / ridge**0.5)  # root root^T = A^-1
        self.gain = nn.Buffer(torch.zeros(()))  # ln(det(A) / det(ridge I))

    @torch.no_grad()
    def learn(self, phi: torch.Tensor, rewards: torch.Tensor) -> None:
        """Add rounds: features `(n, D)` that were played and their rewards `(n,)`."""
        phi = phi.double()
        self.covariance.add_(phi.T @ phi)
        self.response.add_(phi.T @ rewards.double())
        lower = torch.linalg.cholesky(self.covariance)
        inverse = torch.cholesky_inverse(lower)
        identity = torch.eye(len(lower), dtype=lower.dtype, device=lower.device)
        self.inverse.copy_(inverse)
        self.estimate.copy_(inverse @ self.response)
        self.root.copy_(torch.linalg.solve_triangular(lower.T, identity, upper=True))
        self.gain.copy_(2 * lower.diagonal().log().sum() - len(lower) * math.log(self.ridge))

    def width(self, phi: torch.Tensor) -> torch.Tensor:
        """How uncertain the reward of features `(…, D)` is: sqrt(phi^T A^-1 phi)."""
        return ((phi @ self.inverse) * phi).sum(dim=-1).clamp(min=0).sqrt()

    def deviations(self, count: int) -> torch.Tensor:
        """Draws from N(0, A^-1), `(count, D)`, of torch's current random state."""
        return torch.randn(count, len(self.root), device=self.root.device) @ self.root.T

    def radius(self, delta: float, bound: float) -> torch.Tensor:
        """OFUL's beta."""
        spread = (self.gain - 2 * math.log(delta)).clamp(min=0).sqrt()
        return NOISE * spread + math.sqrt(self.ridge) * bound


class BanditScores(RouterModule):
    """Indices as scores `(B, L)`. Plays while training, answers with the estimate otherwise."""

    def __init__(self, spec: Bandit, dimension: int) -> None:
        super().__init__()
        self.spec = spec
        self.rewards = LinearRewards(dimension, spec.ridge)

    @torch.no_grad()
    def forward(self, x: torch.Tensor, query: torch.Tensor) -> torch.Tensor:
        phi = self.features(x, query)
        if self.training:
            return self.spec.index(phi, self.rewards)
        return phi @ self.rewards.estimate

    def features(self, x: torch.Tensor, query: torch.Tensor) -> torch.Tensor:
        """phi `(B, L, D)`: vectors of length about one, and a constant where there is one."""
        asking = x[torch.arange(len(x)), query].unsqueeze(1)
        if self.spec.features == "product":
            return asking * x / x.shape[2] ** 0.5
        return with_constant(x if self.spec.features == "token" else
                             torch.cat([asking.expand_as(x), x], dim=2))  # fmt: skip

    def observe(
        self, x: torch.Tensor, query: torch.Tensor, scores: torch.Tensor, evidence: torch.Tensor
    ) -> None:
        played = scores.argmax(dim=1)
        phi = self.features(x, query)[torch.arange(len(x)), played]
        self.rewards.learn(phi, (played == evidence).float())


def with_constant(x: torch.Tensor) -> torch.Tensor:
    """Normalised vectors `(…, d)` as features `(…, d + 1)`: of unit length, and a one."""
    return torch.cat([x / x.shape[-1] ** 0.5, x.new_ones(*x.shape[:-1], 1)], dim=-1)
