"""Families that are given pictures as patches, and the grid of every picture: Qwen2-VL and what followed.

Positions of picture tokens have an axis for the row and one for the column; the model's own index makes them, row by
row of the batch, so that padding does not shift them.
"""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any, ClassVar

import torch
from jaxtyping import Float
from torch import Tensor

from volition.backbones.adapter import Adapter
from volition.backbones.images import Pictures


class Grids(Adapter):
    any_size = True
    merged: ClassVar[bool] = True  # patches that become one token stand together; else as they lie in the picture
    # Of the numbers of a patch, which come first: 0 colours, 1 frames, 2 rows, 3 columns.
    inside: ClassVar[tuple[int, ...]] = (0, 1, 2, 3)

    def pixels(self, cameras: Sequence[Float[Tensor, "N 3 H W"]]) -> dict[str, Tensor]:
        """Patches of all pictures. A still picture is a film of equal frames, as many as make one patch."""
        vision = self.config.vision_config
        side, frames = vision.patch_size, getattr(vision, "temporal_patch_size", getattr(vision, "patch_temporal", 1))
        merge = getattr(vision, "spatial_merge_size", getattr(vision, "merge_size", 1)) if self.merged else 1
        pictures = torch.stack(list(cameras), dim=1).flatten(0, 1)
        blocks = pictures.unflatten(3, (-1, merge, side)).unflatten(2, (-1, merge, side))  # N 3 R m p C m p
        patches = blocks.permute(0, 2, 5, 3, 6, 1, 4, 7).flatten(0, 4)  # N R C m m, 3 p p
        film = patches.unsqueeze(2).expand(-1, -1, frames, -1, -1)
        grid = [1, pictures.shape[2] // side, pictures.shape[3] // side]
        return {
            "pixel_values": film.permute(0, *(1 + axis for axis in self.inside)).flatten(1),
            "image_grid_thw": torch.tensor([grid] * len(pictures), device=pictures.device),
        }


class TurnedGrids(Grids):
    """With positions in rows and columns, of which a picture uses up fewer than it has tokens."""

    streams = False  # where a step begins depends on the pictures before it, and kept keys and values don't say

    def __init__(self, tokenizer: Any, model: Any, *, pictures: Pictures, num_readouts: int = 1):
        super().__init__(tokenizer, model, pictures=pictures, num_readouts=num_readouts)
        ids = torch.tensor([[*self.picture_ids, 0]])
        grid = self.pixels([torch.zeros(1, 3, *pictures.size)])["image_grid_thw"]
        types = (ids == self.image_token_id).long()
        index = model.base_model.get_rope_index(ids, mm_token_type_ids=types, image_grid_thw=grid)[0]
        self.num_axes = len(index)
        self.saved = len(self.picture_ids) - int(index[..., -1].max())

    def hidden(self, model: Any, inputs: dict[str, Tensor], cache: Any | None = None) -> Float[Tensor, "N L D"]:
        """What comes after kept keys and values is words only; the model's own memory of positions is not relied on."""
        ids = inputs["input_ids"]
        if cache is not None and cache.is_initialized:
            place = cache.get_seq_length() + torch.arange(ids.shape[1], device=ids.device) - cache.saved_positions
            inputs = inputs | {"position_ids": place.expand(self.num_axes, -1, -1)}
        elif cache is not None:
            pictures = (ids == self.image_token_id).sum(1, keepdim=True) // self.picture_ids.count(self.image_token_id)
            cache.saved_positions = pictures * self.saved  # how much less than its place is a later word's position
        return super().hidden(model, inputs, cache)


class RowByRow(TurnedGrids):
    """HunYuan's index numbers pictures across the rows of a batch: so it is asked about every row alone."""

    merged = False

    def arguments(self, model: Any, inputs: dict[str, Tensor]) -> dict[str, Any]:
        given = super().arguments(model, inputs)
        if "image_grid_thw" not in given:
            return given
        grids = given["image_grid_thw"].unflatten(0, (len(given["input_ids"]), -1))
        rows = [
            model.base_model.get_rope_index(
                ids[None], mm_token_type_ids=types[None], image_grid_thw=grid, attention_mask=mask[None]
            )[0]
            for ids, types, grid, mask in zip(
                given["input_ids"], given["mm_token_type_ids"], grids, given["attention_mask"]
            )
        ]
        return given | {"position_ids": torch.cat(rows, dim=1)}


class SquareGrids(Grids):
    """Kimi's and PaddleOCR's towers convolve: a patch is a small picture."""

    merged = False

    def pixels(self, cameras: Sequence[Float[Tensor, "N 3 H W"]]) -> dict[str, Tensor]:
        flat = super().pixels(cameras)
        side = self.config.vision_config.patch_size
        return flat | {"pixel_values": flat["pixel_values"].unflatten(1, (3, side, side))}


class TurnedSquareGrids(TurnedGrids, SquareGrids):
    """PaddleOCR's."""


class FramesFirst(Grids):
    """Muse Glimmer's."""

    merged = False
    inside = (1, 0, 2, 3)


class ColoursLast(TurnedGrids):
    """Cosmos 3 Edge's."""

    inside = (2, 3, 0, 1)


class VideoLlama3(Grids):
    def pixels(self, cameras: Sequence[Float[Tensor, "N 3 H W"]]) -> dict[str, Tensor]:
        flat = super().pixels(cameras)
        return flat | {"image_merge_sizes": torch.ones_like(flat["image_grid_thw"][:, 0])}
