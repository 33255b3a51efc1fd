"""What the expert and the sampler of starts may read: a scene's measures, and one moment of it in plain numbers.

World frame: x to the right, y away from the robot, z up; metres and radians. Euler angles turn about the fixed axes.
"""

from __future__ import annotations

from dataclasses import dataclass
from typing import TypeAlias

import numpy as np

from volition.envs.calvin.situations import BLOCKS

Box: TypeAlias = tuple[tuple[float, float, float], tuple[float, float, float]]  # lowest and highest x, y, z
GRIPPED_WIDTH = (0.025, 0.055)  # metres: a block between the fingers leaves 0.04
HALF_BLOCK = 0.02  # metres: half of a block's height and width, in every scene


@dataclass(frozen=True, kw_only=True)
class Layout:
    """What differs between scenes and does not change within one."""

    lengths: dict[str, float]  # block -> metres along its own x; width and height are 0.04
    surfaces: dict[str, Box]  # table, slider_left, slider_right: where a block's centre may stand
    door: tuple[float, float]  # lowest and highest x of the sliding door in its right position
    door_travel: float  # metres that it can go to the left
    button: tuple[float, float, float]
    drawer: tuple[float, float, float]  # origin of the closed drawer
    switch: float  # x of its middle


@dataclass(frozen=True, kw_only=True)
class Block:
    position: np.ndarray  # float64[3]
    rotation: np.ndarray  # float64[3, 3]
    touches: frozenset[str]  # of robot, table, drawer, cabinet, door, other and the colours of blocks

    @property
    def yaw(self) -> float:
        """Of its long side against the world's x, radians."""
        return float(np.arctan2(self.rotation[1, 0], self.rotation[0, 0]))

    def tilt(self, direction: np.ndarray) -> float:
        """Radians by which its upper side leans towards a horizontal direction float64[3]."""
        upright = self.rotation[:, int(np.abs(self.rotation[2]).argmax())]
        upright = upright * np.sign(upright[2])
        return float(np.arcsin(np.clip(upright @ direction, -1.0, 1.0)))


@dataclass(frozen=True, kw_only=True)
class Moment:
    """All of it can be seen in pictures or felt by the robot: no velocities, and not the target that CALVIN keeps."""

    tcp: np.ndarray  # float64[3]: the measured point between the finger tips
    euler: np.ndarray  # float64[3]: of the hand; pi, 0, 1.5 points down with the fingers closing along x
    width: float  # metres between the fingers
    door: float  # metres to the left
    drawer: float  # metres open
    frames: dict[str, np.ndarray]  # float64[3]: origins of drawer, slide, switch and button, moving with them
    blocks: dict[str, Block]
    layout: Layout

    @property
    def yaw(self) -> float:
        return float(self.euler[2])

    def gripped(self, color: str) -> bool:
        """The fingers have closed on the block, whether or not it still stands on something."""
        block = self.blocks[color]
        near = np.linalg.norm(block.position - self.tcp) < 0.045
        return "robot" in block.touches and bool(near) and GRIPPED_WIDTH[0] < self.width < GRIPPED_WIDTH[1]

    @property
    def held(self) -> str | None:
        return next((color for color in BLOCKS if self.gripped(color)), None)

    @property
    def surrounded(self) -> str | None:
        """The block that stands between open fingers: a hand that moved aside would take it along."""
        if self.width < 0.035:
            return None
        for color in BLOCKS:
            offset = self.blocks[color].position - self.tcp
            if np.linalg.norm(offset[:2]) < 0.045 and -0.05 < offset[2] < 0.03:
                return color
        return None

    def on(self, surface: str) -> list[str]:
        """The colours of the blocks that touch it and are not held."""
        held = self.held
        return [color for color in BLOCKS if surface in self.blocks[color].touches and color != held]
