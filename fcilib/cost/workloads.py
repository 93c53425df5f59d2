"""What is measured: a description, and the call it stands for at a given length."""

from __future__ import annotations

from typing import Annotated, Literal

import torch
from pydantic import Field
from torch.nn import functional as F

from fcilib.cost import arithmetic, peers
from fcilib.cost.meter import Call
from fcilib.representations.base import RepresentationSpec
from fcilib.routers.router import RouterSpec
from fcilib.specs.kinds import ByKind
from fcilib.specs.size import Size
from fcilib.specs.spec import Spec

VOCABULARY = 64


class Workload(Spec):
    """Something whose cost depends on the length."""

    def prepare(self, length: int) -> Call:
        """The call at that length, its inputs drawn from torch's current random state.

        Raises:
            MissingBackendError: what it stands on is not installed.
        """
        raise NotImplementedError


class ScanSized(Workload):
    """A workload of the size of a scan: batch B, channels d, states N."""

    batch: int = Field(32, ge=1)
    width: int = Field(256, ge=1)
    state: int = Field(16, ge=1)


class Scan(ScanSized):
    """A selective scan with skip, gate, bias and softplus, forward and backward."""

    kind: Literal["scan"] = "scan"
    backend: Literal[peers.SCANS]  # type: ignore[valid-type]

    def prepare(self, length: int) -> Call:
        rows, width, state = (self.batch, length, self.width), self.width, self.state
        inputs = [
            torch.randn(rows),
            torch.randn(rows) - 2,  # step sizes around softplus(-2) = 0.13
            -torch.arange(1.0, state + 1).repeat(width, 1),
            torch.randn(*rows[:2], state),
            torch.randn(*rows[:2], state),
            torch.randn(width),
            torch.randn(rows),
            torch.randn(width),
        ]
        inputs = [tensor.requires_grad_() for tensor in inputs]
        scan, cotangent = peers.scan(self.backend), torch.randn(rows)
        return Call(lambda: scan(*inputs), lambda y: torch.autograd.grad(y, inputs, cotangent))


class Arithmetic(ScanSized):
    """As many multiply-adds as a scan of this size needs instructions: a bound, not a scan."""

    kind: Literal["arithmetic"] = "arithmetic"

    def prepare(self, length: int) -> Call:
        cells = self.batch * length * self.width * self.state
        return Call(
            lambda: arithmetic.spend(cells * arithmetic.FORWARD),
            lambda _: arithmetic.spend(cells * arithmetic.BACKWARD),
        )


class MambaPass(ScanSized):
    """A whole Mamba block: projections, convolution, gate and scan, forward and backward."""

    kind: Literal["block"] = "block"
    implementation: Literal[peers.BLOCKS] = "fcilib"  # type: ignore[valid-type]
    width: int = Field(128, ge=1)
    """The model's; the scan runs over twice as many channels."""

    def prepare(self, length: int) -> Call:
        block = peers.block(self.implementation, self.width, self.state).train()
        x = torch.randn(self.batch, length, self.width, requires_grad=True)
        leaves, cotangent = [x, *block.parameters()], torch.randn(x.shape)
        return Call(lambda: block(x), lambda y: torch.autograd.grad(y, leaves, cotangent))


class Represent(Workload):
    """A representation of one sequence, without gradients: tokens `(1, n)` to `(1, n, d)`."""

    kind: Literal["represent"] = "represent"
    representation: Annotated[RepresentationSpec, ByKind()]
    width: int = Field(64, ge=1)

    def prepare(self, length: int) -> Call:
        size = Size(VOCABULARY, length, self.width)
        module = self.representation.build(size).eval()
        tokens = torch.randint(1, VOCABULARY, (1, length))
        return Call(torch.no_grad()(lambda: module(tokens)))


class OfRouter(Workload):
    """A workload of one router, on vectors of width d."""

    router: Annotated[RouterSpec, ByKind()]
    width: int = Field(64, ge=1)


class Route(OfRouter):
    """A router's picks in one sequence of vectors `(n, d)`, without gradients."""

    kind: Literal["route"] = "route"
    queries: Literal["one", "all"] = "one"
    """For one position, or for each of the n."""

    def prepare(self, length: int) -> Call:
        module = self.router.build(Size(VOCABULARY, length, self.width)).eval()
        x, k = torch.randn(length, self.width), self.router.k
        if self.queries == "all":
            return Call(lambda: module.route_all(x, k))
        candidates = self.router.candidates
        return Call(lambda: module.route(x, length // 2, k, candidates))


class Loss(OfRouter):
    """The routing loss CE(s_q, a) of one sequence `(1, n, d)`, forward and backward."""

    kind: Literal["loss"] = "loss"
    scores: Literal["row", "matrix"] = "row"
    """The query's scores alone, or those of all pairs, of which one row is used."""

    def prepare(self, length: int) -> Call:
        module = self.router.build(Size(VOCABULARY, length, self.width))
        x = torch.randn(1, length, self.width, requires_grad=True)
        leaves = [x, *module.parameters()]
        query, evidence = torch.tensor([length // 2]), torch.tensor([length - 1])

        def loss() -> torch.Tensor:
            row = module(x, query) if self.scores == "row" else module.matrix(x)[:, length // 2]
            return F.cross_entropy(row, evidence)

        return Call(loss, lambda value: torch.autograd.grad(value, leaves))
