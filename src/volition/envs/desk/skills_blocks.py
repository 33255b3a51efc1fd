"""What the hand does to blocks: push, grasp, lift, turn, put down, stack.

Each skill maps a View to a Goal. Whether the hand has the block is read from the fingers, so a grasp that fails or a
block that slips starts over by itself.
"""

from __future__ import annotations

import math

import numpy as np

from volition.envs.blocks import one_over_another
from volition.envs.desk import layout as at
from volition.envs.desk.state import BLOCKS
from volition.envs.desk.waypoints import CLOSED, DRIVE, OPEN, Goal, View, funnel, wrap

WAVER = 0.3  # radians
DRAWER_FINGERS = at.DRAWER_HALF_WIDTH - 0.058  # metres off the drawer's middle at which open fingers still fit in
HOMING = 8.0  # how fast a block on its way to the drawer is led to its middle: share of full speed per metre off
SLIDE_SPEED = 0.7
PRESS = 0.0025  # metres below itself that a hand aims whose block shall stay on the table
DRAG = 0.5  # share of that by which a hand aims lower to the left and less low to the right: see `slide`
SETTLE = 6.0  # times as far as a block stands off the table, down: a sliding hand sinks late
UP = np.array([0.0, 0.0, 0.06])


def block_yaw(view: View, color: str) -> float:
    """Direction of the block's long side, radians."""
    rotation = view.block(color).rotation
    return float(np.arctan2(rotation[1, 0], rotation[0, 0]))


def grasp_yaw(view: View, color: str, preferred: float | None = None) -> float:
    """The hand's yaw at which the fingers close across the block's short side.

    There are several: the one nearest to `preferred`; without it the one nearest to neutral, or nearest to the hand's
    own where these two are nearly as good, so that a hand between them does not waver.
    """
    cube = view.lengths[color] < 2 * at.BLOCK_HALF + 0.005
    period = math.pi / 2 if cube else math.pi
    across = block_yaw(view, color) - math.pi / 2
    if preferred is not None:
        return preferred + wrap(across - preferred, period)
    nearest = view.yaw + wrap(across - view.yaw, period)
    return nearest if abs(nearest) < period / 2 + WAVER else wrap(across, period)


def grasp(view: View, color: str, *, clearance: float = 0.08, preferred: float | None = None) -> Goal:
    """Over the block, down, close. Not meant for a block that is gripped already."""
    target = _graspable(view, view.block(color).position)
    yaw = grasp_yaw(view, color, preferred)
    off = float(np.linalg.norm(target[:2] - view.tcp[:2]))
    high = abs(float(target[2] - view.tcp[2]))
    turned = abs(wrap(yaw - view.yaw))
    closing = 0.035 < view.width < 0.074  # then a little more is forgiven, so that the fingers do not dither
    forgiven = 1.5 if closing else 1.0
    if off < 0.012 * forgiven and high < 0.010 * forgiven and turned < 0.15 * forgiven:
        return Goal(position=target, yaw=yaw, gripper=CLOSED)
    # Fingers that are not open, or not yet square to the block, must not come down on it.
    unready = max(min(1.0, max(0.0, turned - 0.1) / 0.3), min(1.0, max(0.0, 0.072 - view.width) / 0.01))
    way = funnel(view, target, clearance=clearance, inner=0.009, outer=0.032, unready=unready)
    return Goal(position=way, yaw=yaw, gripper=OPEN if _room_to_open(view) else CLOSED)


def _graspable(view: View, position: np.ndarray) -> np.ndarray:
    """Where the hand goes for a block, float64[3]: its middle, but open fingers must fit between the drawer's sides."""
    if position[2] > at.TOP:
        return position
    inside = view.local(view.site["drawer_inside"])
    place = view.local(position)
    place[0] = np.clip(place[0], inside[0] - DRAWER_FINGERS, inside[0] + DRAWER_FINGERS)
    return view.world(place)


def _room_to_open(view: View) -> bool:
    """Fingers that open beside a block flick it away: up first."""
    if view.width > 0.03:
        return True
    offsets = [view.tcp - view.block(color).position for color in BLOCKS]
    return not any(np.linalg.norm(offset[:2]) < 0.09 and offset[2] < 0.045 for offset in offsets)


def lift(view: View, color: str, *, clearance: float = 0.08, preferred: float | None = None) -> Goal:
    """Grasp the block, then straight up."""
    if not view.gripped(color):
        return grasp(view, color, clearance=clearance, preferred=preferred)
    return Goal(position=view.tcp + UP, yaw=grasp_yaw(view, color, view.yaw), gripper=CLOSED, speed=0.8)


def unstack(view: View) -> Goal:
    """Lift the block that stands highest."""
    return lift(view, max(BLOCKS, key=lambda color: float(view.block(color).position[2])))


def slide(view: View, color: str, direction: np.ndarray) -> Goal:
    """Grasp the block and move it over the table; `direction` float64[3] is horizontal, in the world, at most 1 long.

    The way there is that of a lift. A fist beside the block, or open fingers around it, would push it too, but lose it
    where they come down a centimetre off: of 144 hands led by a guess with a standard error of 1.5 cm, 92 % succeed
    this way, 81 % with open fingers and 65 % with the fist.

    A block that drags pulls at the arm, whose joints give way: to the left the hand rises, to the right it sinks. Of 24
    hands that start too early, after a grasp 8 mm too low, at 0.06 of a full step downwards 24 push to the left and 10
    to the right, at 0.015 20 and 24.
    """
    if not view.gripped(color):
        return grasp(view, color)
    press = PRESS * (1.0 - DRAG * float(direction[0]))
    position = _on_table(view, color, press, SETTLE) + DRIVE * direction
    return Goal(position=position, yaw=grasp_yaw(view, color, view.yaw), gripper=CLOSED, speed=SLIDE_SPEED)


def _on_table(view: View, color: str, press: float = PRESS, settle: float = 1.0) -> np.ndarray:
    """Where the hand has its block on the table, float64[3]; `settle` times as far down as the block stands off it.

    Off it by a hair, and the block counts neither as pushed nor as turned there; pressed on it hard, and it drags. An
    expert that relieved what touches and lowered what does not would be right on average, but no camera sees which it
    is, and a policy that answers the middle of its labels lifted the block. Hands that aim down by the same little
    (0.05 of a full step) turned or pushed 72 of 72 blocks; 67 at three times that, 58 level, and 10 at 0.04 upwards.
    """
    height = float(view.block(color).position[2]) - at.TOP - at.BLOCK_HALF
    return view.tcp - np.array([0.0, 0.0, press + settle * max(0.0, height)])


def push_into_drawer(view: View) -> Goal:
    """Slide the block on the table that is nearest to the drawer over the table's edge, and let go."""
    middle = float(view.local(view.site["drawer_inside"])[0])
    off = {color: float(view.local(view.block(color).position)[0]) - middle for color in BLOCKS}
    held = view.held
    if held is None:
        on_table = [color for color in BLOCKS if "table" in view.block(color).touches]
        return grasp(view, min(on_table, key=lambda c: abs(off[c]))) if on_table else _let_go(view)
    beyond = at.TABLE_FRONT - float(view.local(view.block(held).position)[1])
    if beyond > view.lengths[held] / 2 + 0.005 and abs(off[held]) < at.DRAWER_HALF_WIDTH - 0.04:
        return Goal(position=view.tcp, yaw=view.yaw, gripper=OPEN)
    # Sideways first as far as it is off, so that it does not reach the edge beside the drawer.
    way = np.array([-HOMING * off[held], -max(0.0, 1.0 - abs(off[held]) / at.DRAWER_HALF_WIDTH), 0.0])
    return slide(view, held, view.furniture_rotation @ (way / max(1.0, float(np.linalg.norm(way)))))


def rotate(view: View, color: str, sign: float) -> Goal:
    """Grasp the block and turn it where it stands. `sign` +1: to the left, seen from above."""
    if not view.gripped(color):
        # Begin so that the wrist has the way to go before it.
        return grasp(view, color, preferred=-0.3 * sign)
    return Goal(position=_on_table(view, color), yaw=view.yaw + 0.5 * sign, gripper=CLOSED)


def _release(view: View, target: np.ndarray, way: np.ndarray, yaw: float, *, near: float, low: float) -> Goal:
    """Along `way`; open the fingers once the hand is at the target."""
    off = float(np.linalg.norm(target[:2] - view.tcp[:2]))
    there = off < near and view.tcp[2] - target[2] < low
    return Goal(position=target if there else way, yaw=yaw, gripper=OPEN if there else CLOSED, speed=0.8)


def _let_go(view: View) -> Goal:
    return Goal(position=view.tcp + UP, yaw=view.yaw, gripper=OPEN)


def place_in_drawer(view: View) -> Goal:
    if view.held is None:
        return _let_go(view)
    target = view.site["drawer_inside"].copy()
    target[2] = at.DRAWER_FLOOR + at.BLOCK_HALF + 0.012
    way = funnel(view, target, clearance=0.14, inner=0.015, outer=0.05)
    return _release(view, target, way, 0.0, near=0.03, low=0.012)


def place_in_slider(view: View) -> Goal:
    """Onto the half of the shelf that the door leaves open."""
    if view.held is None:
        return _let_go(view)
    half = "shelf_right" if view.moment.door > at.DOOR_TRAVEL / 2 else "shelf_left"
    target = view.site[half].copy()
    target[2] = at.SHELF_TOP + at.BLOCK_HALF + 0.008
    way = funnel(view, target, clearance=0.14, inner=0.012, outer=0.05)
    return _release(view, target, way, view.furniture_yaw, near=0.02, low=0.010)


def stack(view: View) -> Goal:
    """Onto the nearest other block that stands on the table; what was dropped is picked up again."""
    held = view.held
    if held is None:
        dropped = [color for color in BLOCKS if "table" in view.block(color).touches]
        if len(dropped) < 2 or one_over_another((view.block(color).position for color in BLOCKS), at.BLOCK_HALF):
            return _let_go(view)
        return grasp(view, min(dropped, key=lambda c: float(np.linalg.norm(view.block(c).position - view.tcp))))
    others = [color for color in BLOCKS if color != held]
    on_table = [color for color in others if "table" in view.block(color).touches] or others
    below = min(on_table, key=lambda c: float(np.linalg.norm(view.block(c).position[:2] - view.tcp[:2])))
    in_hand = view.block(held).position - view.tcp
    target = view.block(below).position + np.array([0.0, 0.0, 2 * at.BLOCK_HALF + 0.004]) - in_hand
    way = funnel(view, target, clearance=0.06, inner=0.008, outer=0.035)
    return _release(view, target, way, grasp_yaw(view, held, view.yaw), near=0.011, low=0.009)


def put_down(view: View, held: str) -> Goal:
    """A block that the task has no use for goes to the nearest free place on the table."""
    if view.block(held).touches & {"table", "shelf", "drawer"}:
        return _let_go(view)
    others = [view.local(view.block(color).position)[:2] for color in BLOCKS if color != held]
    spots = [
        np.array([x, y])
        for x in np.linspace(-0.12, 0.12, 9)
        for y in np.linspace(-0.13, -0.03, 4)
        if all(np.linalg.norm(other - (x, y)) > 0.11 for other in others)
    ]
    here = view.local(view.tcp)[:2]
    spot = min(spots, key=lambda place: float(np.linalg.norm(place - here)))
    in_hand = view.block(held).position - view.tcp
    target = view.world(np.array([*spot, at.TOP + at.BLOCK_HALF - 0.004])) - in_hand  # onto the table, not before it
    way = funnel(view, target, clearance=0.08, inner=0.02, outer=0.06)
    return Goal(position=way, yaw=0.0, gripper=CLOSED, speed=0.8)
