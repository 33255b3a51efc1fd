"""The reference's learning rates. All start at 0 where there is a warm-up, and both cosines rise again after the end.

Ours (`training.optim`) starts above 0 and stays at the minimum.
"""

from __future__ import annotations

import math
from dataclasses import dataclass


@dataclass(frozen=True, kw_only=True)
class Schedule:
    kind: str = "constant"  # or "half-cosine", "cosine"
    warmup: float = 0.0  # steps; a share of an epoch need not be whole
    total: float = 1.0
    min_scale: float = 0.0  # heeded by half-cosine alone

    def __post_init__(self) -> None:
        if self.kind not in ("constant", "half-cosine", "cosine"):
            raise ValueError(f"kind must be 'constant', 'half-cosine' or 'cosine', got {self.kind!r}")

    @classmethod
    def of(
        cls,
        kind: str | None,
        *,
        steps_per_epoch: float,
        epochs: int,
        max_steps: int = -1,
        warmup_epochs: float = 0.0,
        warmup_steps: int = 0,
        min_scale: float = 0.0,
    ) -> Schedule:
        """From the keys of its configs; both warm-ups count, the shorter of the two ends does."""
        planned = epochs * steps_per_epoch
        ends = min(planned, max_steps) if max_steps > 0 else planned
        return cls(
            kind=kind or "constant",
            warmup=warmup_epochs * steps_per_epoch + warmup_steps,
            total=float(ends),
            min_scale=min_scale,
        )

    def scale(self, step: int) -> float:
        """The factor on the learning rate at `step` = 0, 1, ..."""
        if step < self.warmup:
            return step / self.warmup
        if self.kind == "constant":
            return 1.0
        progress = (step - self.warmup) / max(1, self.total - self.warmup)
        lowest = self.min_scale if self.kind == "half-cosine" else 0.0
        return lowest + (1 - lowest) * (1 + math.cos(math.pi * progress)) / 2
