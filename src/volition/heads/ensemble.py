"""Several heads of any kinds on one pass of the VLM: their actions are averaged, or fused by learned weights."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass, field
from typing import Any, Literal

import torch
from jaxtyping import Float
from torch import Tensor

from volition.backbones.base import Backbone, Encoded
from volition.contract import ActionSpace
from volition.heads.base import ActionLoss, Head, HeadConfig, ReadoutFeatures, assemble, is_high
from volition.heads.gate import GateHead
from volition.heads.gpt2 import GPT2HeadConfig
from volition.heads.members import MembersHead, average, build_members, disagreement
from volition.heads.mlp import MLPHeadConfig
from volition.types import Batch, Loss, Target


@dataclass(frozen=True, kw_only=True)
class EnsembleHeadConfig:
    members: tuple[HeadConfig, ...] = (MLPHeadConfig(), GPT2HeadConfig())
    fusion: Literal["mean", "learned"] = "mean"  # "learned": weights from the features, for every action dimension
    hidden: int = 128  # of the learned fusion
    loss: ActionLoss = field(default_factory=ActionLoss)  # of the learned fusion's answer; members have their own

    def build(
        self, backbone: Backbone, space: ActionSpace, *, num_obs_steps: int, horizon: int, state_dim: int
    ) -> Head:
        members = build_members(
            self.members, backbone, space, num_obs_steps=num_obs_steps, horizon=horizon, state_dim=state_dim
        )
        if self.fusion == "mean":
            return EnsembleHead(members, space)
        features = ReadoutFeatures(backbone.num_readouts, backbone.width, state_dim)
        return GateHead(members, features, space, self.loss, hidden=self.hidden, num_weights=space.dim, pick=False)


class EnsembleHead(MembersHead):
    """Members learn each for itself; acting takes their mean, and their majority in binary dimensions (a tie is low).

    `predict_with_disagreement` tells how far they are apart.
    """

    def loss(self, encoded: Encoded, batch: Batch, target: Target) -> Loss:
        return average([member.loss(encoded, batch, target) for member in self.members])

    def predict_with_disagreement(
        self, encoded: Encoded, batch: Batch, states: Sequence[tuple[Any, ...]]
    ) -> tuple[Float[Tensor, "B H A"], list[tuple[Any, ...]], Float[Tensor, "B H A"]]:
        answers = [member.predict(encoded, batch, own) for member, own in zip(self.members, zip(*states))]
        chunks, after = zip(*answers)
        mean = torch.stack(chunks).mean(dim=0)
        votes = is_high(mean, self.space).float() - 0.5
        chunk = assemble(mean[..., list(self.space.continuous)], votes, self.space)
        return chunk, list(zip(*after)), disagreement(chunks)
