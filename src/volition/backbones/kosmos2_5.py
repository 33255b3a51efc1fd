"""Kosmos-2.5: as Kosmos-2, with a tower that reads flat patches, each with its row and column in front."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any

import torch
from jaxtyping import Float
from torch import Tensor
from torch.nn import functional as F

from volition.backbones.images import patches
from volition.backbones.kosmos2 import Kosmos2

PATCH = 16  # pixels; the family's processor fixes it, the config does not name it


def flattened_patches(pictures: Float[Tensor, "N 3 H W"], side: int) -> Float[Tensor, "N P F"]:
    """(row, column, pixels) of every patch, rows and columns from 1; each picture has mean 0 and deviation 1."""
    flat = pictures.flatten(1)
    least = flat.shape[1] ** -0.5
    spread = flat.std(1, unbiased=False).clamp(min=least)[:, None, None, None]
    cut = patches((pictures - flat.mean(1)[:, None, None, None]) / spread, side).flatten(3)
    rows, columns = (torch.arange(1, n + 1, device=cut.device, dtype=cut.dtype) for n in cut.shape[1:3])
    where = torch.stack(torch.meshgrid(rows, columns, indexing="ij"), dim=-1)
    return torch.cat([where.expand(len(cut), -1, -1, -1), cut], dim=-1).flatten(1, 2)


class Kosmos25(Kosmos2):
    any_size = True

    def pixels(self, cameras: Sequence[Float[Tensor, "N 3 H W"]]) -> dict[str, Tensor]:
        return {"flattened_patches": flattened_patches(torch.stack(list(cameras), dim=1).flatten(0, 1), PATCH)}

    def see(self, model: Any, inputs: dict[str, Tensor]) -> Float[Tensor, "n Q D"]:
        seen = model.vision_model(flattened_patches=inputs["flattened_patches"]).last_hidden_state
        return model.image_to_text_projection(F.normalize(seen, dim=-1))[0]
