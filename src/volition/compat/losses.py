"""The reference's losses: Huber on the arm, cross entropy on the gripper, means over the steps inside the episode.

Its mean over no valid step is NaN; here it is 0, so that one empty batch cannot end a training.
"""

from __future__ import annotations

from dataclasses import dataclass

import torch
from jaxtyping import Bool, Float
from torch import Tensor
from torch.nn import functional as F

from volition.compat.config import LossWeights


@dataclass(frozen=True, kw_only=True)
class ActionLosses:
    """Unweighted. `gripper_accuracy` is the share of right open or closed."""

    arm: Float[Tensor, ""]
    gripper: Float[Tensor, ""]
    gripper_accuracy: Float[Tensor, ""]

    def total(self, gripper_weight: float = 0.01) -> Float[Tensor, ""]:
        return self.arm + gripper_weight * self.gripper


def action_losses(
    arm: Float[Tensor, "B T H C"],
    gripper: Float[Tensor, "B T H 1"],
    label_arm: Float[Tensor, "B T H C"],
    label_gripper: Float[Tensor, "B T H"],
    mask: Bool[Tensor, "B T H"] | None = None,
) -> ActionLosses:
    """`gripper` are logits, `label_gripper` 1 for open and 0 for closed; no mask: every step is valid."""
    valid = torch.ones_like(label_gripper, dtype=torch.bool) if mask is None else mask
    logits = gripper[..., 0]
    bce = F.binary_cross_entropy_with_logits(logits, label_gripper, reduction="none")
    right = (logits > 0) == (label_gripper > 0.5)
    return ActionLosses(
        arm=_mean(F.huber_loss(arm, label_arm, reduction="none").mean(-1), valid),
        gripper=_mean(bce, valid),
        gripper_accuracy=_mean(right.float(), valid).detach(),
    )


def mixed(
    weights: LossWeights,
    *,
    arm: Float[Tensor, ""] | None = None,
    gripper: Float[Tensor, ""] | None = None,
    caption: Float[Tensor, ""] | None = None,
    discrete: bool = False,
) -> Float[Tensor, ""]:
    """The trainer's weighed sum of the parts that a batch has; captions count ten times as much beside words."""
    caption_weight = weights.vl_cotrain_ratio * (10 if discrete else 1)
    parts = ((arm, 1.0), (gripper, weights.arm_gripper_loss_ratio), (caption, caption_weight))
    given = [weight * part for part, weight in parts if part is not None]
    if not given:
        raise ValueError("a batch must have actions or captions, got neither")
    return torch.stack(given).sum()


def _mean(error: Float[Tensor, "B T H"], valid: Bool[Tensor, "B T H"]) -> Float[Tensor, ""]:
    return (error * valid).sum() / valid.sum().clamp(min=1)
