"""What the VLM computes in, and float16's guard against gradients that are too small for it.

Weights, gradients and moments stay in float32; only the backbone's forward and backward run in the type that is asked
for (autocast). Heads compute in float32.
"""

from __future__ import annotations

from dataclasses import dataclass
from typing import Literal

import torch
from torch import Tensor

from volition.backbones import Backbone

# "backbone": as the backbone's own config says.
Precision = Literal["backbone", "float32", "bfloat16", "float16"]
_AUTOCAST = {"float32": None, "bfloat16": torch.bfloat16, "float16": torch.float16}


def set_precision(backbone: Backbone, precision: Precision) -> None:
    """In training and in acting alike."""
    if precision != "backbone":
        backbone.autocast = _AUTOCAST[precision]


@dataclass(kw_only=True)
class LossScale:
    """The factor on the loss before its backward pass: halved where gradients overflow, doubled when long none did.

    torch's GradScaler asks every rank for itself whether its gradients are finite; this one is told the norm of all of
    them, so that ranks that hold pieces of the weights agree. Its state is two numbers, for the checkpoint.
    """

    factor: float = 1.0
    finite_steps: int = 0  # since the factor last changed
    patience: int = 2000
    active: bool = False

    @classmethod
    def of(cls, backbone: Backbone) -> LossScale:
        needed = backbone.autocast == torch.float16
        return cls(factor=2.0**16 if needed else 1.0, active=needed)

    def admits(self, grad_norm: Tensor) -> bool:
        """Whether the step may be taken; call once a step. ValueError when no factor is small enough."""
        if not self.active:
            return True
        if bool(torch.isfinite(grad_norm)):
            self.finite_steps += 1
            if self.finite_steps == self.patience:
                self.factor, self.finite_steps = self.factor * 2, 0
            return True
        self.factor, self.finite_steps = self.factor / 2, 0
        if self.factor < 2.0**-14:
            raise ValueError(
                "gradients overflow float16 whatever the loss is scaled by: train with bfloat16 or float32"
            )
        return False
