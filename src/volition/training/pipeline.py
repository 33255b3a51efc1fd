"""Ranks that have some of the decoder's layers each: a batch's parts go from one to the next, as torch schedules them.

    rank 0: words, pictures, first layers --hidden states--> rank 1: the other layers, head, loss
                                          <--their gradients--

No family's forward is restated: every rank runs the policy's own one, of which `stages` leaves it its part. What stands
outside the layers (vision, words, head) is on all ranks, and its gradients are added up: whatever way a model lets
pictures reach later layers (Mllama's cross-attention, Qwen3-VL's features between layers), it is learned rightly.
"""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass, field, replace
from typing import Any

import torch
import torch.distributed as dist
from torch import Tensor, nn
from torch.distributed.pipelining import PipelineStage, Schedule1F1B, ScheduleGPipe

from volition.policy import Policy
from volition.training.ranks import Ranks, Shares
from volition.training.stages import Done, leave_stage
from volition.types import Batch, Loss, Target

Ready = Callable[[int], tuple[Batch, Target]]  # a part of a step by its number, on its device


@dataclass
class _Work:
    """The parts of the step that is under way."""

    ready: Ready
    shares: Sequence[Shares | None]
    factor: float
    losses: dict[int, Loss] = field(default_factory=dict)


class Pipeline(nn.Module):
    """A policy of whose decoder layers this rank has some, which is called as the policy is."""

    def __init__(self, policy: Policy, ranks: Ranks, example: tuple[Batch, Target]):
        """Cuts the policy down, in place; `example` and ValueError: see `leave_stage`."""
        super().__init__()
        assert ranks.mesh is not None
        self._ranks, self._stages, self._data = ranks, ranks.mesh.get_group("pipeline"), ranks.mesh.get_group("data")
        self._index, self._count = dist.get_rank(self._stages), dist.get_world_size(self._stages)
        # Names of weights and buffers of the layers: of this rank, of others.
        self.own, self.elsewhere, self._passage = leave_stage(policy, self._index, self._count, example)
        self.policy = policy
        self._work: _Work | None = None
        self._schedules: dict[tuple[int, bool], Schedule1F1B | ScheduleGPipe] = {}
        self._own = {id(p) for name, p in policy.named_parameters() if name in self.own}

    def forward(self, batch: Batch, target: Target) -> Loss:
        """The loss of one part, on every rank; no gradients."""
        return self._run(_Work(lambda _: (batch, target), [None], 1.0), learning=False)[0]

    def writes(self, name: str) -> bool:
        """Whether this rank writes a tensor that it has. What is outside the layers was used to the end on the last."""
        return self._ranks.index == 0 and (name in self.own or self._index == self._count - 1)

    def learn(self, ready: Ready, shares: Sequence[Shares | None], factor: float) -> list[Loss]:
        """Losses of all parts, their gradients (times `factor`) added up: of the whole step, the same on all ranks."""
        losses = self._run(_Work(ready, shares, factor), learning=True)
        self._add_up_gradients()
        return losses

    def norm(self, parameters: Sequence[nn.Parameter]) -> Tensor | None:
        """Of their gradients and of those of the same parameters' layers elsewhere; None where there are none."""
        given = [(id(p) in self._own, p.grad) for p in parameters if p.grad is not None]
        device = self.policy.backbone.device
        squares, there = torch.zeros(2, device=device, dtype=torch.float64), torch.zeros(2, device=device)
        for mine, grad in given:
            squares[int(mine)] += torch.linalg.vector_norm(grad, dtype=torch.float32).double().square()
            there[int(mine)] = 1
        layers = torch.stack([squares[1], there[1].double()])
        dist.all_reduce(layers, group=self._stages)
        return (squares[0] + layers[0]).sqrt().float() if bool(there[0] + layers[1]) else None

    def _run(self, work: _Work, *, learning: bool) -> list[Loss]:
        count = len(work.shares)
        schedule = self._schedule(count, learning)
        self._work = work
        numbers = torch.arange(count, device=self.policy.backbone.device)
        first = (torch.zeros(count, device=numbers.device),) if self._index == 0 else ()
        target = numbers if self._index == self._count - 1 else None
        try:
            schedule.step(*first, number=numbers, target=target, return_outputs=False)
        except RuntimeError as error:  # torch's word for whatever a stage raises
            if isinstance(error.__cause__, ValueError):
                raise error.__cause__ from None
            raise
        finally:
            self._work = None
        return self._told(work.losses, count)

    def _schedule(self, count: int, learning: bool) -> Schedule1F1B | ScheduleGPipe:
        if (count, learning) not in self._schedules:
            device = self.policy.backbone.device
            stage = PipelineStage(_Stage(self), self._index, self._count, device, group=self._stages)
            if learning:
                self._schedules[count, learning] = Schedule1F1B(
                    stage, count, loss_fn=lambda loss, _: loss.sum(), scale_grads=False
                )
            else:
                self._schedules[count, learning] = ScheduleGPipe(stage, count)
        return self._schedules[count, learning]

    def compute(self, received: Tensor, number: int) -> Tensor:
        """Of a part, this rank's layers: hidden states, on the last rank the loss as it is learned from, float32[1]."""
        assert self._work is not None
        batch, target = self._work.ready(number)
        self._passage.received = received if self._index else None
        try:
            loss = self.policy(batch, target)
        except Done as done:
            return done.hidden
        share = self._work.shares[number]
        loss = loss if share is None else loss.shared(share)
        self._work.losses[number] = loss
        return (loss.total * self._work.factor).reshape(1)

    def _told(self, losses: Mapping[int, Loss], count: int) -> list[Loss]:
        """What the last rank knows, on all of them."""
        said: list[Any] = [[_without_graph(losses[i], torch.device("cpu")) for i in range(count)] if losses else None]
        dist.broadcast_object_list(said, group=self._stages, group_src=self._count - 1)
        return [_without_graph(loss, self.policy.backbone.device) for loss in said[0]]

    def _add_up_gradients(self) -> None:
        """Over the ranks of the pipeline, for what all of them have; then the mean over copies of the pipeline."""
        learned = [p for p in self.policy.parameters() if p.requires_grad]
        _sum([p for p in learned if id(p) not in self._own], self._stages)
        if self._ranks.count > 1:
            _sum(learned, self._data)
            for parameter in learned:
                if parameter.grad is not None:
                    parameter.grad /= self._ranks.count


class _Stage(nn.Module):
    """What torch's schedules call. Holds the pipeline in a list: its weights are not to be found twice."""

    def __init__(self, pipeline: Pipeline):
        super().__init__()
        self._pipeline = [pipeline]

    def forward(self, received: Tensor, number: Tensor) -> Tensor:
        return self._pipeline[0].compute(received, int(number))


def _sum(parameters: Sequence[nn.Parameter], group: dist.ProcessGroup) -> None:
    """Gradients over the group, of every parameter of which one rank at least has some."""
    if not parameters:
        return
    there = torch.tensor([p.grad is not None for p in parameters], device=parameters[0].device, dtype=torch.int32)
    dist.all_reduce(there, dist.ReduceOp.MAX, group=group)
    for parameter, wanted in zip(parameters, there.tolist()):
        if wanted:
            if parameter.grad is None:
                parameter.grad = torch.zeros_like(parameter)
            dist.all_reduce(parameter.grad, group=group)


def _without_graph(loss: Loss, device: torch.device) -> Loss:
    return Loss(
        total=loss.total.detach().to(device),
        metrics={name: value.detach().to(device) for name, value in loss.metrics.items()},
        terms=tuple(replace(term, value=term.value.detach().to(device)) for term in loss.terms),
    )
