"""What stops a training that has gone wrong, and what keeps the batch that did it."""

from __future__ import annotations

import statistics
from collections.abc import Sequence
from dataclasses import dataclass, field
from typing import Any

import torch
from torch import Tensor

from volition.types import Batch, Target

MEMORY, LEAST = 64, 16  # losses that are remembered, and how many are needed to call one a spike


class NotFiniteError(ValueError):
    """The loss became NaN or infinite; `batch` and `target` are what did it."""

    def __init__(self, step: int, batch: Batch, target: Target):
        super().__init__(
            f"the loss at step {step}, or its gradient, is not finite; training stopped before the weights changed and "
            "the last checkpoint is untouched. Look at the batch (saved beside the metrics), lower the learning rate, "
            "or use float32."
        )
        self.step, self.batch, self.target = step, batch, target

    def __reduce__(self) -> tuple[Any, ...]:
        """Of what it was made from: it may have to reach another process."""
        return type(self), (self.step, self.batch, self.target)


def require_finite(
    step: int, parts: Sequence[tuple[Batch, Target]], losses: Sequence[Tensor], grad_norm: Tensor | None
) -> None:
    """grad_norm: None where a norm that is not finite has been seen to already."""
    finite = torch.isfinite(torch.stack(list(losses)))
    if bool(finite.all()) and (grad_norm is None or bool(torch.isfinite(grad_norm))):
        return
    raise NotFiniteError(step, *parts[int(finite.int().argmin())])


@dataclass
class Spikes:
    """A loss many times the median of those before it; training goes on, and the batch is kept."""

    factor: float  # 0: nothing is one
    recent: list[float] = field(default_factory=list)

    def is_one(self, loss: float) -> bool:
        """Call once a step."""
        usual = statistics.median(self.recent) if len(self.recent) >= LEAST else None
        self.recent = [*self.recent, loss][-MEMORY:]
        return bool(self.factor) and usual is not None and loss > self.factor * usual
