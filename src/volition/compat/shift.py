"""The reference's random image shift: pad by repeating the edge, then cut the picture out again somewhere else.

It resamples on a shifted grid; every draw is a whole number of pixels, so a cut is the same and exact. What it calls
consistent within a trajectory is one draw per frame, and never 0. Ours (`backbones.images.Augmentation`) draws once
for a window.
"""

from __future__ import annotations

import torch
import torch.nn.functional as F
from jaxtyping import Float, Int64
from torch import Tensor


def draw_shifts(n: int, pad: int, *, lowest: int = 0, generator: torch.Generator | None = None) -> Int64[Tensor, "n 2"]:
    """(x, y) in lowest..2 * pad for each picture: where the cut begins in the padded one, `pad` being no shift."""
    return torch.randint(lowest, 2 * pad + 1, (n, 1, 1, 2), generator=generator).reshape(n, 2)


def shift_images(images: Float[Tensor, "n c h w"], shifts: Int64[Tensor, "n 2"], pad: int) -> Float[Tensor, "n c h w"]:
    height, width = images.shape[-2:]
    padded = F.pad(images, (pad, pad, pad, pad), mode="replicate")
    return torch.stack(
        [x[:, top : top + height, left : left + width] for x, (left, top) in zip(padded, shifts.tolist())]
    )
