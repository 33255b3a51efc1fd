"""Future image: the read-out must tell how the pictures will look some control steps later.

    loss = mean squared error (network(read-out), small(future picture) - small(present picture))

Pixels, because they need no second pass of the vision tower and cannot be made easy by a tower that learns to say
little; few of them, because a read-out is no picture; their change, because what stands still is known already.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass, replace
from typing import ClassVar

import numpy as np
import torch
import torch.nn.functional as F
from jaxtyping import Bool, Float
from torch import Tensor, nn

from volition.auxiliary.base import Auxiliary
from volition.backbones.base import Backbone, Encoded
from volition.data.transforms import Transform
from volition.heads.base import masked_mean
from volition.records import Sample
from volition.types import Target


@dataclass(frozen=True, kw_only=True)
class FutureImageConfig:
    weight: float = 0.0  # the reference's; 0 leaves it out
    steps: int = 10  # control steps ahead
    size: int = 16  # height and width of the small pictures
    hidden: int = 256

    def __post_init__(self) -> None:
        if self.steps < 1:
            raise ValueError(f"steps must be at least 1, got {self.steps}")

    def build(
        self, backbone: Backbone, *, cameras: tuple[str, ...], transforms: Transform, training: bool
    ) -> FutureImage:
        feed = FutureChange(cameras=cameras, transforms=transforms, size=self.size) if training else None
        return FutureImage(self, backbone.num_readouts * backbone.width, len(cameras), feed)


class FutureImage(Auxiliary):
    name: ClassVar[str] = "future_image"

    def __init__(self, config: FutureImageConfig, width: int, num_cameras: int, feed: FutureChange | None):
        super().__init__(config.weight, feed)
        self.future_steps = config.steps
        pixels = num_cameras * 3 * config.size**2
        self.network = nn.Sequential(
            nn.LayerNorm(width), nn.Linear(width, config.hidden), nn.GELU(), nn.Linear(config.hidden, pixels)
        )

    def loss(self, backbone: Backbone, encoded: Encoded, wanted: Change, target: Target) -> Float[Tensor, ""]:
        told = self.network(encoded.readout.flatten(2))
        error = (told - wanted.pixels.flatten(2)).square().mean(-1, keepdim=True)
        return masked_mean(error, wanted.mask[..., None])

    def count(self, wanted: Change, target: Target) -> Tensor:
        return wanted.mask.sum()


@dataclass(frozen=True, kw_only=True)
class Change:
    """Of small pictures, from the present to the future."""

    pixels: Float[Tensor, "B T C 3 h w"]  # -1..1, for every camera
    mask: Bool[Tensor, "B T"]  # False where either lies outside the episode

    def to(self, device: torch.device) -> Change:
        return Change(pixels=self.pixels.to(device), mask=self.mask.to(device))


@dataclass(frozen=True, kw_only=True)
class FutureChange:
    """Feed: samples with their future pictures -> `Change`. Training's random shifts are too small to matter here."""

    cameras: tuple[str, ...]
    transforms: Transform
    size: int

    def __call__(self, samples: Sequence[Sample], step: int) -> Change:
        futures = [sample.future for sample in samples]
        assert None not in futures, "windows were made without future_steps"
        pixels = torch.stack([self._change(sample) for sample in samples])
        return Change(pixels=pixels, mask=torch.from_numpy(np.stack([f.mask for f in futures if f is not None])))

    def _change(self, sample: Sample) -> Float[Tensor, "T C 3 h w"]:
        assert sample.future is not None
        now, later = (
            self.transforms.observe(replace(sample.observation, images=images)).images
            for images in (sample.observation.images, sample.future.images)
        )
        return torch.stack([self._small(later[c]) - self._small(now[c]) for c in self.cameras], dim=1)

    def _small(self, pictures: np.ndarray) -> Float[Tensor, "T 3 h w"]:
        pixels = torch.from_numpy(pictures).permute(0, 3, 1, 2).float() / 255
        return F.adaptive_avg_pool2d(pixels, self.size)
