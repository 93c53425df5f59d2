"""Training steps on a GPU: one step is captured as a CUDA graph, and then replayed.

Everything that changes from step to step lies in tables on the device, indexed by a counter there:
which sequences, learning rate, momentum, bias corrections and routing weight. A replay thus needs
nothing from the host. AdamW is written out, since torch's own takes beta1 as a constant when it is
captured; its state is kept where torch's has it, so that checkpoints are the same.
"""

from __future__ import annotations

from collections.abc import Callable, Sequence
from typing import Any

import torch
from torch import nn
from torch.nn import functional as F
from torch.overrides import TorchFunctionMode

from fcilib.model.fci import FCI, Output
from fcilib.routers.bm25 import BM25Scores
from fcilib.routers.router import RouterModule
from fcilib.tasks import Batch

Forward = Callable[[Batch, Any], tuple[torch.Tensor, Output]]
"""From a batch and the routing weight to the loss and the output of one training step."""

WARM_UP = 3
"""Steps forward and backward before the capture, on a stream of their own, as torch asks for."""

FEW_ROWS = 1024
"""Up to so many vectors the gradient of an embedding is a matrix product with one-hot rows."""


def capturable(model: FCI) -> bool:
    """Whether a step is a fixed sequence of kernels.

    A router that learns from outcomes, or that reads its tokens on the host, has none.
    """
    router = model.router
    observes = router is not None and type(router).observe is not RouterModule.observe
    return not observes and not isinstance(router, BM25Scores)


class OnDevice(TorchFunctionMode):
    """Puts what modules make without naming a device, index ranges for the most part, on `device`.

    Random draws stay where they are, so that orders and weights are those of the CPU. It also gives
    embeddings a gradient that needs no sorting.
    """

    def __init__(self, device: torch.device) -> None:
        super().__init__()
        self.device = device

    def __torch_function__(self, function, types, args=(), kwargs=None):
        kwargs = dict(kwargs or {})
        if function in (torch.arange, torch.zeros, torch.ones, torch.eye):
            kwargs.setdefault("device", self.device)
        elif function is F.embedding and len(args[1]) <= FEW_ROWS and args[1].requires_grad:
            return _Lookup.apply(args[1], args[0])
        return function(*args, **kwargs)


class _Lookup(torch.autograd.Function):
    """Rows of `weight (V, d)`, whose gradient is one matrix product."""

    @staticmethod
    def forward(ctx, weight, index):
        ctx.save_for_backward(index)
        ctx.rows = len(weight)
        return weight[index]

    @staticmethod
    def backward(ctx, gradient):
        (index,) = ctx.saved_tensors
        rows = torch.arange(ctx.rows, device=index.device)
        one_hot = (index.flatten() == rows[:, None]).to(gradient.dtype)
        return one_hot @ gradient.flatten(0, -2), None


def hit_rate(output: Output, batch: Batch) -> torch.Tensor:
    """The routing precision of a batch in training; NaN without a router."""
    if output.scores is None:
        return output.logits.new_full((), float("nan"))
    best = output.scores.argmax(dim=1)
    return (best == output.candidate(batch.evidence.flatten())).float().mean()


class Steps:
    """The steps of a run whose model and data are on one device, an epoch at a time.

    On a CPU, where nothing can be captured, the same step is run as it stands: for tests.
    """

    def __init__(
        self,
        model: FCI,
        optimizer: torch.optim.AdamW,
        data: Batch,
        batch: int,
        clip: float,
        forward: Forward,
    ) -> None:
        self.optimizer, self.data, self.clip, self.forward = optimizer, data, clip, forward
        self.parameters = [p for p in model.parameters() if p.requires_grad]
        device = data.tokens.device
        self.batch, steps = batch, -(-len(data) // batch)
        self.order = torch.zeros(steps, batch, dtype=torch.int64, device=device)
        self.table = torch.zeros(steps, 5, device=device)
        self.losses, self.hits = torch.zeros(2, steps, device=device)
        self.at = torch.zeros(1, dtype=torch.int64, device=device)
        model.train()
        self.learning = self._learning(device)
        for p in self.learning:
            state = optimizer.state[p]
            if not state:
                state["step"] = torch.zeros((), device=device)
                state |= {name: torch.zeros_like(p) for name in ("exp_avg", "exp_avg_sq")}
        optimizer.zero_grad()
        optimizer.step()  # without gradients it does nothing, but a scheduler wants to have seen it
        self.graph = self._captured() if device.type == "cuda" and len(data) >= batch else None

    def _learning(self, device: torch.device) -> list[nn.Parameter]:
        """The parameters that the loss depends on, after steps that change none of them."""
        stream = torch.cuda.Stream(device) if device.type == "cuda" else None
        if stream is not None:
            stream.wait_stream(torch.cuda.current_stream(device))
        with torch.cuda.stream(stream):
            for _ in range(WARM_UP):
                self._gradients(self.order[0], 1.0)
        if stream is not None:
            torch.cuda.current_stream(device).wait_stream(stream)
        return [p for p in self.parameters if p.grad is not None]

    def _captured(self) -> torch.cuda.CUDAGraph:
        """The graph of a step; capturing it runs nothing."""
        graph = torch.cuda.CUDAGraph()
        with torch.cuda.graph(graph):
            self._step(self.batch)
        return graph

    def epoch(
        self,
        order: Sequence[torch.Tensor],
        weights: list[float],
        scheduler: torch.optim.lr_scheduler.LRScheduler,
        tell: Callable[[int, float], None] | None,
    ) -> list[float]:
        """One pass over the data in batches of this order; gives the loss of each step.

        `weights`: of the routing loss, by step. `tell`: told now and then how many steps are done,
        and the routing precision of the last one.
        """
        rows = []
        for weight in weights:
            (group,) = self.optimizer.param_groups
            rate, (beta, beta2), done = group["lr"], group["betas"], scheduler.last_epoch + 1
            size, root = rate / (1 - beta**done), (1 - beta2**done) ** 0.5
            rows.append((weight, 1 - rate * group["weight_decay"], beta, size, root))
            scheduler.step()
        self.table.copy_(torch.tensor(rows))
        indices = torch.cat(list(order))
        self.order.flatten()[: len(indices)] = indices.to(self.order.device)
        self.at.zero_()
        for step, index in enumerate(order):
            if self.graph is not None and len(index) == self.batch:
                self.graph.replay()
            else:
                self._step(len(index))
            if tell is not None and (step + 1) % max(len(order) // 50, 1) == 0:
                tell(step + 1, self.hits[step].item())
        for p in self.learning:
            self.optimizer.state[p]["step"].fill_(done)
        return self.losses.tolist()

    def _step(self, size: int) -> None:
        """One step of the tables: loss, gradients, AdamW."""
        weight, decay, beta, rate, root = self.table.index_select(0, self.at)[0].unbind()
        index = self.order.index_select(0, self.at)[0, :size]
        loss, hit = self._gradients(index, weight)
        self._update(decay, beta, rate, root)
        self.losses.index_copy_(0, self.at, loss[None])
        self.hits.index_copy_(0, self.at, hit[None])
        self.at += 1

    def _gradients(self, index: torch.Tensor, weight: Any) -> tuple[torch.Tensor, torch.Tensor]:
        """Sets the gradients of a step; gives its loss and its routing precision."""
        batch = self.data[index]
        loss, output = self.forward(batch, weight)
        for p in self.parameters:
            p.grad = None
        loss.backward()
        return loss.detach(), hit_rate(output, batch).to(loss.device)

    @torch.no_grad()
    def _update(
        self, decay: torch.Tensor, beta: torch.Tensor, rate: torch.Tensor, root: torch.Tensor
    ) -> None:
        """Clip, then AdamW with numbers that are tensors.

        Args:
            decay: 1 - learning rate * weight decay.
            beta: beta1.
            rate: the learning rate, over the first moment's bias correction.
            root: the root of the second moment's.
        """
        (group,) = self.optimizer.param_groups
        values: Any = self.learning
        means, squares = (
            [self.optimizer.state[p][name] for p in values] for name in ("exp_avg", "exp_avg_sq")
        )
        nn.utils.clip_grad_norm_(values, self.clip)
        gradients: Any = [p.grad for p in values]
        beta2 = group["betas"][1]
        torch._foreach_mul_(squares, beta2)
        torch._foreach_addcmul_(squares, gradients, gradients, 1 - beta2)
        torch._foreach_mul_(means, beta)
        torch._foreach_mul_(gradients, 1 - beta)
        torch._foreach_add_(means, gradients)
        below = torch._foreach_sqrt(squares)
        torch._foreach_div_(below, root)
        torch._foreach_add_(below, group["eps"])
        change: Any = torch._foreach_div(means, below)
        torch._foreach_mul_(change, rate)
        torch._foreach_mul_(values, decay)
        torch._foreach_sub_(values, change)
