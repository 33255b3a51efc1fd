"""MLP: every observation step is answered from its own readout alone."""

from __future__ import annotations

from dataclasses import dataclass, field

from jaxtyping import Float
from torch import Tensor

from volition.backbones.base import Backbone
from volition.contract import ActionSpace
from volition.heads.base import ActionLoss, ActionOutput, Head, ReadoutFeatures
from volition.heads.regression import Continuous, Logits, RegressionHead


@dataclass(frozen=True, kw_only=True)
class MLPHeadConfig:
    hidden: int = 256
    loss: ActionLoss = field(default_factory=ActionLoss)

    def build(
        self, backbone: Backbone, space: ActionSpace, *, num_obs_steps: int, horizon: int, state_dim: int
    ) -> Head:
        return MLPHead(self, backbone, space, horizon, state_dim)


class MLPHead(RegressionHead):
    def __init__(self, config: MLPHeadConfig, backbone: Backbone, space: ActionSpace, horizon: int, state_dim: int):
        super().__init__()
        self.action_loss, self.num_obs_steps = config.loss, 1
        self.features = ReadoutFeatures(backbone.num_readouts, backbone.width, state_dim)
        self.output = ActionOutput(self.features.width, config.hidden, space, horizon)

    def run(self, features: Float[Tensor, "B T F"]) -> tuple[Continuous, Logits]:
        return self.output(features)
