"""MLP: every observation step is answered from its own readout alone."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass, field

from jaxtyping import Float
from torch import Tensor

from volition.backbones.base import Backbone, Encoded
from volition.contract import ActionSpace
from volition.heads.base import ActionLoss, ActionOutput, Head, ReadoutFeatures
from volition.types import Batch, Loss, Target


@dataclass(frozen=True, kw_only=True)
class MLPHeadConfig:
    hidden: int = 256
    loss: ActionLoss = field(default_factory=ActionLoss)

    def build(
        self, backbone: Backbone, space: ActionSpace, *, num_obs_steps: int, horizon: int, state_dim: int
    ) -> Head:
        return MLPHead(self, backbone, space, horizon, state_dim)


class MLPHead(Head):
    def __init__(self, config: MLPHeadConfig, backbone: Backbone, space: ActionSpace, horizon: int, state_dim: int):
        super().__init__()
        self.config, self.space = config, space
        self.features = ReadoutFeatures(backbone.num_readouts, backbone.width, state_dim)
        self.output = ActionOutput(self.features.width, config.hidden, space, horizon)

    def loss(self, encoded: Encoded, batch: Batch, target: Target) -> Loss:
        continuous, logits = self.output(self.features(encoded, batch))
        return self.config.loss(continuous, logits, target, self.space)

    def start(self) -> None:
        """Remembers nothing."""

    def predict(
        self, encoded: Encoded, batch: Batch, states: Sequence[None]
    ) -> tuple[Float[Tensor, "B H A"], list[None]]:
        continuous, logits = self.output(self.features(encoded, batch))
        return self.output.assemble(continuous[:, -1], logits[:, -1]), list(states)
