"""The judge: CALVIN's 34 tasks as conditions on a change between two snapshots.

    start = desk.snapshot() ... act ... judge("open_drawer", start, desk.snapshot()) -> bool

Left and right are the world's -x and +x, as in CALVIN, also where the furniture is turned: a push along a table that
stands 15 degrees askew loses 3.4 % of its length, which no threshold here notices.
"""

from __future__ import annotations

import math
from collections.abc import Callable
from functools import partial

import numpy as np

from volition.envs.desk.state import BLOCKS, BlockState, Snapshot

ROTATED = math.radians(60.0)  # about the vertical axis
TIPPED = math.radians(30.0)  # about the other two: less than this
ROTATED_MOVED = 0.1  # metres a rotated block may have moved
PUSHED = 0.1  # metres along x
DOOR_MOVED = 0.15  # metres
DRAWER_MOVED = 0.12  # metres
LIFTED = {"table": 0.05, "shelf": 0.03, "drawer": 0.05}  # metres, by the surface it was lifted from
RESTING = 1.0  # m/s and rad/s: slower counts as standing still, for stacks

_BLOCKS = frozenset(BLOCKS)
Condition = Callable[[Snapshot, Snapshot], bool]


def judge(task: str, start: Snapshot, now: Snapshot) -> bool:
    """Whether `task` has been done between the two moments. Raises ValueError for a name that is not in TASKS."""
    if task not in _CONDITIONS:
        raise ValueError(f"task must be one of the desk's {len(TASKS)}, got {task!r}; known: {', '.join(TASKS)}")
    return _CONDITIONS[task](start, now)


def done(start: Snapshot, now: Snapshot) -> frozenset[str]:
    """All tasks that have been done between the two moments."""
    return frozenset(task for task, condition in _CONDITIONS.items() if condition(start, now))


def _euler_xyz(rotation: np.ndarray) -> tuple[float, float, float]:
    """Angles about the fixed axes x, then y, then z (radians) of a matrix[3, 3]."""
    x = np.arctan2(rotation[2, 1], rotation[2, 2])
    y = -np.arcsin(np.clip(rotation[2, 0], -1.0, 1.0))
    z = np.arctan2(rotation[1, 0], rotation[0, 0])
    return float(x), float(y), float(z)


def _supports(block: BlockState) -> frozenset[str]:
    return block.touches - {"robot"}


def _stands_on_blocks(block: BlockState) -> bool:
    """Touches blocks and nothing else, and stands still."""
    if not block.touches or not block.touches <= _BLOCKS:
        return False
    return bool(np.linalg.norm(block.linear_velocity) < RESTING and np.linalg.norm(block.angular_velocity) < RESTING)


def _rotate(color: str, sign: int, start: Snapshot, now: Snapshot) -> bool:
    before, after = start.blocks[color], now.blocks[color]
    # The trace of the turn between the two is 2 at 60 degrees and less beyond: most moments are ruled out by it.
    if np.vdot(before.rotation, after.rotation) > 2.0 or not _supports(after):
        return False
    if np.linalg.norm(after.position - before.position) > ROTATED_MOVED:
        return False
    x, y, z = _euler_xyz(after.rotation @ before.rotation.T)
    return sign * z > ROTATED and abs(x) < TIPPED and abs(y) < TIPPED


def _push(color: str, sign: int, start: Snapshot, now: Snapshot) -> bool:
    before, after = start.blocks[color], now.blocks[color]
    surfaces = _supports(before)
    if not surfaces or not surfaces <= _supports(after):
        return False
    return bool(sign * (after.position[0] - before.position[0]) > PUSHED)


def _lift(color: str, surface: str, start: Snapshot, now: Snapshot) -> bool:
    before, after = start.blocks[color], now.blocks[color]
    raised = after.position[2] - before.position[2]
    return surface in before.touches and after.touches == {"robot"} and bool(raised > LIFTED[surface])


def _door(sign: int, start: Snapshot, now: Snapshot) -> bool:
    return bool(sign * (now.door - start.door) > DOOR_MOVED)


def _drawer(sign: int, start: Snapshot, now: Snapshot) -> bool:
    return bool(sign * (now.drawer - start.drawer) > DRAWER_MOVED)


def held_block(moment: Snapshot) -> str | None:
    """The block in the hand: the only body that the robot touches, and touched by nothing else. None: no such block."""
    for color in BLOCKS:
        if moment.robot_touches == {color} and moment.blocks[color].touches == {"robot"}:
            return color
    return None


def _place(surface: str, start: Snapshot, now: Snapshot) -> bool:
    color = held_block(start)
    if color is None:
        return False
    touches = now.blocks[color].touches
    return surface in touches and "robot" not in touches


def _stack(start: Snapshot, now: Snapshot) -> bool:
    return any(not start.blocks[c].touches & _BLOCKS and _stands_on_blocks(now.blocks[c]) for c in BLOCKS)


def _unstack(start: Snapshot, now: Snapshot) -> bool:
    return any(_stands_on_blocks(start.blocks[c]) and not now.blocks[c].touches & _BLOCKS for c in BLOCKS)


def _bulb(on: bool, start: Snapshot, now: Snapshot) -> bool:
    return start.bulb is not on and now.bulb is on


def _led(on: bool, start: Snapshot, now: Snapshot) -> bool:
    return start.led is not on and now.led is on


def _push_into_drawer(start: Snapshot, now: Snapshot) -> bool:
    return any(
        start.blocks[c].touches == {"table"}
        and "drawer" in now.blocks[c].touches
        and "robot" not in now.blocks[c].touches
        for c in BLOCKS
    )


def _conditions() -> dict[str, Condition]:
    """All 34, in the order of CALVIN's task file."""
    found: dict[str, Condition] = {}
    for color in BLOCKS:
        found[f"rotate_{color}_block_right"] = partial(_rotate, color, -1)
        found[f"rotate_{color}_block_left"] = partial(_rotate, color, +1)
    for color in BLOCKS:
        found[f"push_{color}_block_right"] = partial(_push, color, +1)
        found[f"push_{color}_block_left"] = partial(_push, color, -1)
    found["move_slider_left"] = partial(_door, +1)
    found["move_slider_right"] = partial(_door, -1)
    found["open_drawer"] = partial(_drawer, +1)
    found["close_drawer"] = partial(_drawer, -1)
    for color in BLOCKS:
        for place, surface in (("table", "table"), ("slider", "shelf"), ("drawer", "drawer")):
            found[f"lift_{color}_block_{place}"] = partial(_lift, color, surface)
    found["place_in_slider"] = partial(_place, "shelf")
    found["place_in_drawer"] = partial(_place, "drawer")
    found["stack_block"] = _stack
    found["unstack_block"] = _unstack
    found["turn_on_lightbulb"] = partial(_bulb, True)
    found["turn_off_lightbulb"] = partial(_bulb, False)
    found["turn_on_led"] = partial(_led, True)
    found["turn_off_led"] = partial(_led, False)
    found["push_into_drawer"] = _push_into_drawer
    return found


_CONDITIONS = _conditions()
TASKS: tuple[str, ...] = tuple(_CONDITIONS)
