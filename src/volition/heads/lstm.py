"""LSTM over the window of readouts ("policy-head history"): every frame goes through the VLM alone, once."""

from __future__ import annotations

from dataclasses import dataclass, field

import torch
from jaxtyping import Float
from torch import Tensor, nn

from volition.backbones.base import Backbone
from volition.contract import ActionSpace
from volition.heads.base import ActionLoss, ActionOutput, Head, ReadoutFeatures
from volition.heads.regression import Continuous, Logits, RegressionHead


@dataclass(frozen=True, kw_only=True)
class LSTMHeadConfig:
    hidden: int = 256
    num_layers: int = 1
    loss: ActionLoss = field(default_factory=ActionLoss)

    def build(
        self, backbone: Backbone, space: ActionSpace, *, num_obs_steps: int, horizon: int, state_dim: int
    ) -> Head:
        return LSTMHead(self, backbone, space, num_obs_steps, horizon, state_dim)


class LSTMHead(RegressionHead):
    def __init__(
        self,
        config: LSTMHeadConfig,
        backbone: Backbone,
        space: ActionSpace,
        num_obs_steps: int,
        horizon: int,
        state_dim: int,
    ):
        super().__init__()
        self.action_loss, self.num_obs_steps = config.loss, num_obs_steps
        self.features = ReadoutFeatures(backbone.num_readouts, backbone.width, state_dim)
        self.lstm = nn.LSTM(self.features.width, config.hidden, config.num_layers, batch_first=True)
        # The step's own features go past the LSTM as well: what is seen now need not squeeze through its gates.
        self.output = ActionOutput(self.features.width + config.hidden, config.hidden, space, horizon)

    def run(self, features: Float[Tensor, "B T F"]) -> tuple[Continuous, Logits]:
        history, _ = self.lstm(features)
        return self.output(torch.cat([features, history], dim=-1))
