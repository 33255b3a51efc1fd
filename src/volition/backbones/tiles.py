"""Families that cut a picture into tiles and look at the whole as well: LLaVA-NeXT and LLaVA-OneVision."""

from __future__ import annotations

from collections.abc import Sequence

import torch
from jaxtyping import Float
from torch import Tensor
from transformers.image_processing_utils import select_best_resolution

from volition.backbones.adapter import Adapter


class Tiles(Adapter):
    def pixels(self, cameras: Sequence[Float[Tensor, "N 3 H W"]]) -> dict[str, Tensor]:
        """The whole picture, then the tiles of the smallest canvas that it fits on, with black around it."""
        pictures = torch.stack(list(cameras), dim=1).flatten(0, 1)
        height, width = pictures.shape[-2:]
        rows, columns = select_best_resolution((height, width), self.config.image_grid_pinpoints)
        black = -torch.tensor(self.pictures.mean) / torch.tensor(self.pictures.std)
        canvas = black.to(pictures)[:, None, None].expand(len(pictures), -1, rows, columns).clone()
        top, left = (rows - height) // 2, (columns - width) // 2
        canvas[..., top : top + height, left : left + width] = pictures
        tiles = canvas.unflatten(3, (-1, width)).unflatten(2, (-1, height)).permute(0, 2, 4, 1, 3, 5).flatten(1, 2)
        sizes = torch.tensor([[height, width]] * len(pictures), device=pictures.device)
        return {"pixel_values": torch.cat([pictures[:, None], tiles], dim=1), "image_sizes": sizes}


class Whole(Adapter):
    """LLaVA-OneVision looks at each of several pictures as a whole; so does this, also at a single one."""

    def pixels(self, cameras: Sequence[Float[Tensor, "N 3 H W"]]) -> dict[str, Tensor]:
        pictures = torch.stack(list(cameras), dim=1).flatten(0, 1)
        count, size = len(pictures), [*pictures.shape[-2:]]
        return {
            "pixel_values": pictures[:, None],
            "image_sizes": torch.tensor([size] * count, device=pictures.device),
            "batch_num_images": torch.tensor([max(count, 2)], device=pictures.device),
        }
