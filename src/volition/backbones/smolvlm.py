"""SmolVLM and Idefics3: all pictures of a row in one tensor with an axis of its own."""

from __future__ import annotations

from collections.abc import Sequence

import torch
from jaxtyping import Float
from torch import Tensor

from volition.backbones.base import Adapter


class SmolVLM(Adapter):
    def pixels(self, cameras: Sequence[Float[Tensor, "N 3 H W"]]) -> dict[str, Tensor]:
        return {"pixel_values": torch.stack(list(cameras), dim=1)}
