"""The moving average of the trained weights: what is evaluated where `loop.ema_decay` asks for it."""

from __future__ import annotations

from collections.abc import Iterator, Mapping
from contextlib import contextmanager
from dataclasses import dataclass

import torch
from torch import Tensor, nn


@dataclass
class Average:
    """average = decay * average + (1 - decay) * weight after every step; the first steps forget faster."""

    decay: float
    weights: dict[str, Tensor]  # of every trained parameter, by its name

    @classmethod
    def of(cls, policy: nn.Module, decay: float) -> Average | None:
        """None where nothing is averaged."""
        if not decay:
            return None
        return cls(decay, {name: p.detach().clone() for name, p in policy.named_parameters() if p.requires_grad})

    @torch.no_grad()
    def update(self, policy: nn.Module, step: int) -> None:
        decay = min(self.decay, (1 + step) / (10 + step))
        for name, parameter in policy.named_parameters():
            if name in self.weights:
                self.weights[name].lerp_(parameter.detach(), 1 - decay)


@contextmanager
def averaged(policy: nn.Module, average: Average | None) -> Iterator[None]:
    """The policy with its averaged weights; those that are trained are back afterwards. None: it stays as it is."""
    if average is None:
        yield
        return
    own = {name: p for name, p in policy.named_parameters() if name in average.weights}
    kept = {name: p.detach().clone() for name, p in own.items()}
    _put(average.weights, own)
    try:
        yield
    finally:
        _put(kept, own)


@torch.no_grad()
def _put(weights: Mapping[str, Tensor], parameters: Mapping[str, Tensor]) -> None:
    for name, parameter in parameters.items():
        parameter.copy_(weights[name])
