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
from volition.types import Batch, Loss, Target, Term


class Head(nn.Module, ABC):
    """Turns what the VLM read out into chunks of actions, in units of the action space that it was built for.

    That is the robot's with its continuous dimensions scaled to -1..1 (`ActionSpace.scaled`); transforms do the rest.

    Inference is a function of (encoded, batch, states): a state is opaque, belongs to one robot, and is never an
    attribute of the module. `start()` makes the state of a robot that has seen nothing.
    """

    @abstractmethod
    def loss(self, encoded: Encoded, batch: Batch, target: Target) -> Loss: ...

    def counts(self, target: Target) -> dict[str, Tensor]:
        """How many numbers each term of `loss` is a mean over, by the term's name.

        What adds up a batch from parts, on one device or several, weighs them by it. A term that is not named is taken
        as a mean over the steps inside the episodes.
        """
        return {}

    @abstractmethod
    def start(self) -> Any: ...

    def start_with(self, noise: int) -> Any:
        """As `start`; a head that draws noise to act draws this robot's own, by this number and its predictions'."""
        return self.start()

    @abstractmethod
    def predict(
        self, encoded: Encoded, batch: Batch, states: Sequence[Any]
    ) -> tuple[Float[Tensor, "B H A"], list[Any]]:
        """One observation step (T = 1) per robot -> its chunk and its next state."""

    def predict_with_disagreement(
        self, encoded: Encoded, batch: Batch, states: Sequence[Any]
    ) -> tuple[Float[Tensor, "B H A"], list[Any], Float[Tensor, "B H A"] | None]:
        """`predict`, and how far the members of a head of heads are apart: the standard deviation of their actions.

        In the units that heads answer in; None from a head without members.
        """
        return *self.predict(encoded, batch, states), None

    def predict_with_confidence(
        self, encoded: Encoded, batch: Batch, states: Sequence[Any]
    ) -> tuple[Float[Tensor, "B H A"], list[Any], Float[Tensor, "B H"] | None]:
        """`predict`, and how sure the head is of every step, in 0..1; None from a head that cannot tell."""
        return *self.predict(encoded, batch, states), None

    def recall(self, encoded: Encoded, batch: Batch, state: Any) -> Any:
        """The state of one robot (B = 1) of which exactly these steps are remembered.

        Interleaved history calls it when a row of the backbone begins anew; heads without a window keep their state.
        """
        return state


@runtime_checkable
class Inpainting(Protocol):
    """A head that can make chunks of which some is known: those that denoise."""

    def inpaint(
        self,
        encoded: Encoded,
        batch: Batch,
        states: Sequence[Any],
        known: Float[Tensor, "B P A"],
        weights: Float[Tensor, "B P"],
    ) -> tuple[Float[Tensor, "B H A"], list[Any]]: ...

    # As `Head.predict`; of the first P actions, one of weight 1 is as `known` says, one of weight 0 is free.


@runtime_checkable
class HeadConfig(Protocol):
    """A frozen dataclass that can build its head. Yours needs nothing else to stand in a recipe."""

    def build(
        self, backbone: Backbone, space: ActionSpace, *, num_obs_steps: int, horizon: int, state_dim: int
    ) -> Head: ...


@runtime_checkable
class SpaceChecked(Protocol):
    """A `HeadConfig` that cannot express everything, and can tell so (ValueError) without a backbone."""

    def check(self, space: ActionSpace, *, horizon: int) -> None: ...


@dataclass(frozen=True, kw_only=True)
class ActionLoss:
    """Mean over what counts of the target: `kind` on continuous dimensions + `binary_weight` * BCE on binary ones.

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
        wanted, counts = (x[..., list(space.continuous)] for x in (target.actions, target.counts))
        terms, metrics = [], {}
        if space.continuous:
            terms.append(Term("action_loss", masked_mean(self._distance(continuous, wanted), counts)))
            metrics["mae"] = masked_mean((continuous - wanted).abs(), counts)
        if space.binary:
            high, counts = is_high(target.actions, space), target.counts[..., list(space.binary)]
            bce = F.binary_cross_entropy_with_logits(logits, high.float(), reduction="none")
            terms.append(Term("binary_loss", masked_mean(bce, counts), self.binary_weight))
            metrics["binary_accuracy"] = masked_mean(((logits > 0) == high).float(), counts)
        return Loss.of(terms, metrics)

    def counts(self, target: Target, space: ActionSpace) -> dict[str, Tensor]:
        """What each term is a mean over."""
        dimensions = {"action_loss": space.continuous, "binary_loss": space.binary}
        return {name: target.counts[..., list(chosen)].sum() for name, chosen in dimensions.items()}

    def _distance(self, predicted: Tensor, wanted: Tensor) -> Tensor:
        if self.kind == "huber":
            return F.huber_loss(predicted, wanted, reduction="none", delta=self.huber_delta)
        return (F.mse_loss if self.kind == "mse" else F.l1_loss)(predicted, wanted, reduction="none")


def is_high(actions: Float[Tensor, "... A"], space: ActionSpace) -> Bool[Tensor, "... G"]:
    """Labels of the binary dimensions: whether each is at its high, as an open gripper is."""
    middle = actions.new_tensor([(d.low + d.high) / 2 for d in space.dimensions if d.kind == "binary"])
    return actions[..., list(space.binary)] > middle


def masked_mean(error: Float[Tensor, "*n"], mask: Bool[Tensor, "*n"]) -> Float[Tensor, ""]:
    """Mean over what the mask lets count, the steps inside the episode say; 0 when that is nothing."""
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


def assemble(
    continuous: Float[Tensor, "B H C"], logits: Float[Tensor, "B H G"], space: ActionSpace
) -> Float[Tensor, "B H A"]:
    """Actions with every dimension in its place; binary ones are exactly their low or high."""
    actions = continuous.new_zeros(*continuous.shape[:2], space.dim)
    actions[..., list(space.continuous)] = continuous
    for i, index in enumerate(space.binary):
        dimension = space.dimensions[index]
        actions[..., index] = torch.where(logits[..., i] > 0, dimension.high, dimension.low)
    return actions


def slide(
    seen: Sequence[Float[Tensor, "_t F"] | None], now: Float[Tensor, "B 1 F"], length: int
) -> list[Float[Tensor, "_t F"]]:
    """Every robot's window with the present step as its last, at most `length` long; None has seen nothing before."""
    return [new if window is None else torch.cat([window, new])[-length:] for window, new in zip(seen, now)]


def pad(windows: Sequence[Float[Tensor, "_t F"]], length: int) -> Float[Tensor, "B T F"]:
    """Windows of one length, filled up after their last step: what looks back only, as all heads do, never sees it."""
    return torch.stack([F.pad(window, (0, 0, 0, length - len(window))) for window in windows])


def newest(x: Float[Tensor, "B T *rest"], windows: Sequence[Float[Tensor, "_t F"]]) -> Float[Tensor, "B *rest"]:
    """What was computed for the last step of every window."""
    return x[torch.arange(len(windows), device=x.device), [len(window) - 1 for window in windows]]
