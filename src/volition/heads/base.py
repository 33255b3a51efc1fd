"""What every policy head shares: its interface, the features it reads, and the loss over mixed action dimensions."""

from __future__ import annotations

from abc import ABC, abstractmethod
from collections.abc import Sequence
from dataclasses import dataclass
from typing import Any, Literal, Protocol, runtime_checkable

import torch
import torch.nn.functional as F
from jaxtyping import Bool, Float
from torch import Tensor, nn

from volition.backbones.base import Backbone, Encoded
from volition.contract import ActionSpace
from volition.types import Batch, Loss, Target


class Head(nn.Module, ABC):
    """Turns what the VLM read out into chunks of actions, in units of the action space.

    Inference is a function of (encoded, batch, states): a state is opaque, belongs to one robot, and is never an
    attribute of the module. `start()` makes the state of a robot that has seen nothing.
    """

    @abstractmethod
    def loss(self, encoded: Encoded, batch: Batch, target: Target) -> Loss: ...

    @abstractmethod
    def start(self) -> Any: ...

    @abstractmethod
    def predict(
        self, encoded: Encoded, batch: Batch, states: Sequence[Any]
    ) -> tuple[Float[Tensor, "B H A"], list[Any]]:
        """One observation step (T = 1) per robot -> its chunk and its next state."""


@runtime_checkable
class HeadConfig(Protocol):
    """A frozen dataclass that can build its head. Yours needs nothing else to stand in a recipe."""

    def build(
        self, backbone: Backbone, space: ActionSpace, *, num_obs_steps: int, horizon: int, state_dim: int
    ) -> Head: ...


@dataclass(frozen=True, kw_only=True)
class ActionLoss:
    """Masked mean over the valid steps: `kind` on continuous dimensions + `binary_weight` * BCE on binary ones.

    The reference uses Huber and 0.01; a mean over nothing is 0, not NaN.
    """

    kind: Literal["huber", "mse", "l1"] = "huber"
    huber_delta: float = 1.0
    binary_weight: float = 0.01

    def __call__(
        self,
        continuous: Float[Tensor, "B T H C"],
        logits: Float[Tensor, "B T H G"],
        target: Target,
        space: ActionSpace,
    ) -> Loss:
        wanted = target.actions[..., list(space.continuous)]
        middle = target.actions.new_tensor([(d.low + d.high) / 2 for d in space.dimensions if d.kind == "binary"])
        opened = (target.actions[..., list(space.binary)] > middle).float()  # label 1 = high: a gripper's open
        total, metrics = continuous.new_zeros(()), {}
        if space.continuous:
            total = masked_mean(self._distance(continuous, wanted).mean(-1), target.mask)
            mae = masked_mean((continuous - wanted).abs().mean(-1), target.mask)
            metrics = {"action_loss": total, "mae": mae}
        if space.binary:
            bce = F.binary_cross_entropy_with_logits(logits, opened, reduction="none").mean(-1)
            binary = masked_mean(bce, target.mask)
            total = total + self.binary_weight * binary
            right = ((logits > 0) == (opened > 0.5)).float().mean(-1)
            metrics |= {"binary_loss": binary, "binary_accuracy": masked_mean(right, target.mask)}
        return Loss(total=total, metrics={name: value.detach() for name, value in metrics.items()})

    def _distance(self, predicted: Tensor, wanted: Tensor) -> Tensor:
        if self.kind == "huber":
            return F.huber_loss(predicted, wanted, reduction="none", delta=self.huber_delta)
        return (F.mse_loss if self.kind == "mse" else F.l1_loss)(predicted, wanted, reduction="none")


def masked_mean(error: Float[Tensor, "B T H"], mask: Bool[Tensor, "B T H"]) -> Float[Tensor, ""]:
    """Mean over the action steps that lie inside the episode; 0 when there is none."""
    return (error * mask).sum() / mask.sum().clamp(min=1)


class ActionOutput(nn.Module):
    """Features -> H steps of every action dimension: tanh for continuous ones, logits for binary ones."""

    def __init__(self, width: int, hidden: int, space: ActionSpace, horizon: int):
        super().__init__()
        self.space, self.horizon = space, horizon
        self.hidden = nn.Sequential(nn.Linear(width, hidden), nn.GELU(), nn.Linear(hidden, hidden), nn.GELU())
        self.continuous = nn.Linear(hidden, horizon * len(space.continuous)) if space.continuous else None
        self.binary = nn.Linear(hidden, horizon * len(space.binary)) if space.binary else None

    def forward(self, features: Float[Tensor, "B T F"]) -> tuple[Float[Tensor, "B T H C"], Float[Tensor, "B T H G"]]:
        hidden = self.hidden(features)
        return torch.tanh(self._steps(self.continuous, hidden)), self._steps(self.binary, hidden)

    def _steps(self, layer: nn.Linear | None, hidden: Float[Tensor, "B T F"]) -> Float[Tensor, "B T H X"]:
        """No layer: a space without such dimensions."""
        if layer is None:
            return hidden.new_zeros(*hidden.shape[:2], self.horizon, 0)
        return layer(hidden).unflatten(-1, (self.horizon, -1))

    def assemble(self, continuous: Float[Tensor, "B H C"], logits: Float[Tensor, "B H G"]) -> Float[Tensor, "B H A"]:
        """Actions with every dimension in its place; binary ones are exactly their low or high."""
        actions = continuous.new_zeros(*continuous.shape[:2], self.space.dim)
        actions[..., list(self.space.continuous)] = continuous
        for i, index in enumerate(self.space.binary):
            dimension = self.space.dimensions[index]
            actions[..., index] = torch.where(logits[..., i] > 0, dimension.high, dimension.low)
        return actions


class ReadoutFeatures(nn.Module):
    """[LRN] hidden states, joined with a projection of the robot's state where the policy gets one."""

    def __init__(self, num_readouts: int, width: int, state_dim: int):
        super().__init__()
        self.norm = nn.LayerNorm(num_readouts * width)
        self.state = nn.Sequential(nn.Linear(state_dim, width), nn.GELU()) if state_dim else None
        self.width = num_readouts * width + (width if state_dim else 0)

    def forward(self, encoded: Encoded, batch: Batch) -> Float[Tensor, "B T F"]:
        readout = self.norm(encoded.readout.flatten(2))
        if self.state is None:
            return readout
        return torch.cat([readout, self.state(batch.state)], dim=-1)
