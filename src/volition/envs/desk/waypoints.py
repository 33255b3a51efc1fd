"""Steering: from where the hand is and where it should be to a 7-D action.

    desk --View--> readings in the world and in the furniture's frame
    (tcp, goal) --funnel--> a point on the way: over the goal first, then down --steer--> action[7]

All of it is a function of what the desk shows now, with no clock and no memory: a hand that was pushed aside is led
back from wherever it is, and two hands at the same place are told the same. That makes demonstrations with injected
noise, and labels for a policy's own states, consistent, and it is what a small network can learn.
"""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np

from volition.envs.desk import layout as at
from volition.envs.desk.desk import Desk
from volition.envs.desk.kinematics import BASE_POSITION, rotation_vector
from volition.envs.desk.state import BLOCKS, BlockState, Snapshot

STEP_METRES = 0.02  # what 1.0 in an action's first three entries means
STEP_RADIANS = 0.05  # ... and in the next three
OPEN, CLOSED = 1.0, -1.0
# Share of the remaining way that one step covers. The measured pose lags the command by about a step; with more than
# a half the hand would swing about its goal.
GAIN = 0.4
GRIPPED_WIDTH = (0.03, 0.055)  # metres: a block between the fingers leaves 0.04
OVER_TABLE, OVER_CABINET = at.TOP + 0.13, at.WALL_TOP + 0.045
CABINET_FRONT = 0.09  # metres, y in the furniture's frame: beyond it the hand is over or in the cabinet
LARGEST_LEAN, FAR = 0.45, (0.73, 0.81)  # radians, and metres from the arm's base from where to where it grows
SITES = ("door_handle", "drawer_handle", "drawer_inside", "shelf_left", "shelf_right", "switch_knob", "button_top")
DRIVE = 0.06  # metres ahead of itself that a driving fist aims


@dataclass(frozen=True, kw_only=True)
class Goal:
    """Where the hand should go now."""

    position: np.ndarray  # float64[3], world, metres
    yaw: float  # of the closing axis against the world's x, radians
    gripper: float  # OPEN or CLOSED
    speed: float = 1.0  # largest share of a full step along any axis, in (0, 1]


def yaw_rotation(yaw: float) -> np.ndarray:
    """Turn about the vertical axis, float64[3, 3]."""
    c, s = np.cos(yaw), np.sin(yaw)
    return np.array([[c, -s, 0.0], [s, c, 0.0], [0.0, 0.0, 1.0]])


# The hand points down and its fingers close along x: tcp x -> world y, tcp y -> world x, tcp z -> down.
_NEUTRAL = np.array([[0.0, 1.0, 0.0], [1.0, 0.0, 0.0], [0.0, 0.0, -1.0]])


def hand_rotation(yaw: float, lean: float = 0.0) -> np.ndarray:
    """Pointing down, closing axis turned by `yaw` from the world's x, the tips leaning forward by `lean`, radians.

    Forward is square to the closing axis, so that both finger tips stay at one height.
    """
    c, s = np.cos(lean), np.sin(lean)
    return yaw_rotation(yaw) @ np.array([[1.0, 0.0, 0.0], [0.0, c, -s], [0.0, s, c]]) @ _NEUTRAL


def wrap(angle: float, period: float = 2 * np.pi) -> float:
    """The equal angle in [-period/2, period/2)."""
    return float((angle + period / 2) % period - period / 2)


@dataclass(frozen=True, kw_only=True)
class View:
    """What the expert reads at one moment."""

    tcp: np.ndarray  # float64[3], world
    rotation: np.ndarray  # float64[3, 3], of the hand
    width: float  # metres between the finger pads
    moment: Snapshot
    furniture_position: np.ndarray  # float64[3]
    furniture_rotation: np.ndarray  # float64[3, 3], about the vertical
    site: dict[str, np.ndarray]  # name -> float64[3], world
    lengths: dict[str, float]  # block -> metres along its own x

    @classmethod
    def of(cls, desk: Desk) -> View:
        position, rotation = desk.furniture_pose()
        return cls(
            tcp=desk.tcp_position,
            rotation=desk.tcp_rotation,
            width=float(desk.robot_obs()[6]),
            moment=desk.snapshot(),
            furniture_position=position,
            furniture_rotation=rotation,
            site={name: desk.site(name)[0] for name in SITES},
            lengths=desk.block_lengths,
        )

    @property
    def yaw(self) -> float:
        """Of the closing axis against the world's x."""
        axis = self.rotation[:, 1]
        return float(np.arctan2(axis[1], axis[0]))

    @property
    def lean(self) -> float:
        """Radians by which the tips should lean forward here: a vertical hand cannot be held far from the base."""
        outward = self.tcp[:2] - np.array(BASE_POSITION[:2])
        reach = float(np.linalg.norm(outward))
        forward = float(outward @ [-np.sin(self.yaw), np.cos(self.yaw)]) / reach
        return LARGEST_LEAN * float(np.clip((reach - FAR[0]) / (FAR[1] - FAR[0]), 0.0, 1.0)) * max(0.0, forward)

    @property
    def furniture_yaw(self) -> float:
        return float(np.arctan2(self.furniture_rotation[1, 0], self.furniture_rotation[0, 0]))

    def local(self, point: np.ndarray) -> np.ndarray:
        """World -> the furniture's frame: x to the right, y into the cabinet, z up."""
        return self.furniture_rotation.T @ (point - self.furniture_position)

    def world(self, point: np.ndarray) -> np.ndarray:
        """The furniture's frame -> world."""
        return self.furniture_rotation @ point + self.furniture_position

    def block(self, color: str) -> BlockState:
        return self.moment.blocks[color]

    def gripped(self, color: str) -> bool:
        """The fingers have closed on the block, whether or not it still stands on something."""
        block = self.block(color)
        near = np.linalg.norm(block.position - self.tcp) < 0.045  # the two fingers give way sideways together
        low, high = GRIPPED_WIDTH
        return "robot" in block.touches and bool(near) and low < self.width < high

    @property
    def held(self) -> str | None:
        return next((color for color in BLOCKS if self.gripped(color)), None)


def steer(view: View, goal: Goal, top_speed: float = 1.0) -> np.ndarray:
    """The 7-D action towards a goal: proportional near it, saturated far from it. float64[7] in [-1, 1]."""
    move = GAIN * (goal.position - view.tcp) / STEP_METRES
    largest = float(np.abs(move).max())
    speed = min(goal.speed, top_speed)
    if largest > speed:
        move *= speed / largest
    turn = GAIN * rotation_vector(hand_rotation(goal.yaw, view.lean) @ view.rotation.T) / STEP_RADIANS
    turn /= max(1.0, float(np.abs(turn).max()))
    return np.concatenate((move, turn, [goal.gripper]))


def funnel(
    view: View, target: np.ndarray, *, clearance: float, inner: float, outer: float, unready: float = 0.0
) -> np.ndarray:
    """A point to head for, float64[3] in the world, so that `target` is reached from above.

    Farther than `outer` (metres, horizontally) the way leads `clearance` above the target, nearer than `inner` straight
    down, between the two along a cone; farther still at travelling height, over whatever stands there. A hand that is
    far off and low goes up before it goes sideways. `unready` in [0, 1] holds the hand up for another reason.
    """
    offset = target[:2] - view.tcp[:2]
    distance = float(np.linalg.norm(offset))
    share = float(np.clip((distance - inner) / (outer - inner), 0.0, 1.0))
    height = target[2] + clearance * max(share, unready)
    if distance > outer:
        far = min(1.0, (distance - outer) / 0.06)
        height = max(height, height + far * (travel_height(view, target) - height))
    too_low = float(height - view.tcp[2])
    sideways = float(np.clip(1.0 - (too_low - 0.01) / 0.03, 0.0, 1.0))
    return np.array([*(view.tcp[:2] + sideways * offset), height])


def travel_height(view: View, target: np.ndarray) -> float:
    """Metres above the floor at which a hand with a block passes over what stands between here and the target."""
    deepest = max(view.local(view.tcp)[1], view.local(target)[1])
    return OVER_CABINET if deepest > CABINET_FRONT else OVER_TABLE


@dataclass(frozen=True, kw_only=True)
class Lane:
    """A thing to be pushed by the fist, and the corridor behind it."""

    thing: np.ndarray  # float64[3], world: the point to push at
    direction: np.ndarray  # float64[3], world, unit length: where it should go
    contact: float  # metres between fist and thing, centre to centre, when they touch
    behind: tuple[float, float]  # metres behind contact where the fist may come down
    side: float  # metres off the corridor's middle at which the fist still drives on
    aim: float  # ... at which it may come down
    clearance: float  # metres above the lane at which to cross the thing
    low: float  # metres off the lane's height at which the fist drives on, and is led to it on the way


def along(view: View, lane: Lane) -> tuple[np.ndarray, bool]:
    """The point to head for, float64[3], world: down into the corridor behind the thing, then (True) through it."""
    flat = lane.direction * np.array([1.0, 1.0, 0.0])
    flat /= np.linalg.norm(flat)
    offset = (lane.thing - view.tcp) * np.array([1.0, 1.0, 0.0])
    ahead = float(offset @ flat)
    aside = offset - ahead * flat
    gap = ahead - lane.contact
    low = abs(view.tcp[2] - lane.thing[2]) < lane.low
    if low and np.linalg.norm(aside) < lane.side and -0.012 < gap < lane.behind[1] + 0.03:
        height = np.array([0.0, 0.0, lane.thing[2] - view.tcp[2]])
        return view.tcp + DRIVE * lane.direction + aside + height, True
    back = float(np.clip(gap, *lane.behind))
    kept = aside * min(1.0, lane.aim / max(1e-9, float(np.linalg.norm(aside))))
    target = lane.thing - (lane.contact + back) * flat - kept
    return funnel(view, target, clearance=lane.clearance, inner=0.008, outer=0.035), False
