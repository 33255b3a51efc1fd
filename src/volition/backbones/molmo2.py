"""Molmo2: patches of a picture are pooled by twos, and it is told which."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any

import torch
from jaxtyping import Float, Int
from torch import Tensor
from torch.nn import functional as F

from volition.backbones.adapter import Adapter, token_id
from volition.backbones.flat import flat_patches

POOLED = 2  # patches on a side that become one token
ROW_END = "<im_col>"


class Molmo2(Adapter):
    """Every picture whole and small; the close-ups that it was trained with as well are left out.

    All pictures of a row are read in both directions, unless the row is to be read from left to right.
    """

    readout_values = {"mm_token_type_ids": 1}  # noqa: RUF012  # 1: read from left to right
    image_types = ()

    def beginning(self) -> list[int]:
        start = self.tokenizer.bos_token_id
        return [self.tokenizer.eos_token_id if start is None else start]

    def marks(self, count: int) -> list[int]:
        rows, columns = (-(-side // POOLED) for side in self.grid())
        row = [*[self.image_token_id] * columns, token_id(self.tokenizer, ROW_END)]
        return [self.config.low_res_image_start_token_id, *row * rows, self.config.image_end_token_id]

    def grid(self) -> tuple[int, int]:
        """Rows and columns of patches."""
        side = self.config.vision_config.patch_size
        return self.pictures.size[0] // side, self.pictures.size[1] // side

    def pixels(self, cameras: Sequence[Float[Tensor, "N 3 H W"]]) -> dict[str, Tensor]:
        flat = flat_patches(cameras, self.config.vision_config.patch_size).flatten(1, 2)
        pooled = pooled_patches(*self.grid()).to(flat.device)
        number = torch.arange(len(flat), device=flat.device)[:, None, None] * flat.shape[1]
        rows, columns = (-(-side // POOLED) for side in self.grid())
        return {
            "pixel_values": flat,
            "image_token_pooling": torch.where(pooled < 0, -1, pooled + number).flatten(0, 1),
            "image_grids": torch.tensor([[rows, columns, 0, 0]] * len(flat), device=flat.device),
        }

    def arguments(self, model: Any, inputs: dict[str, Tensor]) -> dict[str, Any]:
        shown = (inputs["input_ids"] == self.image_token_id) & (inputs["mm_token_type_ids"] == 0)
        return inputs | {"mm_token_type_ids": shown.long()}


def pooled_patches(rows: int, columns: int) -> Int[Tensor, "M P"]:
    """Which patches become one token, row by row; -1 where the grid, padded evenly around it, has none."""
    below, right = (-side % POOLED for side in (rows, columns))
    places = torch.arange(rows * columns).view(rows, columns)
    padded = F.pad(places, (right // 2, right - right // 2, below // 2, below - below // 2), value=-1)
    return padded.unflatten(1, (-1, POOLED)).unflatten(0, (-1, POOLED)).permute(0, 2, 1, 3).flatten(0, 1).flatten(1)
