"""Families whose words look at pictures across, in layers of their own: Mllama (Llama 3.2 Vision) and Idefics 1.

A picture is one mark in the prompt; a mask says which words see which picture.
"""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any

import torch
from jaxtyping import Bool, Float, Int
from torch import Tensor

from volition.backbones.rereading import Rereading


def pictures_before(is_image: Bool[Tensor, "N L"]) -> Int[Tensor, "N L"]:
    """How many pictures have been named up to each token."""
    return is_image.long().cumsum(1)


class Mllama(Rereading):
    def count(self, model: Any) -> int:
        return 1

    def prompt(self, instruction: str, num_images: int) -> list[int]:
        """As its own processor has it: pictures come before the mark of the beginning."""
        return [*self.shown(num_images), *self.beginning(), *self.words(instruction)]

    def pixels(self, cameras: Sequence[Float[Tensor, "N 3 H W"]]) -> dict[str, Tensor]:
        """Every picture is one tile; the other tiles that the model has room for are empty and masked."""
        pictures = torch.stack(list(cameras), dim=1)
        tiles = self.config.vision_config.max_num_tiles
        room = pictures.new_zeros(*pictures.shape[:2], tiles, *pictures.shape[2:])
        one = torch.zeros(*pictures.shape[:2], tiles, dtype=torch.long, device=pictures.device)
        one[..., 0] = 1
        return {
            "pixel_values": torch.cat([pictures[:, :, None], room[:, :, 1:]], dim=2),
            "aspect_ratio_ids": torch.ones_like(one[..., 0]),
            "aspect_ratio_mask": one,
        }

    def arguments(self, model: Any, inputs: dict[str, Tensor]) -> dict[str, Any]:
        """A word sees the pictures that were named last, all of them if their marks stood side by side."""
        is_image = inputs["input_ids"] == self.image_token_id
        begins = is_image & ~torch.nn.functional.pad(is_image, (1, -1))
        group, seen = begins.long().cumsum(1), pictures_before(is_image)
        group_of_picture = group[is_image].view(len(is_image), -1)
        number = torch.arange(1, group_of_picture.shape[1] + 1, device=seen.device)
        sees = (group[:, :, None] == group_of_picture[:, None]) & (seen[:, :, None] >= number)
        tile = torch.zeros(self.config.vision_config.max_num_tiles, device=seen.device)
        tile[0] = 1
        return inputs | {"cross_attention_mask": sees[..., None] * tile}


class Idefics(Rereading):
    image_token = "<image>"
    before = ("<fake_token_around_image>",)
    after = ("<fake_token_around_image>",)

    def count(self, model: Any) -> int:
        return 1

    def pixels(self, cameras: Sequence[Float[Tensor, "N 3 H W"]]) -> dict[str, Tensor]:
        return {"pixel_values": torch.stack(list(cameras), dim=1)}

    def arguments(self, model: Any, inputs: dict[str, Tensor]) -> dict[str, Any]:
        """A word sees the one picture that was named last, as in Flamingo."""
        seen = pictures_before(inputs["input_ids"] == self.image_token_id)
        number = torch.arange(1, inputs["pixel_values"].shape[1] + 1, device=seen.device)
        return inputs | {"image_attention_mask": (seen[:, :, None] == number).long()}
