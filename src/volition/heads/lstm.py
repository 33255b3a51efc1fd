"""LSTM over the window of readouts ("policy-head history"): every frame goes through the VLM alone, once.

A robot's state is the window of features that it has seen, so inference runs exactly what training ran: an LSTM from
zero over `num_obs_steps` steps. Before the window is full it is filled with the first step, as `Windows` does.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass, field

import torch
from jaxtyping import Float
from torch import Tensor, nn

from volition.backbones.base import Backbone, Encoded
from volition.contract import ActionSpace
from volition.heads.base import ActionLoss, ActionOutput, Head, ReadoutFeatures
from volition.types import Batch, Loss, Target


@dataclass(frozen=True, kw_only=True)
class LSTMHeadConfig:
    hidden: int = 256
    num_layers: int = 1
    loss: ActionLoss = field(default_factory=ActionLoss)

    def build(
        self, backbone: Backbone, space: ActionSpace, *, num_obs_steps: int, horizon: int, state_dim: int
    ) -> Head:
        return LSTMHead(self, backbone, space, num_obs_steps, horizon, state_dim)


class LSTMHead(Head):
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
        self.config, self.space, self.num_obs_steps = config, space, num_obs_steps
        self.features = ReadoutFeatures(backbone.num_readouts, backbone.width, state_dim)
        self.lstm = nn.LSTM(self.features.width, config.hidden, config.num_layers, batch_first=True)
        # The step's own features go past the LSTM as well: what is seen now need not squeeze through its gates.
        self.output = ActionOutput(self.features.width + config.hidden, config.hidden, space, horizon)

    def loss(self, encoded: Encoded, batch: Batch, target: Target) -> Loss:
        continuous, logits = self._run(self.features(encoded, batch))
        return self.config.loss(continuous, logits, target, self.space)

    def start(self) -> None:
        """Nothing seen yet: the first step fills the window."""

    def predict(
        self, encoded: Encoded, batch: Batch, states: Sequence[Tensor | None]
    ) -> tuple[Float[Tensor, "B H A"], list[Tensor | None]]:
        new = self.features(encoded, batch)  # [B, 1, F]
        windows = [
            now.expand(self.num_obs_steps, -1) if seen is None else torch.cat([seen[1:], now])
            for seen, now in zip(states, new)
        ]
        continuous, logits = self._run(torch.stack(windows))
        return self.output.assemble(continuous[:, -1], logits[:, -1]), list(windows)

    def _run(self, features: Float[Tensor, "B T F"]) -> tuple[Float[Tensor, "B T H C"], Float[Tensor, "B T H G"]]:
        history, _ = self.lstm(features)
        return self.output(torch.cat([features, history], dim=-1))
