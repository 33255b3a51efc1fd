"""Camera pictures on tensors: uint8 -> augmented -> resized -> normalised, batched, on whatever device they are on."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import Any

import torch
import torch.nn.functional as F
from jaxtyping import Float, UInt8
from torch import Tensor

SHARP = (1, 3)  # the numbers that image processors (and PIL) give Lanczos' and the bicubic filter


@dataclass(frozen=True, kw_only=True)
class Pictures:
    """How a vision tower wants its pictures. The default numbers are SigLIP's: [-1, 1]."""

    size: tuple[int, int]  # height, width
    mean: tuple[float, ...] = (0.5, 0.5, 0.5)
    std: tuple[float, ...] = (0.5, 0.5, 0.5)
    bicubic: bool = False  # else bilinear

    @classmethod
    def of(cls, preprocessor: Mapping[str, Any], size: tuple[int, int]) -> Pictures:
        """From a model's `preprocessor_config.json`; what it does not name has the numbers of SigLIP."""
        mean, std = (preprocessor.get(name, 0.5) for name in ("image_mean", "image_std"))
        if preprocessor.get("do_normalize") is False:
            mean, std = 0.0, 1.0
        return cls(size=size, mean=_three(mean), std=_three(std), bicubic=preprocessor.get("resample") in SHARP)


def _three(numbers: float | Sequence[float]) -> tuple[float, ...]:
    """One number for every colour, if it is not three already."""
    return tuple(numbers) if isinstance(numbers, Sequence) else (numbers,) * 3


def normalise(images: UInt8[Tensor, "N h w 3"], pictures: Pictures) -> Float[Tensor, "N 3 H W"]:
    """Channels first, resized with antialiasing, `mean` and `std` of the range [0, 1] taken out.

    The whole picture is kept, squeezed if its shape is another: nothing that a robot's camera sees is cropped. Within
    two of 256 levels of what an image processor of the same filter gives.
    """
    resized = fit(images, pictures).permute(0, 3, 1, 2)
    mean, std = (torch.tensor(x, device=images.device)[:, None, None] for x in (pictures.mean, pictures.std))
    pixels = resized.to(torch.float32, memory_format=torch.contiguous_format)
    return pixels.div_(255 * std).sub_(mean / std)


def fit(images: UInt8[Tensor, "N h w 3"], pictures: Pictures) -> UInt8[Tensor, "N H W 3"]:
    """Of the size that the tower wants; the very same tensor where it has it already."""
    if images.shape[1:3] == pictures.size:
        return images
    return _resized(images, pictures.size, bicubic=pictures.bicubic).permute(0, 2, 3, 1)


def _resized(images: UInt8[Tensor, "N h w 3"], size: tuple[int, int], *, bicubic: bool) -> UInt8[Tensor, "N 3 H W"]:
    """Antialiased and rounded to whole numbers, as image processors do; devices without such a kernel round after."""
    pixels, whole = images.permute(0, 3, 1, 2), images.device.type == "cpu"
    mode = "bicubic" if bicubic else "bilinear"
    pixels = F.interpolate(pixels if whole else pixels.float(), size, mode=mode, antialias=True, align_corners=False)
    return pixels if whole else pixels.round().clamp(0, 255).to(torch.uint8)  # the bicubic filter overshoots at edges


def patches(pictures: Float[Tensor, "N 3 H W"], side: int) -> Float[Tensor, "N R C side side 3"]:
    """Squares of `side` pixels in rows and columns, channels last."""
    return pictures.unflatten(3, (-1, side)).unflatten(2, (-1, side)).permute(0, 2, 4, 3, 5, 1)


@dataclass(frozen=True)
class Draw:
    """Uniform numbers for the windows `first`, `first + every`, ... of a batch, the same as when all are drawn for."""

    generator: torch.Generator
    first: int
    every: int

    def __call__(self, count: int, *shape: int) -> Tensor:
        return torch.rand(count * self.every, *shape, generator=self.generator)[self.first :: self.every]


@dataclass(frozen=True, kw_only=True)
class Augmentation:
    """Random crop, shift and colour; one draw per window and camera, so that motion inside a window stays true."""

    crop: float = 0.0  # at most this share of height and width cut away, and what is left resized to the whole
    shift: float = 0.0  # at most this share of the picture's height and width, edge pixels repeated
    brightness: float = 0.0  # added, share of the full range
    contrast: float = 0.0  # factor in 1 +- contrast, about the picture's mean
    colour: float = 0.0  # one factor a channel in 1 +- colour

    def __call__(
        self, images: dict[str, Tensor], generator: torch.Generator, places: tuple[int, int] = (0, 1)
    ) -> dict[str, Tensor]:
        """camera -> uint8[B, T, h, w, 3], to the same. `generator` lives on the CPU: equal seeds, equal draws.

        places: (i, n) where these are the windows i, i + n, i + 2 n, ... of a batch: each is changed as in the whole.
        """
        draw = Draw(generator, *places)
        return {camera: self._colour(self._shift(self._crop(x, draw), draw), draw) for camera, x in images.items()}

    def _crop(self, x: Tensor, draw: Draw) -> Tensor:
        if not self.crop:
            return x
        batch, _, *size, _ = x.shape
        whole = torch.tensor(size)
        kept = (whole * (1 - self.crop * draw(batch, 1))).round().long()
        starts = torch.floor(draw(batch, 2) * (whole - kept + 1)).long()
        boxes = torch.cat([starts, starts + kept], dim=1).tolist()
        cut = (w[:, top:bottom, left:right] for w, (top, left, bottom, right) in zip(x, boxes))
        return torch.stack([_resized(w, (size[0], size[1]), bicubic=False).permute(0, 2, 3, 1) for w in cut])

    def _shift(self, x: Tensor, draw: Draw) -> Tensor:
        if not self.shift:
            return x
        batch, _, height, width, _ = x.shape
        reach = torch.tensor([round(self.shift * height), round(self.shift * width)])
        offsets = torch.floor(draw(batch, 2) * (2 * reach + 1)).long() - reach
        rows = (torch.arange(height) + offsets[:, :1]).clamp(0, height - 1).to(x.device)
        columns = (torch.arange(width) + offsets[:, 1:]).clamp(0, width - 1).to(x.device)
        return torch.stack([w[:, r][:, :, c] for w, r, c in zip(x, rows, columns)])

    def _colour(self, x: Tensor, draw: Draw) -> Tensor:
        if not (self.brightness or self.contrast or self.colour):
            return x

        def about(channels: int, reach: float) -> Tensor:
            return ((2 * draw(len(x), 1, 1, 1, channels) - 1) * reach).to(x.device)

        pixels = x.float()
        mean = pixels.mean(dim=(1, 2, 3, 4), keepdim=True)
        pixels = (pixels - mean) * (1 + about(1, self.contrast)) * (1 + about(3, self.colour)) + mean
        return (pixels + 255 * about(1, self.brightness)).clamp(0, 255).to(torch.uint8)
