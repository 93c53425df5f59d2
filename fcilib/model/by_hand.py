"""Models whose weights are set by hand: what an architecture can do, whether or not it learns to.

Each function builds a model and sets every weight that matters; nothing is trained. A precision of
100% shows that the architecture holds a solution, so that a trained model which fails has failed to
find it.
"""

from __future__ import annotations

from typing import Any

import torch
from torch import nn

from fcilib.model.council import Council
from fcilib.model.fci import FCI
from fcilib.representations import Attention, Embedding, Flow
from fcilib.routers import Investigator, RankOne
from fcilib.routers.router import Candidates
from fcilib.specs.size import Size
from fcilib.tasks import Evidence, Task
from fcilib.tasks.evidence import MARKER

GATE = 30.0
"""softplus(-GATE) is a step size of zero, softplus(GATE) one of GATE."""


@torch.no_grad()
def rank_one_by_hand(task: Evidence, width: int, candidates: Candidates = "others") -> FCI:
    """One left-to-right Mamba block in front of a rank-1 router that picks the evidence.

    Where the token before is the marker, and only there, the step size opens and the state takes
    up a code of the token: that of the query. Nothing else is written, and nothing decays. Every
    later token reads the state with its own code, so that one channel holds the inner product of
    its code with the query's: 1 for the same token, less for every other. The fingerprint is that
    channel. The query's own is made a little smaller, for it would tie with the evidence's.

    Args:
        task: the evidence has to come after the query.
        width: d; at least 2 (N + 3) for a state of N = 16.
        candidates: the router's.

    Raises:
        ValueError: the evidence may come first, or is another token of a class, or d is too small.
    """
    representation = Flow(layers=1)
    state, half = representation.state, width // 2
    if task.order != "query-first" or task.class_size > 1:
        raise ValueError("task: the evidence has to hold the query's token, and to come after it")
    if half < state + 3 or width % 2:
        raise ValueError(f"width: {width} is not an even number of at least {2 * (state + 3)}")
    size = Size(task.vocabulary, task.length, width)
    model = FCI(size, representation, RankOne(candidates=candidates), Council()).eval()
    layers: Any = model.representation
    embedding, block = layers[0], layers[1].scans[0]
    _clear(embedding, block, model.router)
    # A token is (w, -w), of mean zero and of norm sqrt(d), so that LayerNorm leaves it as it is.
    constant, marked, matched = state, state + 1, state + 2
    codes = nn.functional.normalize(
        torch.randn(task.vocabulary, state, generator=torch.Generator().manual_seed(0)), dim=1
    )
    codes[MARKER] = 0
    scale = (width / 4) ** 0.5
    embedding.token.weight[:, :state] = codes
    embedding.token.weight[:, constant] = 1
    embedding.token.weight[MARKER, marked] = 1
    embedding.token.weight[:, half:] = -embedding.token.weight[:, :half]
    embedding.token.weight.mul_(scale)
    # Channels: silu of the code and of its opposite, whose difference is the code; the marker, one
    # token late; and one that is constant, which the scan fills with the match.
    plus, minus, late, match = slice(0, state), slice(state, 2 * state), 2 * state, 2 * state + 1
    wide = len(block.D)
    block.in_proj.weight[plus, :state] = torch.eye(state) / scale
    block.in_proj.weight[minus, :state] = -torch.eye(state) / scale
    block.in_proj.weight[late, marked] = 2 * GATE / scale
    block.in_proj.weight[wide:, constant] = 1 / scale
    block.conv1d.weight[: 2 * state, 0, -1] = 1
    block.conv1d.weight[late, 0, -2] = 1
    block.conv1d.bias[match] = 1
    rank = block.dt_rank
    block.x_proj.weight[0, late] = 1
    for rows in (slice(rank, rank + state), slice(rank + state, rank + 2 * state)):  # B and C
        block.x_proj.weight[rows, plus] = torch.eye(state)
        block.x_proj.weight[rows, minus] = -torch.eye(state)
    block.dt_proj.weight[match, 0] = 1
    block.dt_proj.bias.fill_(-GATE)
    block.D[late] = 1
    for channel, weight in ((match, 1.0), (late, -0.05)):
        block.out_proj.weight[matched, channel] = weight
        block.out_proj.weight[half + matched, channel] = -weight
    model.router.fingerprint.weight[0, [matched, half + matched]] = torch.tensor([1.0, -1.0])
    return model


@torch.no_grad()
def neighbour_by_hand(task: Task, step: int) -> FCI:
    """Attention that copies the token `step` places aside, and a router that matches both.

    Each position holds its own token, its place, and the token of its neighbour, as one-hot
    vectors; the router adds up the match of the tokens and, with a fifth of the weight, that of
    the neighbours.
    """
    v, n = task.vocabulary, task.length
    size = Size(v, n, width=2 * v + n)
    router = Investigator(heads=1, candidates="others")
    model = FCI(size, Attention(heads=1), router, Council(heads=1)).eval()
    layers: Any = model.representation
    embedding, block = layers
    _clear(embedding, block.mix, block.feed_forward, model.router)
    own, place, other = slice(0, v), slice(v, v + n), slice(v + n, 2 * v + n)
    embedding.token.weight[:, own] = torch.eye(v)
    embedding.position.weight[:, place] = torch.eye(n)
    query, key, value = block.mix.qkv.weight.chunk(3)
    query[place, place] = 100 * torch.eye(n).roll(step, dims=0)
    key[place, place] = torch.eye(n)
    value[other, own] = torch.eye(v)
    block.mix.out.weight[:] = torch.eye(size.width)
    _match_with_neighbours(model.router, own, other)
    return model


@torch.no_grad()
def token_by_hand(task: Task) -> FCI:
    """No layer at all: one-hot tokens, and a router that compares them."""
    size = Size(task.vocabulary, task.length, width=task.vocabulary)
    router = Investigator(heads=1, candidates="others")
    model = FCI(size, Embedding(positions="none"), router, Council(heads=1)).eval()
    layers: Any = model.representation
    layers[0].token.weight[:] = torch.eye(task.vocabulary)
    for weights in (model.router.query.weight, model.router.key.weight):
        weights[:] = torch.eye(task.vocabulary)
    return model


@torch.no_grad()
def convolution_by_hand(task: Task, step: int) -> FCI:
    """A short convolution that copies the token before (`step=-1`) or after (`step=1`).

    A Mamba block without its scan: two taps, of which the farther is 1, and a gate that is open
    everywhere. The router is that of `neighbour_by_hand`.

    Raises:
        ValueError: the step is another.
    """
    if step not in (-1, 1):
        raise ValueError(f"step: {step} is neither -1 nor 1")
    v = task.vocabulary
    size = Size(v, task.length, width=2 * v)
    router = Investigator(heads=1, candidates="others")
    representation = Flow(layers=1, bidirectional=step > 0, positions="none", conv=2, scan=False)
    model = FCI(size, representation, router, Council(heads=1)).eval()
    layers: Any = model.representation
    embedding, flow = layers
    _clear(embedding, *flow.scans, model.router)
    own, other = slice(0, v), slice(v, 2 * v)
    embedding.token.weight[:, own] = torch.eye(v)
    block = flow.scans[-1]  # the one that reads right to left, where there are two
    inner = len(block.conv1d.bias)
    block.in_proj.weight[own, own] = torch.eye(v)
    block.in_proj.weight[inner : inner + v, own] = 1  # every token has one entry that is not zero
    block.conv1d.weight[own, 0, 0] = 1
    block.out_proj.weight[other, own] = torch.eye(v)
    _match_with_neighbours(model.router, own, other)
    return model


@torch.no_grad()
def meaning_by_hand(task: Task) -> FCI:
    """One layer of attention that leads from a token to its other occurrence, for the rung `hop`.

    Each position attends to the position that holds the same token and is not itself, and copies
    its place. The query k then holds the place of k in its definition, `[A] k m`, and the evidence
    m the place of m in it. Those differ by one, and the router compares them.
    """
    v, n = task.vocabulary, task.length
    size = Size(v, n, width=v + 2 * n)
    router = Investigator(heads=1, candidates="others")
    model = FCI(size, Attention(heads=1), router, Council(heads=1)).eval()
    layers: Any = model.representation
    embedding, block = layers
    _clear(embedding, block.mix, block.feed_forward, model.router)
    own, place, other = slice(0, v), slice(v, v + n), slice(v + n, v + 2 * n)
    embedding.token.weight[:, own] = torch.eye(v)
    embedding.position.weight[:, place] = torch.eye(n)
    query, key, value = block.mix.qkv.weight.chunk(3)
    query[own, own] = 100 * torch.eye(v)
    query[place, place] = -200 * torch.eye(n)
    key[own, own] = torch.eye(v)
    key[place, place] = torch.eye(n)
    value[other, place] = torch.eye(n)
    block.mix.out.weight[:] = torch.eye(size.width)
    model.router.query.weight[other, other] = torch.eye(n).roll(1, dims=0)
    model.router.key.weight[other, other] = torch.eye(n)
    return model


def _match_with_neighbours(router: Any, own: slice, other: slice) -> None:
    """Scores that add up the match of tokens and, weighted by 0.04, of their neighbours."""
    for weights in (router.query.weight, router.key.weight):
        size = own.stop - own.start
        weights[own, own] = torch.eye(size)
        weights[other, other] = 0.2 * torch.eye(size)


def _clear(*parts: Any) -> None:
    for part in parts:
        for weights in part.parameters():
            weights.zero_()
