"""The twelve tasks and their judge.

    left_to_red_cup ...      one box, two things: around the box on the told side, to the told thing
    left_then_right ...      two boxes, one thing: around each on its told side, to the thing

A task is done when the robot stands at its thing, has passed every box on the told side since the task began, and has
run into nothing. On which side a box was passed is the sense in which the robot has gone around it: the direction from
the box to the robot, followed step by step. Who takes the wrong side may turn back and undo it; who collides fails.
"""

from __future__ import annotations

import math
from collections.abc import Sequence
from dataclasses import dataclass
from itertools import product

import numpy as np

from volition.envs.mobile.state import KINDS, Snapshot, Thing
from volition.envs.mobile.ways import LEFT, RIGHT, SIDES

REACHED = 0.55  # metres between the robot's middle and the thing's: at it
STANDING = 0.12  # m/s: slower is to stand
# Radians by which the direction from a box to the robot must have turned for the box to count as passed, and at most:
# half a turn and what start and end lie off the line through the box. More is a way that went round it.
PASSED = (math.pi / 3, 1.7 * math.pi)


@dataclass(frozen=True)
class Order:
    """A task in parts: on which side to pass each box, the nearer first, and the thing to stop at."""

    sides: tuple[str, ...]
    kind: str  # one of KINDS; "" for whatever stands there

    @property
    def task(self) -> str:
        return f"{self.sides[0]}_to_{self.kind}" if self.kind else "_then_".join(self.sides)


def _orders() -> dict[str, Order]:
    one = [Order(sides=(side,), kind=kind) for side, kind in product(SIDES, KINDS)]
    two = [Order(sides=sides, kind="") for sides in product(SIDES, repeat=2)]
    return {order.task: order for order in (*one, *two)}


ORDERS = _orders()
TASKS: tuple[str, ...] = tuple(ORDERS)


def order_of(task: str) -> Order:
    """ValueError for a name that is not in TASKS."""
    if task not in ORDERS:
        raise ValueError(f"task must be one of {', '.join(TASKS)}, got {task!r}")
    return ORDERS[task]


def wanted(order: Order, things: Sequence[Thing]) -> Thing | None:
    """The thing that the order sends the robot to; None where it is not there."""
    found = [thing for thing in things if order.kind in ("", thing.kind)]
    return found[0] if len(found) == 1 else None


class Course:
    """What has happened since a task began: the way that was driven, how each box was passed, what was run into."""

    def __init__(self, start: Snapshot) -> None:
        self.length = 0.0  # metres driven
        self.collided = False
        # Radians from each box to the robot, counted on through full turns: near pi while the robot is before it.
        self.bearings = bearings(start) % (2 * math.pi)
        self.now, self._first = start, self.bearings

    def follow(self, now: Snapshot) -> None:
        """Note the next moment; to be called after every step."""
        last, self.now = self.now, now
        self.length += math.hypot(now.robot.x - last.robot.x, now.robot.y - last.robot.y)
        self.collided |= bool(now.touches - last.touches)
        change = bearings(now) - self.bearings
        self.bearings = self.bearings + (change + math.pi) % (2 * math.pi) - math.pi

    def side(self, box: int) -> str:
        """On which side a box was passed: "left", "right", or "" where it was not."""
        turned = float(self.bearings[box] - self._first[box])
        if not PASSED[0] < abs(turned) < PASSED[1]:
            return ""
        return LEFT if turned < 0 else RIGHT  # who passes on the left goes around the box to the right

    def done(self) -> frozenset[str]:
        """All tasks that are done at this moment: one at most."""
        now = self.now
        if self.collided or now.speed > STANDING:
            return frozenset()
        sides = [self.side(box) for box in range(len(now.boxes))]
        at = [t for t in now.things if math.hypot(t.x - now.robot.x, t.y - now.robot.y) < REACHED]
        return frozenset(
            order.task for order in ORDERS.values() if list(order.sides) == sides and wanted(order, now.things) in at
        )


def bearings(moment: Snapshot) -> np.ndarray:
    """float64[boxes], radians: the direction from each box to the robot, world frame."""
    robot = moment.robot
    return np.array([math.atan2(robot.y - box.pose.y, robot.x - box.pose.x) for box in moment.boxes])
