"""MiniCPM-V: the patches of all pictures lie side by side in one strip."""

from __future__ import annotations

from collections.abc import Sequence

import torch
from jaxtyping import Float
from torch import Tensor

from volition.backbones.adapter import Adapter, token_id


class MiniCPM(Adapter):
    any_size = True
    merge = 4  # by twos within the tower, and again behind it

    def marks(self, count: int) -> list[int]:
        """Its tokenizer names the marks around a picture."""
        around = (getattr(self.tokenizer, f"image_{end}_token", None) for end in ("start", "end"))
        before, after = ([token_id(self.tokenizer, mark)] if mark else [] for mark in around)
        return [*before, *[self.image_token_id] * count, *after]

    def pixels(self, cameras: Sequence[Float[Tensor, "N 3 H W"]]) -> dict[str, Tensor]:
        side = self.config.vision_config.patch_size
        pictures = torch.stack(list(cameras), dim=1).flatten(0, 1)
        blocks = pictures.unflatten(3, (-1, side)).unflatten(2, (-1, side))  # n 3 R p C p
        grid = [blocks.shape[2], blocks.shape[4]]
        return {
            "pixel_values": blocks.permute(1, 3, 0, 2, 4, 5).flatten(2)[None],
            "target_sizes": torch.tensor([grid] * len(pictures), device=pictures.device, dtype=torch.int32),
        }
