"""Families whose tower takes pictures of any size and is told it: Mistral 3 with Pixtral's, LightOnOCR."""

from __future__ import annotations

from collections.abc import Sequence

import torch
from jaxtyping import Float
from torch import Tensor

from volition.backbones.adapter import Adapter


class Sized(Adapter):
    any_size = True

    def pixels(self, cameras: Sequence[Float[Tensor, "N 3 H W"]]) -> dict[str, Tensor]:
        pictures = super().pixels(cameras)["pixel_values"]
        size = [*pictures.shape[-2:]]
        return {"pixel_values": pictures, "image_sizes": torch.tensor([size] * len(pictures), device=pictures.device)}


class Mistral3(Sized):
    row_end = "[IMG_BREAK]"
    after = ("[IMG_END]",)
