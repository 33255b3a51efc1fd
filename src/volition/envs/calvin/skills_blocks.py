"""What the hand does to blocks: push, grasp, lift, turn, put down, stack.

Each skill maps a Moment to a Goal. Whether the hand has the block is read from the fingers, so a grasp that fails or a
block that slips starts over by itself.
"""

from __future__ import annotations

import math

import numpy as np

from volition.envs.blocks import one_over_another
from volition.envs.calvin.moment import HALF_BLOCK, Moment
from volition.envs.calvin.situations import BLOCKS
from volition.envs.calvin.skills_furniture import FIST, move_slider
from volition.envs.calvin.waypoints import (
    CLOSED,
    NEUTRAL,
    OPEN,
    UP,
    Goal,
    Lane,
    along,
    approach,
    forward,
    reach_lean,
    wrap,
)

TABLE = 0.44  # metres: the height of its top
PRESS = 0.005  # metres below itself that a hand aims whose block shall stay on the table
HAND_ROOM = 0.10  # metres between a block's middle and the door's edge that half a hand takes
CABINET_LEAN = 0.5  # radians: a hand that points straight down meets the roof
DRAWER_FRONT, DRAWER_FLOOR = -0.157, 0.341  # metres: the inside of its front, y from its origin; z of its floor
DRAWER_HALF = 0.177  # metres from its middle to its sides
EDGE = -0.181  # metres, y: of the table towards the robot
WAVER = 0.3  # radians


def grasp_yaw(now: Moment, color: str, preferred: float | None = None) -> float:
    """The hand's yaw at which the fingers close across the block's short side.

    There are several: the one nearest to `preferred`; without it the one nearest to neutral, or nearest to the hand's
    own where these two are nearly as good, so that a hand between them does not waver.
    """
    cube = now.layout.lengths[color] < 2 * HALF_BLOCK + 0.005
    period = math.pi / 2 if cube else math.pi
    across = now.blocks[color].yaw
    if preferred is not None:
        return preferred + wrap(across - preferred, period)
    nearest = now.yaw + wrap(across - now.yaw, period)
    neutral = NEUTRAL + wrap(across - NEUTRAL, period)
    return nearest if abs(wrap(nearest - NEUTRAL)) < period / 2 + WAVER else neutral


def grasp(now: Moment, color: str, *, preferred: float | None = None) -> Goal:
    """Over the block along the hand's own axis, down, close. Not meant for a block that is gripped already."""
    block = now.blocks[color]
    if "cabinet" in block.touches:
        blocking = _door_in_the_way(now, block.position)
        if blocking:
            return move_slider(now, blocking)
        return _grasp(now, _beside_door(now, block.position), _along_cabinet(now, color), CABINET_LEAN, 1.3)
    yaw = grasp_yaw(now, color, preferred)
    return _grasp(now, block.position, yaw, reach_lean(block.position, yaw))


def _door_in_the_way(now: Moment, position: np.ndarray) -> float:
    """Where a half-open door must go for the hand to fit in beside it: -1 left, +1 right; 0: it need not, or cannot."""
    low, high = (edge - now.door for edge in now.layout.door)
    right = position[0] > (low + high) / 2
    free = position[0] - high if right else low - position[0]
    to_go = now.layout.door_travel - now.door if right else now.door
    return (-1.0 if right else 1.0) if free < HAND_ROOM and to_go > 0.02 else 0.0


def _grasp(now: Moment, position: np.ndarray, yaw: float, lean: float, loose: float = 1.0) -> Goal:
    """`loose`: where there is little room, the fingers close on a block that is somewhat off their middle."""
    target = position - np.array([0.0, 0.0, 0.002])
    axis = math.cos(lean) * UP - math.sin(lean) * forward(yaw)
    offset = now.tcp - target
    closing = np.array([math.sin(yaw), -math.cos(yaw), 0.0])
    across, deep, high = (abs(float(offset @ way)) for way in (closing, np.cross(axis, closing), axis))
    turned = abs(wrap(yaw - now.yaw))
    forgiven = max(loose, 1.5 if 0.035 < now.width < 0.074 else 1.0)  # fingers that have begun to close do not dither
    if across < 0.015 * forgiven and deep < 0.012 * forgiven and high < 0.012 * forgiven and turned < 0.15 * forgiven:
        return Goal(position=target, yaw=yaw, lean=lean, gripper=CLOSED)
    # Fingers that are not open, or not yet square to the block, must not come down on it.
    unready = max(min(1.0, max(0.0, turned - 0.1) / 0.3), min(1.0, max(0.0, 0.072 - now.width) / 0.01))
    way = approach(now, target, axis=axis, clearance=0.09, inner=0.009, outer=0.035, unready=unready)
    return Goal(position=way, yaw=yaw, lean=lean, gripper=OPEN if _room_to_open(now) else CLOSED)


def _along_cabinet(now: Moment, color: str) -> float:
    """The hand is wide: nearly along the cabinet; the closing fingers turn the block."""
    yaw = grasp_yaw(now, color, NEUTRAL)
    return math.pi / 2 + float(np.clip(yaw - math.pi / 2, -0.1, 0.1))


def _beside_door(now: Moment, position: np.ndarray) -> np.ndarray:
    """Where the fingers go for a block in the cabinet, float64[3]: a little away from the door's edge."""
    low, high = (edge - now.door for edge in now.layout.door)
    right = position[0] > (low + high) / 2
    missing = 0.072 - (position[0] - high if right else low - position[0])
    shift = float(np.clip(missing, 0.0, 0.013))
    return position + np.array([shift if right else -shift, 0.0, 0.0])


def _room_to_open(now: Moment) -> bool:
    """Fingers that open beside a block flick it away: up first."""
    if now.width > 0.03:
        return True
    offsets = [now.tcp - now.blocks[color].position for color in BLOCKS]
    return not any(np.linalg.norm(offset[:2]) < 0.09 and offset[2] < 0.045 for offset in offsets)


def lift(now: Moment, color: str) -> Goal:
    """Grasp the block, then up; out of the cabinet towards the robot as well."""
    if not now.gripped(color):
        return grasp(now, color)
    out = -0.03 if now.tcp[1] > 0.03 else 0.0
    return Goal(position=now.tcp + np.array([0.0, out, 0.06]), yaw=now.yaw, lean=_level(now, color), gripper=CLOSED)


def _level(now: Moment, held: str) -> float:
    """The lean at which the block in the hand stands level."""
    lean = -float(now.euler[1])
    return lean + now.blocks[held].tilt(forward(now.yaw))


def unstack(now: Moment) -> Goal:
    """Lift the block that stands highest."""
    return lift(now, max(BLOCKS, key=lambda color: float(now.blocks[color].position[2])))


def push(now: Moment, color: str, sign: float) -> Goal:
    """A fist beside the block, then along x. `sign` +1: to the right."""
    block = now.blocks[color]
    half = abs(math.cos(block.yaw)) * now.layout.lengths[color] / 2 + abs(math.sin(block.yaw)) * HALF_BLOCK
    lane = Lane(
        thing=np.array([block.position[0], block.position[1], TABLE + 0.025]),
        direction=np.array([sign, 0.0, 0.0]),
        up=UP,
        contact=half + float(FIST[0]),
        behind=(0.015, 0.045),
        side=0.03,
        high=(0.02, 0.02),
        keep=0.012,
        axis=UP,
        clearance=0.08,
    )
    return Goal(position=along(now, lane), gripper=CLOSED, speed=0.8)


def push_into_drawer(now: Moment) -> Goal:
    """Take the block on the table that is nearest to the drawer over the table's edge, and let go."""
    middle = float(now.frames["drawer"][0])
    held = now.held
    if held is None:
        colors = now.on("table")
        near = lambda color: abs(float(now.blocks[color].position[0]) - middle)
        return grasp(now, min(colors, key=near)) if colors else let_go(now)
    x = float(np.clip(now.tcp[0], middle - 0.09, middle + 0.09))
    target = np.array([x, _drawer_middle(now), TABLE + HALF_BLOCK + 0.01])
    # Sideways first as far as it is off, so that it does not reach the edge beside the drawer.
    off = abs(float(now.tcp[0]) - x)
    if off > 0.02 and now.tcp[1] > EDGE:
        target[1] = min(float(now.tcp[1]), EDGE + 0.06)
    return _release(now, held, target, target, near=0.04, low=0.06)


def rotate(now: Moment, color: str, sign: float) -> Goal:
    """Grasp the block and turn it where it stands. `sign` +1: to the left, seen from above."""
    if not now.gripped(color):
        # Begin so that the wrist has the way to go before it.
        return grasp(now, color, preferred=NEUTRAL - 0.3 * sign)
    # A block that hangs two millimetres above the table does not count as turned there, and no camera sees it. So the
    # hand always aims down: of 18 blocks turned by a hand that aims by the same share of a full step throughout, 18
    # succeeded at -0.15, -0.04 and level, 17 at -0.08, 16 at -0.3, and one at 0.03 upwards, as a policy's error may be.
    height = float(now.blocks[color].position[2]) - TABLE - HALF_BLOCK
    down = PRESS + max(0.0, height)
    position = now.tcp - np.array([0.0, 0.0, down])
    return Goal(position=position, yaw=now.yaw + 0.3 * sign, lean=_level(now, color), gripper=CLOSED)


def _release(now: Moment, held: str, target: np.ndarray, way: np.ndarray, *, near: float, low: float) -> Goal:
    """Along `way`; open the fingers once the hand is at the target."""
    off = float(np.linalg.norm(target[:2] - now.tcp[:2]))
    there = off < near and now.tcp[2] - target[2] < low
    return Goal(
        position=target if there else way, yaw=now.yaw, lean=_level(now, held), gripper=OPEN if there else CLOSED
    )


def let_go(now: Moment) -> Goal:
    out = -0.03 if now.tcp[1] > 0.03 else 0.0
    return Goal(position=now.tcp + np.array([0.0, out, 0.06]), yaw=now.yaw, gripper=OPEN)


def place_in_drawer(now: Moment) -> Goal:
    held = now.held
    if held is None:
        return let_go(now)
    origin = now.frames["drawer"]
    spots = [np.array([origin[0] + x, _drawer_middle(now), 0.0]) for x in (0.0, -0.07, 0.07)]
    target = max(spots, key=lambda spot: _room(now, held, spot))
    target[2] = DRAWER_FLOOR + HALF_BLOCK + 0.02
    way = approach(now, target, axis=UP, clearance=0.14, inner=0.015, outer=0.05)
    return _release(now, held, target, way, near=0.035, low=0.025)


def _drawer_middle(now: Moment) -> float:
    """y of the middle of what shows of the open drawer, metres."""
    return (EDGE + float(now.frames["drawer"][1]) + DRAWER_FRONT) / 2


def place_in_slider(now: Moment) -> Goal:
    """Onto the half of the cabinet that the door leaves open."""
    held = now.held
    if held is None:
        return let_go(now)
    low, high = open_half(now)
    spots = [np.array([x, 0.075, TABLE + HALF_BLOCK + 0.012]) for x in np.linspace(low, high, 7)]
    middle = (low + high) / 2
    target = max(spots, key=lambda spot: min(_room(now, held, spot), 0.12) - 0.2 * abs(spot[0] - middle))
    lean = 0.4
    axis = math.cos(lean) * UP - math.sin(lean) * forward(math.pi / 2)
    way = approach(now, target, axis=axis, clearance=0.11, inner=0.012, outer=0.045)
    goal = _release(now, held, target, way, near=0.03, low=0.02)
    return Goal(position=goal.position, gripper=goal.gripper, yaw=math.pi / 2, lean=lean)


def open_half(now: Moment, margin: float = 0.075) -> tuple[float, float]:
    """The stretch of x, metres, where a hand fits into the half of the cabinet that the door leaves open."""
    low, high = (edge - now.door for edge in now.layout.door)
    if now.door > now.layout.door_travel / 2:
        (left, _, _), (right, _, _) = now.layout.surfaces["slider_right"]
        return max(left + 0.02, high + margin), right - 0.03
    (left, _, _), (right, _, _) = now.layout.surfaces["slider_left"]
    return left + 0.05, min(right - 0.02, low - margin)


def _room(now: Moment, held: str, spot: np.ndarray) -> float:
    """Metres from the spot to the nearest block that is not in the hand and lies about as high."""
    others = [now.blocks[color].position - spot for color in BLOCKS if color != held]
    near = [float(np.linalg.norm(offset[:2])) for offset in others if abs(offset[2]) < 0.06]
    return min(near, default=1.0)


def stack(now: Moment) -> Goal:
    """Onto the longest other block that stands on the table; what was dropped is picked up again."""
    held = now.held
    if held is None:
        dropped = now.on("table")
        if len(dropped) < 2 or one_over_another((block.position for block in now.blocks.values()), HALF_BLOCK):
            return let_go(now)
        return grasp(now, min(dropped, key=lambda color: float(np.linalg.norm(now.blocks[color].position - now.tcp))))
    others = [color for color in now.on("table") if color != held] or [color for color in BLOCKS if color != held]
    below = max(others, key=lambda color: now.layout.lengths[color])
    in_hand = now.blocks[held].position - now.tcp
    target = now.blocks[below].position + np.array([0.0, 0.0, 2 * HALF_BLOCK + 0.003]) - in_hand
    way = approach(now, target, axis=UP, clearance=0.07, inner=0.008, outer=0.035)
    return _release(now, held, target, way, near=0.011, low=0.008)


def put_down(now: Moment, held: str) -> Goal:
    """A block that the task has no use for goes to the nearest free place on the table."""
    block = now.blocks[held]
    if block.touches & {"table", "cabinet", "drawer"}:
        return let_go(now)
    (left, _, _), (right, _, _) = now.layout.surfaces["table"]
    spots = [
        np.array([x, y, TABLE + HALF_BLOCK]) for x in np.linspace(left, min(right, 0.27), 9) for y in (-0.13, -0.10)
    ]
    free = [spot for spot in spots if _room(now, held, spot) > 0.11 and _off_button(now, spot) > 0.09] or spots
    target = min(free, key=lambda spot: float(np.linalg.norm(spot[:2] - now.tcp[:2])))
    target = target - (block.position - now.tcp) - np.array([0.0, 0.0, 0.004])  # onto it, not before it
    way = approach(now, target, axis=UP, clearance=0.08, inner=0.02, outer=0.06)
    return Goal(position=way, yaw=now.yaw, lean=_level(now, held), gripper=CLOSED)


def _off_button(now: Moment, spot: np.ndarray) -> float:
    return float(np.linalg.norm(spot[:2] - np.array(now.layout.button[:2])))
