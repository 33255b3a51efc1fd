"""A small environment of gymnasium's own kind: slide a disc over a tray into the corner that the task names.

It is registered as packages register theirs, and knows nothing of Volition; `SlideConfig` is all that a user writes.
"""

from __future__ import annotations

from dataclasses import dataclass
from typing import Any, ClassVar

import gymnasium
import numpy as np
from gymnasium import spaces

from volition.envs.gymnasium.generic import GymnasiumConfig

CORNERS = {"left": (-0.8, -0.8), "right": (0.8, -0.8)}
SIDE = 20
LIMIT = 40


class Slide(gymnasium.Env[dict[str, Any], np.ndarray]):
    metadata: ClassVar[dict[str, Any]] = {"render_modes": ["rgb_array"], "render_fps": 10}

    def __init__(self, corner: str, *, shows: bool = True, render_mode: str | None = None):
        self.render_mode, self.corner, self.shows = render_mode, np.array(CORNERS[corner]), shows
        self.action_space = spaces.Box(-2.0, 2.0, (2,), np.float32)
        parts: dict[str, spaces.Space[Any]] = {"place": spaces.Box(-1.0, 1.0, (2,), np.float64)}
        if shows:
            parts["above"] = spaces.Box(0, 255, (SIDE, SIDE, 3), np.uint8)
        self.observation_space = spaces.Dict(parts)

    def reset(self, *, seed: int | None = None, options: dict[str, Any] | None = None) -> tuple[dict[str, Any], dict]:
        super().reset(seed=seed)
        self.place, self.speed = self.np_random.uniform(-0.2, 0.2, 2), np.zeros(2)
        return self._seen(), {}

    def step(self, action: np.ndarray) -> tuple[dict[str, Any], float, bool, bool, dict[str, Any]]:
        assert action.dtype == np.float32
        self.speed = 0.5 * self.speed + 0.05 * action
        self.place = self.place + self.speed
        there = bool(np.linalg.norm(self.place - self.corner) < 0.2)
        fallen = bool(np.abs(self.place).max() > 1.0)
        self.place = np.clip(self.place, -1.0, 1.0)
        return self._seen(), float(there), there or fallen, False, {"is_success": there}

    def render(self) -> np.ndarray:  # type: ignore[override]
        picture = np.full((SIDE, SIDE, 3), 40, np.uint8)
        for place, colour in ((self.corner, (40, 200, 60)), (self.place, (230, 60, 40))):
            column, row = ((place + 1) / 2 * (SIDE - 1)).round().astype(int)
            picture[max(0, row - 1) : row + 2, max(0, column - 1) : column + 2] = colour
        return picture

    def _seen(self) -> dict[str, Any]:
        seen: dict[str, Any] = {"place": self.place.copy()}
        return seen | {"above": self.render()} if self.shows else seen


for _name, _options in (("Left", {}), ("Right", {}), ("HiddenRight", {"shows": False})):
    gymnasium.register(
        f"tests/Slide{_name}-v0",
        entry_point=Slide,
        max_episode_steps=LIMIT,
        kwargs={"corner": _name.removeprefix("Hidden").lower(), **_options},
    )


@dataclass(frozen=True, kw_only=True)
class SlideConfig(GymnasiumConfig):
    ids: tuple[str, ...] = ("tests/SlideLeft-v0", "tests/SlideRight-v0")
