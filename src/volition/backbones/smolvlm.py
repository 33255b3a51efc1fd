"""Families whose pictures stand in one tensor with an axis for the pictures of a row: SmolVLM, Idefics 2 and 3."""

from __future__ import annotations

from collections.abc import Sequence

import torch
from jaxtyping import Float
from torch import Tensor

from volition.backbones.adapter import Adapter


class SmolVLM(Adapter):
    def pixels(self, cameras: Sequence[Float[Tensor, "N 3 H W"]]) -> dict[str, Tensor]:
        return {"pixel_values": torch.stack(list(cameras), dim=1)}


class Idefics2(SmolVLM):
    before = ("<fake_token_around_image>",)
    after = ("<fake_token_around_image>",)


class Idefics3(SmolVLM):
    """And SmolVLM as it was trained: a picture in one piece is its own overview."""

    before = ("<fake_token_around_image>", "<global-img>")
    after = ("<fake_token_around_image>",)
