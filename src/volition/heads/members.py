"""What heads made of heads share: all members read one pass of the VLM, and a robot has a state for each of them."""

from __future__ import annotations

from abc import abstractmethod
from collections.abc import Sequence
from typing import Any, cast

import torch
from jaxtyping import Float
from torch import Tensor, nn

from volition.backbones.base import Backbone, Encoded
from volition.contract import ActionSpace
from volition.heads.base import Head, HeadConfig
from volition.types import Batch, Loss, Term


class MembersHead(Head):
    """A robot's state is a tuple of its members' states."""

    members: Sequence[Head]

    def __init__(self, members: Sequence[Head], space: ActionSpace):
        super().__init__()
        self.members, self.space = cast(Sequence[Head], nn.ModuleList(members)), space

    def counts(self, target: Target) -> dict[str, Tensor]:
        return {
            f"member{i}_{name}": count
            for i, member in enumerate(self.members)
            for name, count in member.counts(target).items()
        }

    def start(self) -> tuple[Any, ...]:
        return tuple(member.start() for member in self.members)

    def start_with(self, noise: int) -> tuple[Any, ...]:
        return tuple(member.start_with(noise) for member in self.members)

    def predict(
        self, encoded: Encoded, batch: Batch, states: Sequence[tuple[Any, ...]]
    ) -> tuple[Float[Tensor, "B H A"], list[tuple[Any, ...]]]:
        chunk, after, _ = self.predict_with_disagreement(encoded, batch, states)
        return chunk, after

    def predict_with_confidence(
        self, encoded: Encoded, batch: Batch, states: Sequence[tuple[Any, ...]]
    ) -> tuple[Float[Tensor, "B H A"], list[tuple[Any, ...]], Float[Tensor, "B H"]]:
        chunk, after, apart = self.predict_with_disagreement(encoded, batch, states)
        return chunk, after, confidence(apart, self.space)

    def recall(self, encoded: Encoded, batch: Batch, state: tuple[Any, ...]) -> tuple[Any, ...]:
        return tuple(member.recall(encoded, batch, own) for member, own in zip(self.members, state))

    @abstractmethod
    def predict_with_disagreement(
        self, encoded: Encoded, batch: Batch, states: Sequence[tuple[Any, ...]]
    ) -> tuple[Float[Tensor, "B H A"], list[tuple[Any, ...]], Float[Tensor, "B H A"]]: ...


def build_members(
    configs: Sequence[HeadConfig],
    backbone: Backbone,
    space: ActionSpace,
    *,
    num_obs_steps: int,
    horizon: int,
    state_dim: int,
) -> list[Head]:
    if len(configs) < 2:
        raise ValueError(f"members must name at least two heads, got {len(configs)}")
    return [
        config.build(backbone, space, num_obs_steps=num_obs_steps, horizon=horizon, state_dim=state_dim)
        for config in configs
    ]


def average(losses: Sequence[Loss]) -> Loss:
    """The members' mean loss, and the terms and metrics of each under its number."""
    parts: list[Term] = []
    metrics: dict[str, Tensor] = {}
    for i, loss in enumerate(losses):
        terms = loss.terms or (Term("own_loss", loss.total),)
        parts += [Term(f"member{i}_{t.name}", t.value, t.weight / len(losses)) for t in terms]
        names = {term.name for term in terms}
        metrics |= {f"member{i}_{name}": x for name, x in loss.metrics.items() if name not in names}
        metrics[f"member{i}_loss"] = loss.total
    return Loss.of(parts, metrics)


def disagreement(chunks: Sequence[Float[Tensor, "B H A"]]) -> Float[Tensor, "B H A"]:
    """Standard deviation of the members' actions, in the units that heads answer in: 0 where all agree."""
    return torch.stack(list(chunks)).std(dim=0, correction=0)


def confidence(apart: Float[Tensor, "B H A"], space: ActionSpace) -> Float[Tensor, "B H"]:
    """1 where members agree, 0 where they take opposite ends of a dimension's range: the worst dimension decides."""
    half = apart.new_tensor([(d.high - d.low) / 2 for d in space.dimensions])
    return (1 - (apart / half).amax(dim=-1)).clamp(min=0)
