"""Camera pictures on tensors: uint8 -> augmented -> resized -> normalised, batched, on whatever device they are on."""

from __future__ import annotations

from dataclasses import dataclass

import torch
import torch.nn.functional as F
from jaxtyping import Float, UInt8
from torch import Tensor


def normalise(images: UInt8[Tensor, "N h w 3"], size: tuple[int, int]) -> Float[Tensor, "N 3 H W"]:
    """Channels first, bilinear with antialiasing to `size`, in [-1, 1] (mean 0.5 and std 0.5, as SigLIP)."""
    pixels = images.permute(0, 3, 1, 2).float() / 127.5 - 1
    if pixels.shape[-2:] != size:
        pixels = F.interpolate(pixels, size=size, mode="bilinear", antialias=True, align_corners=False)
    return pixels.contiguous()


@dataclass(frozen=True, kw_only=True)
class Augmentation:
    """Random shift and colour; one draw per window and camera, so that motion inside a window stays true."""

    shift: float = 0.0  # at most this share of the picture's height and width, edge pixels repeated
    brightness: float = 0.0  # added, share of the full range
    contrast: float = 0.0  # factor in 1 +- contrast, about the picture's mean
    colour: float = 0.0  # one factor a channel in 1 +- colour

    def __call__(self, images: dict[str, Tensor], generator: torch.Generator) -> dict[str, Tensor]:
        """camera -> uint8[B, T, h, w, 3], to the same. `generator` lives on the CPU: equal seeds, equal draws."""
        return {camera: self._colour(self._shift(x, generator), generator) for camera, x in images.items()}

    def _shift(self, x: Tensor, generator: torch.Generator) -> Tensor:
        if not self.shift:
            return x
        batch, _, height, width, _ = x.shape
        reach = torch.tensor([round(self.shift * height), round(self.shift * width)])
        offsets = torch.floor(torch.rand(batch, 2, generator=generator) * (2 * reach + 1)).long() - reach
        rows = (torch.arange(height) + offsets[:, :1]).clamp(0, height - 1).to(x.device)
        columns = (torch.arange(width) + offsets[:, 1:]).clamp(0, width - 1).to(x.device)
        return torch.stack([w[:, r][:, :, c] for w, r, c in zip(x, rows, columns)])

    def _colour(self, x: Tensor, generator: torch.Generator) -> Tensor:
        if not (self.brightness or self.contrast or self.colour):
            return x

        def draw(channels: int, reach: float) -> Tensor:
            sample = (2 * torch.rand(len(x), 1, 1, 1, channels, generator=generator) - 1) * reach
            return sample.to(x.device)

        pixels = x.float()
        mean = pixels.mean(dim=(1, 2, 3, 4), keepdim=True)
        pixels = (pixels - mean) * (1 + draw(1, self.contrast)) * (1 + draw(3, self.colour)) + mean
        return (pixels + 255 * draw(1, self.brightness)).clamp(0, 255).to(torch.uint8)
