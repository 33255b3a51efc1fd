"""What the hand does to furniture: a closed fist that pushes handles, the switch and the button.

Each skill maps a View to a Goal; `waypoints.along` and `waypoints.funnel` find the way.

Every handle leaves some centimetres of height (`Lane.low`) at which the fist drives on. Where it was fourteen
millimetres, less than a policy can see, the policy stopped between "down" and "on" and did neither.
"""

from __future__ import annotations

import math

import numpy as np

from volition.envs.desk import layout as at
from volition.envs.desk.state import BLOCKS
from volition.envs.desk.waypoints import CLOSED, OPEN, Goal, Lane, View, along, funnel

FIST = 0.010  # metres from the middle of the closed fingers to their outside
HANDLE = 0.009  # radius of a handle's bar
FIN = 0.012  # half thickness of the switch's fin
UNDER = np.array([0.0, 0.0, 0.010])  # metres below the drawer's bar: a fist that is too low still holds it


def fist(view: View) -> float:
    """The gripper's command for a skill that wants it closed: not while a block stands between the fingers."""
    if view.width > 0.02:
        for color in BLOCKS:
            offset = view.block(color).position - view.tcp
            if np.linalg.norm(offset[:2]) < 0.05 and -0.05 < offset[2] < 0.03:
                return OPEN
    return CLOSED


def _goal(view: View, position: np.ndarray, speed: float = 1.0) -> Goal:
    return Goal(position=position, yaw=0.0, gripper=fist(view), speed=speed)


def _direction(view: View, x: float, y: float, z: float) -> np.ndarray:
    return view.furniture_rotation @ np.array([x, y, z])


def open_drawer(view: View) -> Goal:
    """Into the gap behind the handle, then outward."""
    lane = Lane(
        thing=view.site["drawer_handle"] - UNDER,
        direction=_direction(view, 0.0, -1.0, 0.0),
        contact=HANDLE + FIST,
        behind=(0.008, 0.018),
        side=0.035,
        aim=0.015,
        clearance=0.08,
        low=0.022,
    )
    return _goal(view, along(view, lane)[0])


def close_drawer(view: View) -> Goal:
    """In front of the handle's right part, then inward: its left may be too near to the arm's own base."""
    lane = Lane(
        thing=view.site["drawer_handle"] + _direction(view, 0.025, 0.0, 0.0) - UNDER,
        direction=_direction(view, 0.0, 1.0, 0.0),
        contact=HANDLE + FIST,
        behind=(0.02, 0.05),
        side=0.035,
        aim=0.02,
        clearance=0.08,
        low=0.022,
    )
    return _goal(view, along(view, lane)[0])


def _move_slider(view: View, sign: float) -> Goal:
    """Beside the door's handle, then along the rail. `sign` +1: to the right."""
    lane = Lane(
        thing=view.site["door_handle"],
        direction=_direction(view, sign, 0.0, 0.0),
        contact=HANDLE + FIST,
        behind=(0.02, 0.05),
        side=0.025,
        aim=0.008,
        clearance=0.10,
        low=0.03,
    )
    return _goal(view, along(view, lane)[0])


def move_slider_left(view: View) -> Goal:
    return _move_slider(view, -1.0)


def move_slider_right(view: View) -> Goal:
    return _move_slider(view, 1.0)


def _flip_switch(view: View, sign: float) -> Goal:
    """Before (sign +1) or behind the fin, then along the slope."""
    slope = at.SWITCH_SLOPE
    lane = Lane(
        thing=view.site["switch_knob"] - UNDER,
        direction=_direction(view, 0.0, sign * math.cos(slope), sign * math.sin(slope)),
        contact=FIN + FIST,
        behind=(0.022, 0.05) if sign > 0 else (0.01, 0.02),
        side=0.022,
        aim=0.005,
        clearance=0.10,
        low=0.03,
    )
    return _goal(view, along(view, lane)[0])


def turn_on_lightbulb(view: View) -> Goal:
    return _flip_switch(view, 1.0)


def turn_off_lightbulb(view: View) -> Goal:
    return _flip_switch(view, -1.0)


def press_button(view: View) -> Goal:
    """Over the button, then down. A hand that already presses it goes up first: it toggles at the next press."""
    target = view.site["button_top"] - np.array([0.0, 0.0, 0.02])
    return _goal(view, funnel(view, target, clearance=0.08, inner=0.012, outer=0.035), speed=0.8)
