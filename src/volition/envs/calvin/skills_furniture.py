"""What the hand does to furniture: a closed fist that pushes handles, the switch and the button.

Each skill maps a Moment to a Goal; `waypoints.along` and `waypoints.approach` find the way. Where handles stand against
the origins of their links was measured in the clone's meshes, times the scene's scale of 0.8; all scenes share them.
"""

from __future__ import annotations

import math

import numpy as np

from volition.envs.calvin.moment import Moment
from volition.envs.calvin.waypoints import CLOSED, FRONT, UP, Goal, Lane, along, approach

FIST = np.array(
    [0.0286, 0.0115]
)  # metres from the middle of closed fingers to their outside: along their travel, square to it
DRAWER_BAR, DRAWER_HALF = np.array([0.0, -0.250, 0.042]), 0.0115  # its middle, and half its thickness
DOOR_BAR, DOOR_HALF = np.array([0.14, -0.073, 0.018]), 0.021
SWITCH_BAR = np.array([0.0, -0.042, 0.0335])
SLOPE = np.array([0.0, 0.5, math.sqrt(0.75)])  # the way of the switch when it is turned on
BUTTON_TOGGLED = 0.0105  # metres down, a hair past the middle where the LED changes
FAR_SWITCH = 0.0  # x: a switch on this side or beyond is too far for a hand that points straight down


def _goal(now: Moment, position: np.ndarray, lean: float | None = None) -> Goal:
    return Goal(position=position, gripper=CLOSED, lean=lean)


def open_drawer(now: Moment) -> Goal:
    """Into the gap behind the handle, then towards the robot."""
    lane = Lane(
        thing=now.frames["drawer"] + DRAWER_BAR,
        direction=FRONT,
        up=UP,
        contact=DRAWER_HALF + float(FIST[1]),
        behind=(0.008, 0.018),
        side=0.06,
        high=(0.03, 0.025),
        keep=0.04,
        axis=UP,
        clearance=0.09,
    )
    return _goal(now, along(now, lane))


def close_drawer(now: Moment) -> Goal:
    """In front of the handle, then away from the robot."""
    lane = Lane(
        thing=now.frames["drawer"] + DRAWER_BAR,
        direction=-FRONT,
        up=UP,
        contact=DRAWER_HALF + float(FIST[1]),
        behind=(0.02, 0.05),
        side=0.07,
        high=(0.03, 0.025),
        keep=0.05,
        axis=UP,
        clearance=0.09,
    )
    return _goal(now, along(now, lane))


def move_slider(now: Moment, sign: float) -> Goal:
    """Beside the door's handle, then along the rail. `sign` +1: to the right."""
    lane = Lane(
        thing=now.frames["slide"] + DOOR_BAR,
        direction=np.array([sign, 0.0, 0.0]),
        up=UP,
        contact=DOOR_HALF + float(FIST[0]),
        behind=(0.015, 0.045),
        side=0.022,
        high=(0.035, 0.035),
        keep=0.01,
        axis=FRONT,
        clearance=0.10,
    )
    return _goal(now, along(now, lane))


def turn_on_lightbulb(now: Moment) -> Goal:
    """Before and under the switch's bar; then inward and up, the fingers' front against it."""
    way = np.array([0.0, 0.77, 0.64])
    lane = Lane(
        thing=now.frames["switch"] + SWITCH_BAR,
        direction=way / np.linalg.norm(way),
        up=np.array([0.0, -0.64, 0.77]) / np.linalg.norm(way),
        contact=0.040,
        behind=(0.008, 0.03),
        side=0.045,
        high=(0.03, 0.025),
        keep=0.02,
        axis=FRONT,
        clearance=0.07,
    )
    return _goal(now, along(now, lane), _switch_lean(now, 0.5))


def turn_off_lightbulb(now: Moment) -> Goal:
    """Over the bar from the front, then down the slope, the tips on it."""
    lane = Lane(
        thing=now.frames["switch"] + SWITCH_BAR + np.array([0.0, -0.014, 0.008]),
        direction=-SLOPE,
        up=np.array([0.0, -SLOPE[2], SLOPE[1]]),
        contact=0.032,
        behind=(0.006, 0.02),
        side=0.045,
        high=(0.02, 0.02),
        keep=0.02,
        axis=FRONT,
        clearance=0.08,
    )
    return _goal(now, along(now, lane), _switch_lean(now, 0.6))


def _switch_lean(now: Moment, lean: float) -> float:
    return lean if now.frames["switch"][0] > FAR_SWITCH else 0.0


def press_button(now: Moment) -> Goal:
    """Over the button, then down. A hand that holds it down already goes up first: it toggles at the next press."""
    x, y, top = now.layout.button
    target = np.array([x, y, top + 0.015])
    held_down = top - float(now.frames["button"][2]) > BUTTON_TOGGLED
    way = approach(now, target, axis=UP, clearance=0.06, inner=0.015, outer=0.04, unready=float(held_down))
    return _goal(now, way)
