"""The scripted expert: for every task and every state of the room, how to drive now.

    label(course, order, turns=True) -> twist[3]                  a function of the state alone
    demonstrate(label, rng, config) -> (executed, label)          the same with varied speed, drift and bumps

The way is a string pulled tight around the boxes (`ways.taut`), and the robot heads for a point a little ahead on it,
so that nothing jumps at a corner. A robot that came too near to a box is led away from it; one that took the wrong side
goes back. In three dimensions it looks where it drives, and at its thing in the end; in two it cannot turn, and stops
where the thing is straight ahead.
"""

from __future__ import annotations

import math
from collections.abc import Callable, Iterator
from dataclasses import dataclass

import numpy as np

from volition.envs.mobile import layout as at
from volition.envs.mobile.state import Box, Snapshot, Thing
from volition.envs.mobile.tasks import Course, Order, wanted
from volition.envs.mobile.ways import LEFT, RIGHT, Gate, along, beside, gates, length, taut

TOP_SPEED = 0.5  # m/s
STOP = 0.42  # metres between the robot's middle and its thing's at which it comes to rest; at 0.28 they touch
GAIN = 1.5  # m/s for each metre of way that is left
MARGIN = 0.36  # metres between the robot's middle and a box
LEAST = at.ROBOT_RADIUS + 0.02  # ... when it is too near already
RELIEF, SLACK = 2.0, 0.05  # m/s away from a box for each metre nearer than MARGIN less SLACK
AHEAD, LOOK = 0.20, 0.80  # metres ahead on the way that it drives to, and looks at
TURN_GAIN, TURN_LIMIT = 1.6, 1.0  # rad/s for each radian, at most
WRONG = 1.4  # radians around a box, on the side that was not told: passed wrongly


def label(course: Course, order: Order, *, turns: bool) -> np.ndarray:
    """The twist float64[3] that the expert asks for now; it stands still where its thing is not there."""
    moment = course.now
    thing = wanted(order, moment.things)
    if thing is None or len(order.sides) != len(moment.boxes):
        return np.zeros(3)
    way, look = _way(course, order, thing, turns=turns)
    robot = moment.robot
    left = length(way)
    heading = along(way, AHEAD) - robot.place
    velocity = heading * min(TOP_SPEED, GAIN * left) / max(1e-9, float(np.linalg.norm(heading)))
    velocity = velocity + sum((_relief(robot.place, box) for box in moment.boxes), start=np.zeros(2))
    velocity *= min(1.0, TOP_SPEED / max(1e-9, float(np.linalg.norm(velocity))))
    c, s = math.cos(robot.yaw), math.sin(robot.yaw)
    turn = TURN_GAIN * wrapped(math.atan2(*(look - robot.place)[::-1]) - robot.yaw) if turns else 0.0
    return np.array([
        c * velocity[0] + s * velocity[1], c * velocity[1] - s * velocity[0], np.clip(turn, -TURN_LIMIT, TURN_LIMIT)
    ])  # fmt: skip


def _way(course: Course, order: Order, thing: Thing, *, turns: bool) -> tuple[list[np.ndarray], np.ndarray]:
    """The way to drive, from the robot on, and the point to look at."""
    moment = course.now
    robot = moment.robot.place
    passed = _gates(moment, order, thing)
    straight = taut(robot, thing.place, passed)
    for box, side, bearing in reversed(list(zip(moment.boxes, order.sides, course.bearings))):
        off = (bearing - math.pi) * (1 if side == LEFT else -1)  # positive on the wrong side
        if off > WRONG or (off > 0 and crosses(robot, straight[1], box)):
            return _back(robot, box, RIGHT if side == LEFT else LEFT), box.pose.place
    if turns:
        before = straight[-2]
        toward = (thing.place - before) / max(1e-9, float(np.linalg.norm(thing.place - before)))
    else:
        toward = np.array([math.cos(moment.robot.yaw), math.sin(moment.robot.yaw)])
    return taut(robot, thing.place - STOP * toward, passed), along(straight, LOOK)


def _gates(moment: Snapshot, order: Order, thing: Thing) -> list[Gate]:
    """Beside every box with as much room as the robot has now, and beside things that it does not go to."""
    robot, found = moment.robot.place, list[Gate]()
    for box, side in zip(moment.boxes, order.sides):
        margin = float(np.clip(box.clearance(robot), LEAST, MARGIN))
        found += gates([box], [side], margin)
    for other in moment.things:
        if other.kind != thing.kind:
            gap = float(np.abs(robot - other.place).max())
            reach = float(np.clip(gap, LEAST + at.THING_RADIUS, MARGIN + at.THING_RADIUS))
            square = other.place + reach * np.array([[-1, -1], [-1, 1], [1, -1], [1, 1]])
            found += beside(square, LEFT if thing.y > other.y else RIGHT)
    return found


def _back(robot: np.ndarray, box: Box, side: str) -> list[np.ndarray]:
    """The way back, along the side that was taken, to before the box."""
    mirror = np.array([-1.0, 1.0])
    corners = box.outline(float(np.clip(box.clearance(robot), LEAST, MARGIN))) * mirror
    goal = np.array([box.outline(MARGIN)[:, 0].min() - 0.05, box.pose.y])
    return [point * mirror for point in taut(robot * mirror, goal * mirror, beside(corners, side))]


def _relief(point: np.ndarray, box: Box) -> np.ndarray:
    """m/s float64[2] away from a box that is too near."""
    away = point - box.pose.place
    return RELIEF * max(0.0, MARGIN - SLACK - box.clearance(point)) * away / max(1e-9, float(np.linalg.norm(away)))


def crosses(start: np.ndarray, end: np.ndarray, box: Box) -> bool:
    """Whether the straight way between two points leads through a box, to within 2.5 cm."""
    count = max(2, int(np.linalg.norm(end - start) / 0.05) + 1)
    return any(box.clearance(start + share * (end - start)) < 0.0 for share in np.linspace(0.0, 1.0, count))


def wrapped(angle: float) -> float:
    """The same direction, between -pi and pi."""
    return (angle + math.pi) % (2 * math.pi) - math.pi


@dataclass(frozen=True, kw_only=True)
class DemonstrationConfig:
    """How demonstrations vary. Labels never do: they are the expert's own twist in the state that came about."""

    slowest: float = 0.75  # share of the expert's speed that is executed, drawn per episode from this to 1
    noise: float = 0.10  # standard deviation of the correlated noise, m/s; of turning three times as much, rad/s
    careful: float = 0.25  # share of the noise that is left where the expert hardly moves
    correlation: float = 0.9  # of the noise from one step to the next
    kick_chance: float = 0.015  # per step: a push in one direction
    kick: float = 0.30  # its size, m/s
    kick_steps: int = 4

    def __post_init__(self) -> None:
        if not 0.0 < self.slowest <= 1.0:
            raise ValueError(f"slowest must lie in (0, 1], got {self.slowest}")
        if not 0.0 <= self.correlation < 1.0:
            raise ValueError(f"correlation must lie in [0, 1), got {self.correlation}")


def demonstrate(
    clean_now: Callable[[], np.ndarray], rng: np.random.Generator, config: DemonstrationConfig
) -> Iterator[tuple[np.ndarray, np.ndarray]]:
    """(executed, label), twists float64[3] each, without end; the caller drives with `executed` between two items."""
    speed = rng.uniform(config.slowest, 1.0)
    scale = config.noise * np.array([1.0, 1.0, 3.0])
    noise = rng.normal(size=3)
    kick, left = np.zeros(3), 0
    while True:
        clean = clean_now()
        if left == 0 and rng.random() < config.kick_chance:
            angle = rng.uniform(-math.pi, math.pi)
            kick, left = config.kick * np.array([math.cos(angle), math.sin(angle), 0.0]), config.kick_steps
        noise = config.correlation * noise + math.sqrt(1.0 - config.correlation**2) * rng.normal(size=3)
        # Where the expert itself is slow, a large error would rarely be the policy's.
        hurry = max(config.careful, float(np.linalg.norm(clean[:2])) / TOP_SPEED)
        executed = speed * clean + hurry * scale * noise
        if left:
            executed = executed + hurry * kick
            left -= 1
        yield executed, clean
