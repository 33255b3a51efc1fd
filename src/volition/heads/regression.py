"""What MLP, LSTM and GPT-2 heads share: from the features of a window to the actions of every step, in one go.

A robot's state is the window of features that it has seen, so inference runs exactly what training ran: every step
of a window was trained with the steps before it, be they few or many.
"""

from __future__ import annotations

from abc import abstractmethod
from collections.abc import Sequence

from jaxtyping import Float
from torch import Tensor

from volition.backbones.base import Encoded
from volition.heads.base import ActionLoss, ActionOutput, Head, ReadoutFeatures, assemble, newest, pad, slide
from volition.types import Batch, Loss, Target

Continuous = Float[Tensor, "B T H C"]
Logits = Float[Tensor, "B T H G"]


class RegressionHead(Head):
    """A subclass sets these four and gives `run`."""

    features: ReadoutFeatures
    output: ActionOutput
    action_loss: ActionLoss
    num_obs_steps: int  # how many steps `run` looks back over, the present one included

    @abstractmethod
    def run(self, features: Float[Tensor, "B T F"]) -> tuple[Continuous, Logits]:
        """Continuous dimensions in -1..1 and logits of the binary ones, of every step from it and those before it."""

    def outputs(self, encoded: Encoded, batch: Batch) -> tuple[Continuous, Logits]:
        """`run` over the whole window."""
        return self.run(self.features(encoded, batch))

    def outputs_now(
        self, encoded: Encoded, batch: Batch, states: Sequence[Tensor | None]
    ) -> tuple[Float[Tensor, "B H C"], Float[Tensor, "B H G"], list[Tensor | None]]:
        """`run` at the present step (T = 1) of robots in these states, and their next states."""
        windows = slide(states, self.features(encoded, batch), self.num_obs_steps)
        continuous, logits = self.run(pad(windows, self.num_obs_steps))
        return newest(continuous, windows), newest(logits, windows), list(windows)

    def loss(self, encoded: Encoded, batch: Batch, target: Target) -> Loss:
        continuous, logits = self.outputs(encoded, batch)
        return self.action_loss(continuous, logits, target, self.output.space)

    def counts(self, target: Target) -> dict[str, Tensor]:
        return self.action_loss.counts(target, self.output.space)

    def start(self) -> None:
        """Nothing seen yet."""

    def predict(
        self, encoded: Encoded, batch: Batch, states: Sequence[Tensor | None]
    ) -> tuple[Float[Tensor, "B H A"], list[Tensor | None]]:
        continuous, logits, states = self.outputs_now(encoded, batch, states)
        return assemble(continuous, logits, self.output.space), states

    def recall(self, encoded: Encoded, batch: Batch, state: Tensor | None) -> Tensor:
        return self.features(encoded, batch)[0, -self.num_obs_steps :]
