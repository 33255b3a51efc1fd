"""Random moments in the rooms of the mobile base, and where everything is from there.

Nothing moves: a room is drawn as for episodes, and the robot is put anywhere in it. No expert, no action, no task.
"""

from __future__ import annotations

import math
from collections.abc import Mapping
from dataclasses import dataclass, replace

import numpy as np

from volition.envs.mobile import layout as at
from volition.envs.mobile import starts
from volition.envs.mobile.mobile import DEFAULT_IMAGE_SIZES
from volition.envs.mobile.state import KINDS, SCENES, Box, MobileState, Pose
from volition.envs.mobile.tasks import ORDERS

ENDS = ("left", "right")  # of a box, as the robot sees it
BOXES = ("near", "far")  # those ahead, the nearer one first
THINGS = (*(name for box in BOXES for name in (box, *(f"{box}_{end}" for end in ENDS))), *KINDS)
WIDTH = 4 * len(THINGS)  # numbers of a moment's facts
BEHIND = -0.2  # metres ahead at which a box is no longer spoken of
_ASKEW = (0.1, 0.5)  # radians, standard deviation of the way that the robot looks: one that only drives, one that turns


@dataclass(frozen=True)
class Point:
    """Where something is: metres ahead and to the left of the robot, and in its picture (0..1 from left and top)."""

    ahead: float
    left: float
    u: float
    v: float

    @property
    def in_view(self) -> bool:
        return 0.0 <= self.u <= 1.0 and 0.0 <= self.v <= 1.0


def draw(rng: np.random.Generator) -> MobileState:
    """A room with the robot clear of everything, mostly before the last box, else anywhere before the things."""
    order = list(ORDERS.values())[rng.integers(len(ORDERS))]
    state = starts.sample(order, str(rng.choice(SCENES)), rng, 0.0)
    last = max(thing.x for thing in state.things) if rng.random() < 0.4 else state.boxes[-1].pose.x
    spread = _ASKEW[rng.integers(len(_ASKEW))]
    while True:
        robot = Pose(rng.uniform(-0.3, last), rng.uniform(-1.2, 1.2), rng.normal(0.0, spread))
        apart = [float(np.linalg.norm(thing.place - robot.place)) - at.THING_RADIUS for thing in state.things]
        if min(*apart, *(box.clearance(robot.place) for box in state.boxes), 9.0) > at.ROBOT_RADIUS + 0.02:
            return replace(state, robot=robot)


def facts(state: MobileState) -> np.ndarray:
    """float32[WIDTH]: ahead, left, u, v of each of THINGS; NaN for what is not there or lies behind."""
    rows = np.full((len(THINGS), 4), np.nan)
    for name, (place, height) in _places(state).items():
        ahead, left = _from_robot(state.robot, place)
        rows[THINGS.index(name)] = ahead, left, *_in_picture(ahead, left, height)
    return rows.ravel().astype(np.float32)


def points(packed: np.ndarray) -> dict[str, Point]:
    """The facts float32[WIDTH] again, of what is there."""
    rows = packed.reshape(len(THINGS), 4).tolist()
    return {name: Point(*row) for name, row in zip(THINGS, rows) if not math.isnan(row[0])}


def _places(state: MobileState) -> Mapping[str, tuple[np.ndarray, float]]:
    """Name -> place float64[2] in the room and height in metres of what is spoken of."""
    ahead = [(_from_robot(state.robot, box.pose.place)[0], box) for box in state.boxes]
    found = {}
    for name, (_, box) in zip(BOXES, sorted((pair for pair in ahead if pair[0] > BEHIND), key=lambda pair: pair[0])):
        found[name] = box.pose.place, box.size[2] / 2
        found |= {f"{name}_{end}": (place, 0.0) for end, place in zip(ENDS, _ends(state.robot, box))}
    for thing in state.things:
        if _from_robot(state.robot, thing.place)[0] > BEHIND:
            found[thing.kind] = thing.place, (at.CUP_HEIGHT if thing.kind.endswith("cup") else at.CONE_HEIGHT) / 2
    return found


def _ends(robot: Pose, box: Box) -> tuple[np.ndarray, np.ndarray]:
    """The corners float64[2] of a box's foot that lie farthest to the left and to the right, as the robot sees it."""
    corners = box.outline(0.0)
    middle = math.atan2(*(box.pose.place - robot.place)[::-1])
    angles = [math.remainder(math.atan2(y - robot.y, x - robot.x) - middle, 2 * math.pi) for x, y in corners.tolist()]
    return corners[int(np.argmax(angles))], corners[int(np.argmin(angles))]


def _from_robot(robot: Pose, place: np.ndarray) -> tuple[float, float]:
    """Metres ahead and to the left."""
    (x, y), c, s = (place - robot.place).tolist(), math.cos(robot.yaw), math.sin(robot.yaw)
    return c * x + s * y, c * y - s * x


def _in_picture(ahead: float, left: float, height: float) -> tuple[float, float]:
    """Where the front camera shows a point; NaN for one that lies behind it."""
    c, s = math.cos(at.CAMERA_PITCH), math.sin(at.CAMERA_PITCH)
    along, up = ahead + at.CAMERA_BACK, height - at.CAMERA_HEIGHT
    depth = c * along - s * up
    if depth < 0.05:
        return math.nan, math.nan
    rows, columns = DEFAULT_IMAGE_SIZES["front"]
    slope = math.tan(at.CAMERA_WIDTH / 2)
    return 0.5 - left / depth / (2 * slope), 0.5 - (s * along + c * up) / depth / (2 * slope * rows / columns)
