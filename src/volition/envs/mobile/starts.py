"""Where episodes begin: a robot, boxes in its way, and things behind them, with room to pass on every side.

    sample(order, scene, rng) -> MobileState

Everything is drawn anew until every task that could be told here can be done with room to spare, not only the one that
the start is for. So nothing in the picture says which it is: sides are as free, things as near, kinds as frequent.
"""

from __future__ import annotations

import math
from itertools import product

import numpy as np

from volition.envs.mobile import layout as at
from volition.envs.mobile.state import KINDS, Box, MobileState, Pose, Thing
from volition.envs.mobile.tasks import TASKS, Order, order_of
from volition.envs.mobile.ways import SIDES, gates, taut

START_X, START_Y = (-0.12, 0.12), (-0.25, 0.25)  # of the robot's middle, metres
BOX_Y = (-0.30, 0.30)  # of a box's middle
ONE_BOX_X, TWO_BOXES_X, SECOND_BOX = (0.95, 1.45), (0.90, 1.10), (1.25, 1.45)  # the last is behind the first
BOX_DEPTH, BOX_WIDTH, BOX_HEIGHT = (0.22, 0.34), (0.26, 0.50), (0.20, 0.55)
BOX_YAW = 0.30  # radians either way
BEHIND = (1.15, 2.00)  # of a thing, behind the last box
THING_X_HIGHEST, THING_Y = 3.90, (-1.0, 1.0)
APART, LEVEL = 0.75, 0.35  # metres between two things, sideways at least and along x at most
MARGIN = 0.36  # metres between the robot's middle and a box that a way must leave
PASSING = 0.42  # metres between the robot's middle and a thing that it does not go to
IN_SIGHT = 0.68  # radians off the way ahead at which things must lie once the last box is passed
_ATTEMPTS = 2000


def sample(order: Order, scene: str, rng: np.random.Generator, yaw: float) -> MobileState:
    """A start of `order`, and as good a one of every other order that its boxes and things admit.

    `yaw`: radians either way that the robot may stand askew; all else is the same for every value of it.
    """
    for _ in range(_ATTEMPTS):
        state = _draw(order, scene, rng, yaw)
        ways = product(product(SIDES, repeat=len(state.boxes)), state.things)
        if all(_free(state, sides, thing) for sides, thing in ways):
            return state
    raise RuntimeError(f"no room found for {order.task}")


def admits(state: MobileState) -> tuple[str, ...]:
    """Every task that could be told at a start."""
    return tuple(task for task in TASKS if _fits(order_of(task), state))


def _fits(order: Order, state: MobileState) -> bool:
    if len(order.sides) != len(state.boxes):
        return False
    return not order.kind or order.kind in [thing.kind for thing in state.things]


def _draw(order: Order, scene: str, rng: np.random.Generator, yaw: float) -> MobileState:
    robot = Pose(rng.uniform(*START_X), rng.uniform(*START_Y), yaw * rng.uniform(-1.0, 1.0))
    two = len(order.sides) == 2
    x = rng.uniform(*(TWO_BOXES_X if two else ONE_BOX_X))
    boxes = [_box(x, rng)]
    if two:
        x += rng.uniform(*SECOND_BOX)
        boxes.append(_box(x, rng))
    return MobileState(scene=scene, robot=robot, boxes=tuple(boxes), things=_things(order, x, rng))


def _box(x: float, rng: np.random.Generator) -> Box:
    size = (rng.uniform(*BOX_DEPTH), rng.uniform(*BOX_WIDTH), rng.uniform(*BOX_HEIGHT))
    colour = at.BOX_COLOURS[rng.integers(len(at.BOX_COLOURS))]
    return Box(Pose(x, rng.uniform(*BOX_Y), rng.uniform(-BOX_YAW, BOX_YAW)), size, colour)


def _things(order: Order, behind: float, rng: np.random.Generator) -> tuple[Thing, ...]:
    """The thing of the order and, where it has to be told apart, another that shares its colour, its shape, or neither.

    Drawn in pairs whose members are each as often the one that is meant.
    """
    if not order.kind:
        kinds = [KINDS[rng.integers(len(KINDS))]]
    else:
        others = [kind for kind in KINDS if kind != order.kind]
        kinds = [order.kind, others[rng.integers(len(others))]]
    kinds = [kinds[i] for i in rng.permutation(len(kinds))]
    x = behind + rng.uniform(*BEHIND)
    return tuple(Thing(kind, x + rng.uniform(-LEVEL, LEVEL) / 2, rng.uniform(*THING_Y)) for kind in kinds)


def _free(state: MobileState, sides: tuple[str, ...], thing: Thing) -> bool:
    """Whether the thing stands where it can be gone to on these sides: clear of the other, in sight, in the room."""
    if thing.x > THING_X_HIGHEST:
        return False
    others = [other for other in state.things if other is not thing]
    if any(abs(other.y - thing.y) < APART for other in others):
        return False
    way = taut(state.robot.place, thing.place, gates(state.boxes, sides, MARGIN))
    last = way[-2]
    if len(way) > 2 and abs(math.atan2(thing.y - last[1], thing.x - last[0])) > IN_SIGHT:
        return False
    return all(distance(other.place, last, thing.place) > PASSING for other in others)


def distance(point: np.ndarray, start: np.ndarray, end: np.ndarray) -> float:
    """Metres from `point` to the stretch between `start` and `end`, float64[2] each."""
    way = end - start
    share = float(np.clip((point - start) @ way / max(1e-12, float(way @ way)), 0.0, 1.0))
    return float(np.linalg.norm(point - start - share * way))
