"""Families that take pictures as flat patches, each in its own way: LFM2-VL, Fuyu, Gemma 4."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any

import torch
from jaxtyping import Float
from torch import Tensor

from volition.backbones.adapter import Adapter
from volition.backbones.images import patches


def flat_patches(cameras: Sequence[Float[Tensor, "N 3 H W"]], side: int) -> Float[Tensor, "n R C F"]:
    """Of all pictures, row after row, camera after camera."""
    return patches(torch.stack(list(cameras), dim=1).flatten(0, 1), side).flatten(3)


class Lfm2(Adapter):
    any_size = True
    before = ("<|image_start|>",)
    after = ("<|image_end|>",)

    def pixels(self, cameras: Sequence[Float[Tensor, "N 3 H W"]]) -> dict[str, Tensor]:
        flat = flat_patches(cameras, self.config.vision_config.patch_size)
        count, *grid, _ = flat.shape
        return {
            "pixel_values": flat.flatten(1, 2),
            "spatial_shapes": torch.tensor([grid] * count, device=flat.device),
            "pixel_attention_mask": torch.ones(count, grid[0] * grid[1], dtype=torch.long, device=flat.device),
        }


class Fuyu(Adapter):
    """Has no tower: patches go straight into the decoder, a mark at the end of every row."""

    any_size = True
    row_end = "|NEWLINE|"
    after = ("|NEWLINE|",)

    def pixels(self, cameras: Sequence[Float[Tensor, "N 3 H W"]]) -> dict[str, Tensor]:
        flat = flat_patches(cameras, self.config.patch_size)
        return {"pixel_values": flat.flatten(0, 2)[None]}

    def count(self, model: Any) -> int:
        height, width = (side // self.config.patch_size for side in self.pictures.size)
        return height * width

    def columns(self) -> int:
        return self.pictures.size[1] // self.config.patch_size


class Gemma4(Adapter):
    any_size = True

    def pixels(self, cameras: Sequence[Float[Tensor, "N 3 H W"]]) -> dict[str, Tensor]:
        """Patches and their (column, row); the model maps [0, 1] to [-1, 1] itself."""
        flat = flat_patches(cameras, self.config.vision_config.patch_size)
        rows, columns = (torch.arange(n, device=flat.device) for n in flat.shape[1:3])
        grid = torch.stack(torch.meshgrid(columns, rows, indexing="xy"), dim=-1).flatten(0, 1)
        return {"pixel_values": flat.flatten(1, 2), "image_position_ids": grid.expand(len(flat), -1, -1)}
