"""LSTM over the window of readouts ("policy-head history"): every frame goes through the VLM alone, once."""

from __future__ import annotations

from dataclasses import dataclass, field

import torch
import torch.nn.functional as F
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
        if len(features) == 1 and features.is_cpu and not torch.is_grad_enabled():
            history = unroll(self.lstm, features)
        else:
            history, _ = self.lstm(features)
        return self.output(torch.cat([features, history], dim=-1))


def unroll(lstm: nn.LSTM, features: Float[Tensor, "B T F"]) -> Float[Tensor, "B T D"]:
    """What `lstm` gives, step by step: for one robot on a CPU two to four times as fast.

    There torch asks oneDNN, which puts all weights in another order at every call; a few steps of one row take less
    time than that. From four rows on nothing is gained.
    """
    for layer in range(lstm.num_layers):
        wide, deep, *biases = (
            getattr(lstm, f"{name}_l{layer}") for name in ("weight_ih", "weight_hh", "bias_ih", "bias_hh")
        )
        given = F.linear(features, wide, sum(biases))
        hidden = cell = given.new_zeros(len(given), lstm.hidden_size)
        steps = []
        for step in given.unbind(1):
            enter, forget, new, leave = (step + F.linear(hidden, deep)).chunk(4, dim=-1)
            cell = forget.sigmoid() * cell + enter.sigmoid() * new.tanh()
            hidden = leave.sigmoid() * cell.tanh()
            steps.append(hidden)
        features = torch.stack(steps, dim=1)
    return features
