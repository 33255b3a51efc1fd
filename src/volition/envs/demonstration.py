"""Demonstrations from an expert that says for every state what to do: varied, disturbed, and cleanly labelled.

    demonstrate(label, rng, config) -> (executed, label), ...     the caller steps the environment between two items

What is executed is the expert's action slowed down and disturbed, so that its corrections are seen too; what is
recorded as the label is the expert's own action in the state that came about.
"""

from __future__ import annotations

from collections.abc import Callable, Iterator
from dataclasses import dataclass

import numpy as np


@dataclass(frozen=True, kw_only=True)
class DemonstrationConfig:
    """How demonstrations vary. Labels never do: they are the expert's own action in the state that came about."""

    top_speed: float = 1.0  # of the expert itself, so of labels too: share of a full step along any axis
    slowest: float = 0.75  # share of the expert's speed that is executed, drawn per episode from this to 1
    noise: float = 0.18  # standard deviation of the correlated noise on the six motions, in actions
    careful: float = 0.3  # share of the noise that is left where the expert hardly moves
    correlation: float = 0.85  # of the noise from one step to the next
    kick_chance: float = 0.015  # per step: a push in one direction
    kick: float = 0.8  # its size in actions
    kick_steps: int = 4

    def __post_init__(self) -> None:
        for name in ("top_speed", "slowest"):
            if not 0.0 < getattr(self, name) <= 1.0:
                raise ValueError(f"{name} must lie in (0, 1], got {getattr(self, name)}")
        if not 0.0 <= self.correlation < 1.0:
            raise ValueError(f"correlation must lie in [0, 1), got {self.correlation}")


def demonstrate(
    label: Callable[[], np.ndarray], rng: np.random.Generator, config: DemonstrationConfig
) -> Iterator[tuple[np.ndarray, np.ndarray]]:
    """(executed, label), float64[7] each, without end. `label()` is the expert's relative action in the present state.

    The first is the expert's action slowed down and disturbed, the second the expert's action as it is.
    """
    speed = rng.uniform(config.slowest, 1.0)
    fresh = np.sqrt(1.0 - config.correlation**2) * config.noise
    scale = np.array([1.0, 1.0, 1.0, 0.4, 0.4, 0.4])  # turns are disturbed less than moves
    noise = rng.normal(0.0, config.noise, 6)
    kick, left = np.zeros(3), 0
    while True:
        clean = label()
        if left == 0 and rng.random() < config.kick_chance:
            direction = rng.normal(size=3)
            kick, left = config.kick * direction / np.linalg.norm(direction), config.kick_steps
        noise = config.correlation * noise + rng.normal(0.0, fresh, 6)
        executed = clean.copy()
        # Where the expert itself is careful, a large error would rarely be the policy's.
        moving, turning = (max(config.careful, float(np.abs(part).max())) for part in (clean[:3], clean[3:6]))
        hurry = np.array([moving] * 3 + [turning] * 3)
        executed[:6] = speed * executed[:6] + hurry * scale * noise
        if left:
            executed[:3] += kick
            left -= 1
        executed[:6] = np.clip(executed[:6], -1.0, 1.0)
        yield executed, clean
