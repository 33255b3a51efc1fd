"""Where things stand in the four scenes, and what colour they have. All lengths are metres in the furniture frame.

The furniture frame has its origin on the floor below the middle of the free table top, x to the right, y away from the
robot, z up. At `Shift()` it is the world frame. The scenes share every shape and differ in places and colours.
"""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np

from volition.envs.desk.state import SCENES

Colour = tuple[float, float, float]

TOP = 0.46  # height of the table's surface
TABLE_HALF_WIDTH, TABLE_FRONT, TABLE_BACK = 0.36, -0.19, 0.25
SHELF_HALF_WIDTH, SHELF_FRONT, SHELF_BACK, SHELF_TOP = 0.20, 0.120, 0.235, 0.474
WALL_TOP = 0.57  # of the door and the cabinet's sides: low, so that a vertical hand reaches the shelf from above
BOARD_TOP = 0.755
DOOR_TRAVEL, DOOR_Y, DOOR_HANDLE_Y = 0.20, 0.110, 0.042
DRAWER_TRAVEL, DRAWER_HALF_WIDTH, DRAWER_FRONT, DRAWER_BACK = 0.16, 0.10, -0.20, -0.015
DRAWER_FLOOR, DRAWER_WALL_TOP, DRAWER_HANDLE_Y, DRAWER_HANDLE_Z = 0.365, 0.43, -0.265, 0.40
BUTTON_TRAVEL, BUTTON_HEIGHT = 0.02, 0.035
SWITCH_TRAVEL, SWITCH_SLOPE = 0.088, 0.3
LAMP_Z = 0.68
BLOCK_HALF = 0.02  # of width and height
LENGTHS = (0.04, 0.056, 0.08)  # of a block, along its own x


@dataclass(frozen=True, kw_only=True)
class Box:
    """An axis-parallel box in the furniture frame."""

    low: np.ndarray  # float64[3], metres
    high: np.ndarray  # float64[3], metres

    def contains(self, point: np.ndarray) -> bool:
        return bool(np.all(point >= self.low) and np.all(point <= self.high))


@dataclass(frozen=True, kw_only=True)
class Layout:
    """What makes one scene different from another."""

    name: str
    cabinet_x: float  # middle of the cabinet's opening
    drawer_x: float
    switch: tuple[float, float]  # x, y of the middle of its way
    button: tuple[float, float]
    bulb_x: float
    led_x: float
    lengths: dict[str, float]  # block -> metres
    table: Colour
    cabinet: Colour
    door: Colour
    drawer: Colour
    handle: Colour
    floor: Colour


LAYOUTS = {
    "A": Layout(
        name="A", cabinet_x=-0.04, drawer_x=0.15, switch=(0.285, -0.03), button=(-0.28, -0.05),
        bulb_x=0.21, led_x=-0.01,
        lengths={"red": 0.056, "blue": 0.08, "pink": 0.04},
        table=(0.50, 0.33, 0.22), cabinet=(0.62, 0.45, 0.33), door=(0.36, 0.21, 0.14), drawer=(0.36, 0.21, 0.14),
        handle=(0.78, 0.76, 0.72), floor=(0.56, 0.59, 0.63),
    ),
    "B": Layout(
        name="B", cabinet_x=0.02, drawer_x=0.18, switch=(-0.285, -0.03), button=(0.28, -0.04),
        bulb_x=-0.01, led_x=0.21,
        lengths={"red": 0.04, "blue": 0.08, "pink": 0.056},
        table=(0.88, 0.76, 0.57), cabinet=(0.80, 0.66, 0.47), door=(0.93, 0.85, 0.70), drawer=(0.93, 0.85, 0.70),
        handle=(0.20, 0.20, 0.22), floor=(0.62, 0.65, 0.68),
    ),
    "C": Layout(
        name="C", cabinet_x=0.03, drawer_x=0.13, switch=(-0.285, -0.01), button=(0.28, -0.10),
        bulb_x=0.21, led_x=-0.01,
        lengths={"red": 0.08, "blue": 0.04, "pink": 0.056},
        table=(0.56, 0.63, 0.52), cabinet=(0.86, 0.83, 0.74), door=(0.40, 0.49, 0.39), drawer=(0.40, 0.49, 0.39),
        handle=(0.16, 0.17, 0.18), floor=(0.66, 0.64, 0.62),
    ),
    "D": Layout(
        name="D", cabinet_x=-0.05, drawer_x=0.17, switch=(0.285, -0.02), button=(-0.28, -0.09),
        bulb_x=-0.01, led_x=0.21,
        lengths={"red": 0.056, "blue": 0.04, "pink": 0.08},
        table=(0.70, 0.56, 0.38), cabinet=(0.74, 0.76, 0.78), door=(0.28, 0.47, 0.47), drawer=(0.28, 0.47, 0.47),
        handle=(0.93, 0.93, 0.90), floor=(0.52, 0.56, 0.60),
    ),
}  # fmt: skip
assert tuple(LAYOUTS) == SCENES


def table_bounds() -> Box:
    """Where a block's centre can lie on the table, free of button, switch and door handle."""
    z = TOP + BLOCK_HALF
    return Box(low=np.array([-0.18, -0.155, z]), high=np.array([0.18, 0.0, z]))


def shelf_bounds(layout: Layout) -> Box:
    """The shelf's inside, both halves; its floor is at low[2]."""
    return Box(
        low=np.array([layout.cabinet_x - SHELF_HALF_WIDTH, SHELF_FRONT, SHELF_TOP]),
        high=np.array([layout.cabinet_x + SHELF_HALF_WIDTH, SHELF_BACK, WALL_TOP]),
    )


def drawer_bounds(layout: Layout) -> Box:
    """The part of the drawer's inside that lies before the table when the drawer is fully open, in that place."""
    half = DRAWER_HALF_WIDTH - 0.005
    return Box(
        low=np.array([layout.drawer_x - half, DRAWER_FRONT + 0.008 - DRAWER_TRAVEL, DRAWER_FLOOR]),
        high=np.array([layout.drawer_x + half, TABLE_FRONT, DRAWER_WALL_TOP]),
    )
