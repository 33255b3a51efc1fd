"""Matrix products in float8, for GPUs that have them: a byte a weight, and what it is multiplied with as it comes.

    x [N, K] --scale of each row--> float8 ─┐
                                            ├ product --both scales--> bfloat16 [N, O]
    weight [O, K] --scale of each row--> float8 ─┘

Each row of x has a scale of its own, so a robot's answer does not depend on who shares its call. Where sizes are no
multiples of 16, which GPUs want, and in modules that are more than a plain product, weights stay as they are.
"""

from __future__ import annotations

from copy import deepcopy
from typing import TypeVar

import torch
from jaxtyping import Float
from torch import Tensor, nn

KIND = torch.float8_e4m3fn
LARGEST = torch.finfo(KIND).max
MULTIPLE = 16
CAPABILITY = (8, 9)  # of the first NVIDIA GPUs with such products

Module = TypeVar("Module", bound=nn.Module)


class Float8Linear(nn.Module):
    """In place of a `Linear`; only to act."""

    weight: Tensor
    scale: Tensor

    def __init__(self, linear: nn.Linear):
        super().__init__()
        weight, scale = to_float8(linear.weight.detach().float())
        self.register_buffer("weight", weight)
        self.register_buffer("scale", scale)
        self.bias = linear.bias

    def forward(self, x: Float[Tensor, "*n K"]) -> Float[Tensor, "*n O"]:
        rows, scale = to_float8(x.flatten(0, -2).float())
        y = torch._scaled_mm(rows, self.weight.t(), scale, self.scale.t(), out_dtype=torch.bfloat16).to(x.dtype)
        y = y if self.bias is None else y + self.bias
        return y.unflatten(0, x.shape[:-1])


def to_float8(x: Float[Tensor, "N K"]) -> tuple[Tensor, Float[Tensor, "N 1"]]:
    """Each row as float8, and what it is to be multiplied with."""
    scale = x.abs().amax(dim=1, keepdim=True).clamp(min=1e-12) / LARGEST
    return (x / scale).to(KIND), scale


def in_float8(model: Module) -> Module:
    """A copy whose plain products are in float8."""
    found = deepcopy(model)
    for module in list(found.modules()):
        for name, child in module.named_children():
            if type(child) is nn.Linear and not (child.in_features % MULTIPLE or child.out_features % MULTIPLE):
                setattr(module, name, Float8Linear(child))
    return found


def require_float8(device: str) -> None:
    """ValueError for a GPU that has no such products. A CPU has them too, slowly: enough for the proof."""
    if device != "cpu" and torch.cuda.get_device_capability(device) < CAPABILITY:
        raise ValueError(
            f"float8 needs a GPU of compute capability {CAPABILITY[0]}.{CAPABILITY[1]} or newer, and "
            f"{torch.cuda.get_device_name(device)} has less: export to onnx, or serve the checkpoint"
        )
