"""What a desk can be reset to, and what its judge and its expert may look at.

All poses of `scene_obs` (24), as in CALVIN: sliding door, drawer, button, switch (metres along their joints), light
bulb and LED (0 or 1), then red, blue and pink block with position (3, metres) and Euler XYZ (3, radians), in the world
frame.
"""

from __future__ import annotations

from dataclasses import dataclass, field

import numpy as np

BLOCKS = ("red", "blue", "pink")  # the order in scene_obs, in every scene
SCENES = ("A", "B", "C", "D")


@dataclass(frozen=True)
class Shift:
    """How the furniture (table, cabinet and everything mounted on them) and the static camera stand off their places.

    The furniture turns about the vertical axis through the table's centre. Blocks are given in the world frame and do
    not move with it: whoever samples a start places them on the shifted table.
    """

    x: float = 0.0  # metres
    y: float = 0.0  # metres
    yaw: float = 0.0  # radians
    camera: tuple[float, float, float] = (0.0, 0.0, 0.0)  # azimuth and elevation in radians, distance as a share


@dataclass(frozen=True)
class DeskState:
    """Everything that `Desk.reset` needs; the result depends on nothing else, to the bit."""

    scene: str
    scene_obs: np.ndarray  # float64[24]
    shift: Shift = field(default_factory=Shift)
    joints: np.ndarray | None = None  # float64[7] radians; None: the home pose
    gripper: float = 1.0  # +1 open, -1 closed


@dataclass(frozen=True)
class BlockState:
    position: np.ndarray  # float64[3]
    rotation: np.ndarray  # float64[3, 3]
    linear_velocity: np.ndarray  # float64[3], m/s
    angular_velocity: np.ndarray  # float64[3], rad/s
    touches: frozenset[str]  # of "robot", "table" (top), "shelf", "drawer", "other", and block names


@dataclass(frozen=True)
class Snapshot:
    """The moment as the judge sees it. A task is a change between two of these."""

    door: float  # metres, 0 = right end of its rail ... positive = slid to the left
    drawer: float  # metres, 0 = closed, positive = open
    button: float
    switch: float
    bulb: bool
    led: bool
    blocks: dict[str, BlockState]
    robot_touches: frozenset[str]  # as BlockState.touches, without "robot"
