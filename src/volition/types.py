"""The tensors between sample and loss. Shape letters: see `records.py`."""

from __future__ import annotations

from dataclasses import dataclass, replace

import torch
from jaxtyping import Bool, Float
from torch import Tensor


@dataclass(frozen=True, kw_only=True)
class Batch:
    """All that a policy may look at. `inputs` belongs to the backbone's adapter; nobody else opens it.

    `images` are raw pictures, so that resizing, augmentation and normalisation run batched on the device.
    """

    inputs: dict[str, Tensor]  # per-token tensors [N, L] and what else the adapter's `collate` made
    images: dict[str, Tensor]  # camera -> uint8[B, T, height, width, 3]
    state: Float[Tensor, "B T S"]

    @property
    def shape(self) -> tuple[int, int]:
        """(B, T)"""
        return self.state.shape[0], self.state.shape[1]

    def to(self, device: torch.device) -> Batch:
        return Batch(
            inputs={name: x.to(device) for name, x in self.inputs.items()},
            images={name: x.to(device) for name, x in self.images.items()},
            state=self.state.to(device),
        )

    def with_images(self, images: dict[str, Tensor]) -> Batch:
        return replace(self, images=images)


@dataclass(frozen=True, kw_only=True)
class Target:
    """What the policy should have done. A type of its own, so that inference cannot touch it."""

    actions: Float[Tensor, "B T H A"]
    mask: Bool[Tensor, "B T H"]

    def to(self, device: torch.device) -> Target:
        return Target(actions=self.actions.to(device), mask=self.mask.to(device))


@dataclass(frozen=True, kw_only=True)
class Loss:
    """A scalar to minimise and the numbers worth plotting."""

    total: Float[Tensor, ""]
    metrics: dict[str, Float[Tensor, ""]]  # detached; the loop turns them into numbers when it logs
