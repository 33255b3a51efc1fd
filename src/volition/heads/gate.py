"""Dynamic selection: several heads answer from one pass of the VLM, and at every step a gate weighs or picks.

The gate reads the same [LRN] features as its members. Everything is trained together: the mixed answer is scored, and
so is every member's own, so that a member that is picked rarely still learns.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass, field
from typing import Any, Literal

import torch
import torch.nn.functional as F
from jaxtyping import Float
from torch import Tensor, nn

from volition.backbones.base import Backbone, Encoded
from volition.contract import ActionSpace
from volition.heads.base import ActionLoss, Head, HeadConfig, ReadoutFeatures, assemble
from volition.heads.gpt2 import GPT2HeadConfig
from volition.heads.members import MembersHead, average, build_members, disagreement
from volition.heads.mlp import MLPHeadConfig
from volition.heads.regression import RegressionHead
from volition.types import Batch, Loss, Target


@dataclass(frozen=True, kw_only=True)
class GateHeadConfig:
    members: tuple[HeadConfig, ...] = (MLPHeadConfig(), GPT2HeadConfig())  # heads that regress their actions
    choice: Literal["weigh", "pick"] = "weigh"  # "pick": the likeliest member alone; its gradient is the weighing's
    hidden: int = 128
    loss: ActionLoss = field(default_factory=ActionLoss)  # of the mixed answer; members have their own

    def build(
        self, backbone: Backbone, space: ActionSpace, *, num_obs_steps: int, horizon: int, state_dim: int
    ) -> Head:
        members = build_members(
            self.members, backbone, space, num_obs_steps=num_obs_steps, horizon=horizon, state_dim=state_dim
        )
        features = ReadoutFeatures(backbone.num_readouts, backbone.width, state_dim)
        pick = self.choice == "pick"
        return GateHead(members, features, space, self.loss, hidden=self.hidden, num_weights=1, pick=pick)


class GateHead(MembersHead):
    """`num_weights`: 1, or one for every action dimension, in the order continuous, binary."""

    members: Sequence[RegressionHead]

    def __init__(
        self,
        members: Sequence[Head],
        features: ReadoutFeatures,
        space: ActionSpace,
        action_loss: ActionLoss,
        *,
        hidden: int,
        num_weights: int,
        pick: bool,
    ):
        super().__init__(members, space)
        for i, member in enumerate(members):
            if not isinstance(member, RegressionHead):
                raise ValueError(
                    f"members of a gate or a learned fusion must regress their actions, as MLP, LSTM and GPT-2 heads "
                    f"do; member {i} is a {type(member).__name__}: average it in an ensemble with fusion='mean'"
                )
        self.features, self.action_loss, self.pick = features, action_loss, pick
        self.gate = nn.Sequential(
            nn.Linear(features.width, hidden), nn.GELU(), nn.Linear(hidden, len(members) * num_weights)
        )

    def loss(self, encoded: Encoded, batch: Batch, target: Target) -> Loss:
        answers = [member.outputs(encoded, batch) for member in self.members]
        weights = self.weights(encoded, batch)
        mixed = self.action_loss(*self._mix(answers, weights), target, self.space)
        own = average([m.action_loss(*answer, target, self.space) for m, answer in zip(self.members, answers)])
        shares = weights.detach().mean(dim=(0, 1, 3))
        metrics = mixed.metrics | own.metrics | {f"member{i}_weight": share for i, share in enumerate(shares)}
        terms = (*mixed.terms, *own.terms)
        return Loss.of(terms, {name: x for name, x in metrics.items() if name not in {term.name for term in terms}})

    def counts(self, target: Target) -> dict[str, Tensor]:
        return super().counts(target) | self.action_loss.counts(target, self.space)

    def predict_with_disagreement(
        self, encoded: Encoded, batch: Batch, states: Sequence[tuple[Any, ...]]
    ) -> tuple[Float[Tensor, "B H A"], list[tuple[Any, ...]], Float[Tensor, "B H A"]]:
        answers, after = [], []
        for member, own in zip(self.members, zip(*states)):
            continuous, logits, next_own = member.outputs_now(encoded, batch, own)
            answers.append((continuous[:, None], logits[:, None]))
            after.append(next_own)
        continuous, logits = self._mix(answers, self.weights(encoded, batch))
        chunks = [assemble(c[:, 0], g[:, 0], self.space) for c, g in answers]
        return assemble(continuous[:, 0], logits[:, 0], self.space), list(zip(*after)), disagreement(chunks)

    def weights(self, encoded: Encoded, batch: Batch) -> Float[Tensor, "B T M W"]:
        """Each member's share in every step's answer; they sum to 1 over M."""
        soft = self.gate(self.features(encoded, batch)).unflatten(-1, (len(self.members), -1)).softmax(-2)
        if not self.pick:
            return soft
        one = F.one_hot(soft[..., 0].argmax(-1), len(self.members)).to(soft.dtype)[..., None]
        return one + (soft - soft.detach())  # straight-through: the value of one, the gradient of the other

    def _mix(
        self, answers: Sequence[tuple[Tensor, Tensor]], weights: Float[Tensor, "B T M W"]
    ) -> tuple[Float[Tensor, "B T H C"], Float[Tensor, "B T H G"]]:
        joined = torch.stack([torch.cat(answer, dim=-1) for answer in answers], dim=2)  # [B, T, M, H, C + G]
        mixed = (weights[..., None, :] * joined).sum(2)
        continuous, logits = mixed.split([len(self.space.continuous), len(self.space.binary)], dim=-1)
        return continuous, logits
