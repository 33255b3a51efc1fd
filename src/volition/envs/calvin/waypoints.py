"""Steering: from where the hand is and where it should be to a 7-D action.

    (moment, goal) --steer--> action[7]
    (moment, target) --approach--> a point on the way: to the target's entry first, then along its axis

All of it is a function of what the robot measures and the cameras show now. The pose that CALVIN keeps and adds actions
to plays no part: a policy cannot see it, so labels that depended on it could not be learned. Steering by the measured
pose makes that hidden pose an integrator: it goes on where the hand hangs back, and unwinds by itself.
"""

from __future__ import annotations

import math
from dataclasses import dataclass

import numpy as np

from volition.envs.calvin.moment import Moment

METRES, RADIANS = 0.02, 0.05  # what 1.0 in an action's first three entries means, and in the next three
OPEN, CLOSED = 1.0, -1.0
# Share of the remaining way that one step covers: the measured pose follows the kept one with a time constant of 1.2
# steps, so that more would make the hand swing about its goal.
GAIN = 0.35
BASE = np.array([-0.34, -0.46])  # x, y of the arm
NEUTRAL = 1.5  # radians: the hand's yaw at home, its fingers closing along x
UP, FRONT = np.array([0.0, 0.0, 1.0]), np.array([0.0, -1.0, 0.0])
TRAVEL = 0.57  # metres: over everything on the table, with a block in the hand
CLEAR_OF_CABINET = -0.10  # metres, y: nearer to the robot the way is free from one side to the other
DRIVE = 0.06  # metres ahead of itself that a driving fist aims
FAR, LARGEST_LEAN = (0.60, 0.75), 0.45  # metres from the base from where to where the lean grows; radians


@dataclass(frozen=True, kw_only=True)
class Goal:
    """Where the hand should go now."""

    position: np.ndarray  # float64[3], world, metres
    gripper: float  # OPEN or CLOSED
    yaw: float = NEUTRAL  # radians; the fingers close along (sin yaw, -cos yaw)
    lean: float | None = None  # radians that the tips stand forward; None: as the distance from the base demands
    speed: float = 1.0  # largest share of a full step along any axis, in (0, 1]


def wrap(angle: float, period: float = 2 * math.pi) -> float:
    """The equal angle in [-period/2, period/2)."""
    return (angle + period / 2) % period - period / 2


def forward(yaw: float) -> np.ndarray:
    """The horizontal direction square to the fingers' travel in which a leaning hand's tips stand, float64[3]."""
    return np.array([math.cos(yaw), math.sin(yaw), 0.0])


def reach_lean(point: np.ndarray, yaw: float) -> float:
    """Radians by which the tips must stand forward at a point: a vertical hand cannot be held far from the base.

    The hand leans square to the fingers' travel, so that both tips stay at one height.
    """
    outward = point[:2] - BASE
    reach = float(np.linalg.norm(outward))
    share = float(np.clip((reach - FAR[0]) / (FAR[1] - FAR[0]), 0.0, 1.0))
    return LARGEST_LEAN * share * max(0.0, float(outward @ forward(yaw)[:2]) / reach)


def steer(now: Moment, goal: Goal, top_speed: float = 1.0) -> np.ndarray:
    """The 7-D action towards a goal: proportional near it, saturated far from it. float64[7] in [-1, 1]."""
    move = GAIN * (goal.position - now.tcp) / METRES
    speed = min(goal.speed, top_speed)
    largest = float(np.abs(move).max())
    if largest > speed:
        move *= speed / largest
    lean = reach_lean(now.tcp, goal.yaw) if goal.lean is None else goal.lean
    wanted = (math.pi, -lean, goal.yaw)
    turn = np.array([GAIN * wrap(angle - is_now) / RADIANS for angle, is_now in zip(wanted, now.euler)])
    turn /= max(1.0, float(np.abs(turn).max()))
    return np.concatenate((move, turn, [goal.gripper]))


def approach(
    now: Moment, target: np.ndarray, *, axis: np.ndarray, clearance: float, inner: float, outer: float,
    unready: float = 0.0,
) -> np.ndarray:  # fmt: skip
    """A point to head for, float64[3], so that `target` is reached along `axis`, which points from it to free space.

    Farther off the axis than `outer` (metres) the way leads to the entry, `clearance` out on the axis; nearer than
    `inner` straight to the target, between the two along a cone. `unready` in [0, 1] keeps the hand out for another
    reason. A hand that is far off travels first.
    """
    offset = now.tcp - target
    out = float(offset @ axis)
    aside = offset - out * axis
    distance = float(np.linalg.norm(aside))
    height = clearance * max(float(np.clip((distance - inner) / (outer - inner), 0.0, 1.0)), unready)
    missing = height - out
    inward = float(np.clip(1.0 - (missing - 0.01) / 0.03, 0.0, 1.0))
    near = target + height * axis + (1.0 - inward) * aside
    far = float(np.clip((distance - outer) / 0.05, 0.0, 1.0))
    return near if far == 0.0 else (1.0 - far) * near + far * travel(now, target + clearance * axis)


def travel(now: Moment, entry: np.ndarray) -> np.ndarray:
    """The next point on the free way to an entry, float64[3]: out of the cabinet, up, across, and there."""
    x, y, z = now.tcp
    wide = float(np.clip((abs(float(entry[0] - x)) - 0.04) / 0.06, 0.0, 1.0))  # a way to the side
    # Inside the cabinet there is a roof above, before it the handles of door and switch stand in the way: back first.
    back = max(
        wide * float(np.clip((y - CLEAR_OF_CABINET - 0.02) / 0.04, 0.0, 1.0)),
        float(np.clip((y - 0.02) / 0.03, 0.0, 1.0)),
    )
    low = (1.0 - back) * float(np.clip((TRAVEL - 0.03 - z) / 0.04, 0.0, 1.0))
    free = (1.0 - wide) * entry[1] + wide * min(float(entry[1]), CLEAR_OF_CABINET)
    at_y = back * CLEAR_OF_CABINET + (1.0 - back) * free
    far = float(np.clip((np.linalg.norm(entry[:2] - now.tcp[:2]) - 0.03) / 0.05, 0.0, 1.0))
    height = float(entry[2]) + far * (max(TRAVEL, float(entry[2])) - float(entry[2]))
    return np.array([x + (1.0 - max(back, low)) * (entry[0] - x), y + (1.0 - low) * (at_y - y), height])


@dataclass(frozen=True, kw_only=True)
class Lane:
    """A thing to be pushed by the closed fingers, and the corridor behind it.

    Where the corridor is narrower than what a policy sees in its pictures, a learned hand stops before it.
    """

    thing: np.ndarray  # float64[3]: the point to push at
    direction: np.ndarray  # float64[3], unit length: where the fist goes
    up: np.ndarray  # float64[3], unit length, square to it
    contact: float  # metres between fist and thing along the direction when they touch
    behind: tuple[float, float]  # metres behind contact where the fist may come down
    side: float  # metres off the corridor's middle to either side at which the fist still drives on
    high: tuple[float, float]  # ... below and above it, along `up`
    keep: float  # metres to the side at which it may come down
    axis: np.ndarray  # float64[3], unit length: from the corridor's start to free space
    clearance: float  # metres along it


def along(now: Moment, lane: Lane) -> np.ndarray:
    """The point to head for, float64[3]: into the corridor behind the thing, then through it."""
    offset = now.tcp - lane.thing
    gap = -float(offset @ lane.direction) - lane.contact
    lateral = np.cross(lane.direction, lane.up)
    side, height = float(offset @ lateral), float(offset @ lane.up)
    inside = abs(side) < lane.side and -lane.high[0] < height < lane.high[1]
    # How near a fist comes before they touch depends on how the thing is turned; once past its middle, it starts anew.
    if inside and -0.8 * lane.contact < gap < lane.behind[1] + 0.03:
        return now.tcp + DRIVE * lane.direction - side * lateral - height * lane.up
    back = float(np.clip(gap, *lane.behind))
    kept = float(np.clip(side, -lane.keep, lane.keep))
    start = lane.thing - (lane.contact + back) * lane.direction + kept * lateral
    return approach(now, start, axis=lane.axis, clearance=lane.clearance, inner=0.008, outer=0.035)
