"""Where episodes begin: an arrangement in words becomes a desk in metres, with free ways for the tasks to come.

    sample(tasks, scene, rng, shift_range) -> StartState(state, prepare)

Everything is placed in the furniture's frame and then moved with it. Blocks keep the distance that a hand needs, and a
block that is to be pushed has a free lane. Who starts with a block in the hand gets it by a scripted lift (`prepare`),
so that the grip is a real one.
"""

from __future__ import annotations

import math
from collections.abc import Iterator, Sequence
from dataclasses import dataclass

import numpy as np

from volition.envs.desk import layout as at
from volition.envs.desk.chains import Arrangement, after, arrangements
from volition.envs.desk.layout import LAYOUTS, Layout
from volition.envs.desk.state import BLOCKS, DeskState, Shift
from volition.envs.desk.tasks import TASKS

# Block centres on the table, metres in the furniture's frame: within reach, off switch, button and the door's handle.
TABLE_X = (-0.18, 0.18)
TABLE_Y = (-0.145, -0.02)
SHELF_X, SHELF_Y = 0.03, 0.012  # how far a block may stand off the middle of its half of the shelf
DRAWER_X, DRAWER_Y = 0.045, 0.02  # ... and off the middle of the open drawer
TURNED = math.pi / 8  # radians a block may be turned from lying with its long side away from the robot
APART = 0.125  # metres between the centres of blocks on the table
LANE_AHEAD, LANE_BEHIND, LANE_SIDE = 0.24, 0.13, 0.085  # metres around a block that is to be pushed
PUSH_Y = -0.105  # metres: nearer to the table's edge a push that runs askew would end on the floor
PUSH_X = (-0.13, 0.05)  # metres along the push: room for the fingers behind, and for the block to go
SUNK = 0.0002  # metres a block stands in its surface, so that it touches it from the first moment on
_ATTEMPTS = 5000


@dataclass(frozen=True, kw_only=True)
class ShiftRange:
    """Each start draws the furniture's and the camera's offsets evenly from +- these. All zero: nothing moves."""

    x: float = 0.0  # metres
    y: float = 0.0  # metres
    yaw: float = 0.0  # radians
    camera: tuple[float, float, float] = (0.0, 0.0, 0.0)  # azimuth and elevation in radians, distance as a share

    def draw(self, rng: np.random.Generator) -> Shift:
        x, y, yaw, *camera = rng.uniform(-1.0, 1.0, 6) * np.array([self.x, self.y, self.yaw, *self.camera])
        azimuth, elevation, distance = (float(value) for value in camera)
        return Shift(x=float(x), y=float(y), yaw=float(yaw), camera=(azimuth, elevation, distance))


NONE = ShiftRange()
# The demo's: a policy has to look.
DEMO = ShiftRange(x=0.06, y=0.06, yaw=math.radians(15.0), camera=(0.03, 0.02, 0.02))


@dataclass(frozen=True, kw_only=True)
class StartState:
    state: DeskState
    prepare: str | None  # a task to be done before the episode begins, so that its block is in the hand
    arrangement: Arrangement
    admits: tuple[str, ...]  # every task that could be begun here, whether or not the start was drawn for it


def furniture_to_world(points: np.ndarray, shift: Shift) -> np.ndarray:
    """Positions float64[..., 3] in the furniture's frame -> world, metres."""
    c, s = math.cos(shift.yaw), math.sin(shift.yaw)
    turn = np.array([[c, -s, 0.0], [s, c, 0.0], [0.0, 0.0, 1.0]])
    return points @ turn.T + np.array([shift.x, shift.y, 0.0])


def sample(tasks: Sequence[str], scene: str, rng: np.random.Generator, shift_range: ShiftRange = NONE) -> StartState:
    """A start from which the tasks can be done one after the other. One task, or the five of a chain.

    Raises ValueError for an unknown scene or task and for tasks that no arrangement admits.
    """
    if scene not in LAYOUTS:
        raise ValueError(f"scene must be one of {', '.join(LAYOUTS)}, got {scene!r}")
    found = arrangements(tuple(tasks))
    arrangement = found[rng.integers(len(found))]
    layout, shift = LAYOUTS[scene], shift_range.draw(rng)
    poses = _place_blocks(arrangement, tasks, layout, rng)
    scene_obs = np.zeros(24)
    scene_obs[0] = at.DOOR_TRAVEL if arrangement.door == "left" else 0.0
    scene_obs[1] = at.DRAWER_TRAVEL if arrangement.drawer == "open" else 0.0
    scene_obs[3] = at.SWITCH_TRAVEL if arrangement.bulb else 0.0
    scene_obs[4:6] = arrangement.bulb, arrangement.led
    for index, color in enumerate(BLOCKS):
        position, yaw = poses[color]
        scene_obs[6 + 6 * index : 9 + 6 * index] = furniture_to_world(position, shift)
        scene_obs[11 + 6 * index] = yaw + shift.yaw
    held = arrangement.held
    return StartState(
        state=DeskState(scene=scene, scene_obs=scene_obs, shift=shift),
        prepare=None if held is None else f"lift_{held}_block_table",
        arrangement=arrangement,
        admits=tuple(
            task
            for task in TASKS
            if after(arrangement, task) is not None and _has_room(arrangement, (task,), layout, poses)
        ),
    )


Pose = tuple[np.ndarray, float]  # position float64[3] and yaw, in the furniture's frame


def _place_blocks(a: Arrangement, tasks: Sequence[str], layout: Layout, rng: np.random.Generator) -> dict[str, Pose]:
    """Draws until every block has the room it needs."""
    for _ in range(_ATTEMPTS):
        poses = _draw(a, layout, rng)
        if _has_room(a, tasks, layout, poses):
            return poses
    raise RuntimeError(f"no room found on the desk for {a} before {', '.join(tasks)}")


def _draw(a: Arrangement, layout: Layout, rng: np.random.Generator) -> dict[str, Pose]:
    poses: dict[str, Pose] = {}
    for color, place in zip(BLOCKS, a.places):
        yaw = math.pi / 2 + rng.uniform(-TURNED, TURNED)
        across, along = rng.uniform(-1.0, 1.0, 2)
        if place in ("table", "hand"):
            x = float(np.interp(across, (-1, 1), TABLE_X))
            y = float(np.interp(along, (-1, 1), TABLE_Y))
            poses[color] = np.array([x, y, at.TOP + at.BLOCK_HALF]), yaw
        elif place.startswith("shelf"):
            side = -1.0 if place == "shelf_left" else 1.0
            x = layout.cabinet_x + side * at.SHELF_HALF_WIDTH / 2 + SHELF_X * across
            y = (at.SHELF_FRONT + at.SHELF_BACK) / 2 + SHELF_Y * along
            poses[color] = np.array([x, y, at.SHELF_TOP + at.BLOCK_HALF]), yaw
        elif place == "drawer":
            x = layout.drawer_x + DRAWER_X * across
            y = (at.DRAWER_FRONT + at.TABLE_FRONT - at.DRAWER_TRAVEL) / 2 + DRAWER_Y * along
            poses[color] = np.array([x, y, at.DRAWER_FLOOR + at.BLOCK_HALF]), yaw
    for position, _ in poses.values():
        position[2] -= SUNK
    for color, place in zip(BLOCKS, a.places):
        if place in BLOCKS:
            below, yaw = poses[place]
            poses[color] = below + np.array([0.0, 0.0, 2 * at.BLOCK_HALF - SUNK]), yaw
    return poses


def _has_room(a: Arrangement, tasks: Sequence[str], layout: Layout, poses: dict[str, Pose]) -> bool:
    standing = [color for color in BLOCKS if a.place(color) in ("table", "hand")]
    positions = {color: poses[color][0] for color in standing}
    for i, color in enumerate(standing):
        for other in standing[i + 1 :]:
            if np.linalg.norm(positions[color] - positions[other]) < APART:
                return False
    return all(_way_free(task, now, layout, positions) for task, now in _moments(a, tasks, positions))


def _moments(
    a: Arrangement, tasks: Sequence[str], positions: dict[str, np.ndarray]
) -> Iterator[tuple[str, Arrangement]]:
    """Each task with the arrangement it finds; what has been pushed leaves `positions`, where it is is then open."""
    now = a
    for task in tasks:
        yield task, now
        words = task.split("_")
        if words[0] == "push":
            positions.pop(words[1], None)
        following = after(now, task)
        assert following is not None, f"{task} cannot follow in {now}"
        now = following


def _way_free(task: str, now: Arrangement, layout: Layout, positions: dict[str, np.ndarray]) -> bool:
    words = task.split("_")
    if words[0] == "push" and words[1] in positions:
        others = [place for color, place in positions.items() if color != words[1]]
        return _lane_free(positions[words[1]], 1.0 if words[3] == "right" else -1.0, others)
    if task == "push_into_drawer":
        room = at.DRAWER_HALF_WIDTH - 0.05
        on_table = [color for color in positions if now.place(color) == "table"]
        return all(abs(positions[color][0] - layout.drawer_x) < room for color in on_table)
    return True


def _lane_free(position: np.ndarray, sign: float, others: Sequence[np.ndarray]) -> bool:
    """Room to push the block along sign * x: table ahead, nothing in the way of block or fingers."""
    if not (PUSH_X[0] < sign * position[0] < PUSH_X[1] and position[1] > PUSH_Y):
        return False
    for other in others:
        ahead, aside = sign * (other[0] - position[0]), abs(other[1] - position[1])
        if -LANE_BEHIND < ahead < LANE_AHEAD and aside < LANE_SIDE:
            return False
    return True
