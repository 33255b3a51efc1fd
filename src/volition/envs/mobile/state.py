"""What a room can be reset to: the robot, one or two boxes in its way, and the things behind them.

World frame: x the way that the robot looks at first, y to its left, z up; metres, radians. The base frame is the
robot's own: x ahead, y to the left. Angles are positive to the left.
"""

from __future__ import annotations

import math
from dataclasses import dataclass

import numpy as np

SCENES = ("A", "B", "C", "D")
COLOURS = ("red", "blue")
SHAPES = ("cup", "cone")
KINDS = tuple(f"{colour}_{shape}" for colour in COLOURS for shape in SHAPES)


@dataclass(frozen=True)
class Pose:
    x: float
    y: float
    yaw: float

    @property
    def place(self) -> np.ndarray:
        """float64[2]"""
        return np.array([self.x, self.y])


@dataclass(frozen=True)
class Box:
    """`size`: along its own x, along its own y, and its height."""

    pose: Pose
    size: tuple[float, float, float]
    colour: tuple[float, float, float]

    def outline(self, margin: float) -> np.ndarray:
        """float64[8, 2], world: corners of what lies within `margin` metres of the box, round corners cut straight."""
        x, y = self.size[0] / 2, self.size[1] / 2
        cut = (math.sqrt(2.0) - 1.0) * margin
        quarter = np.array([[x + margin, y + cut], [x + cut, y + margin]])
        local = np.concatenate([quarter * signs for signs in ((1, 1), (-1, 1), (-1, -1), (1, -1))])
        return self.pose.place + local @ _turn(self.pose.yaw).T

    def clearance(self, point: np.ndarray) -> float:
        """Metres at which `outline` would go through the point float64[2]; negative inside the box."""
        beyond = np.abs((point - self.pose.place) @ _turn(self.pose.yaw)) - np.array(self.size[:2]) / 2
        return float(max(*beyond, beyond.sum() / math.sqrt(2.0)))


@dataclass(frozen=True)
class Thing:
    """What a robot can be sent to."""

    kind: str  # one of KINDS
    x: float
    y: float

    @property
    def place(self) -> np.ndarray:
        """float64[2]"""
        return np.array([self.x, self.y])


@dataclass(frozen=True, kw_only=True)
class MobileState:
    """Everything that `Mobile.reset` needs; the result depends on nothing else, to the bit."""

    scene: str
    robot: Pose
    boxes: tuple[Box, ...]  # the nearer one first
    things: tuple[Thing, ...]  # each of another kind


@dataclass(frozen=True, kw_only=True)
class Snapshot:
    """The moment as judge and expert see it."""

    robot: Pose
    speed: float  # m/s
    boxes: tuple[Box, ...]  # as MobileState has them, where they stand now
    things: tuple[Thing, ...]
    touches: frozenset[str]  # since the last step: of "wall", "box", and kinds of things


def _turn(angle: float) -> np.ndarray:
    """float64[2, 2] that turns to the left."""
    c, s = math.cos(angle), math.sin(angle)
    return np.array([[c, -s], [s, c]])
