"""Where an episode begins: a situation in words that admits its tasks becomes a scene in metres, with free ways.

    sample(tasks, scene, rng) -> StartState(scene_obs, prepare)

Furniture and blocks are placed at random, as far apart as a hand needs, and a block that is to be pushed has a free
lane. Who starts with a block in the hand gets it by a scripted lift (`prepare`), so that the grip is a real one.
"""

from __future__ import annotations

import math
from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from functools import cache

import numpy as np

from volition.envs.calvin.initial import block_slot, furniture
from volition.envs.calvin.layouts import LAYOUTS
from volition.envs.calvin.moment import HALF_BLOCK, Layout
from volition.envs.calvin.situations import BLOCKS, TASKS, Situation, feasible, initial_situations

TABLE_Z = 0.46  # metres, of a block's centre; the cabinet's floor is as high
DRAWER_X, DRAWER_Y, DRAWER_Z = (
    0.10,
    0.03,
    0.38,
)  # metres off the middle of the open drawer; height at which it is put in
FROM_DRAWER = -0.30  # metres, y, of that middle
HAND = 0.075  # metres between a block in the cabinet and the door's edge
APART = 0.13  # metres between the centres of blocks on the table
OFF_BUTTON = 0.11  # metres
HANDLE = 0.145  # metres from the door's left edge to its handle's middle
BEFORE_HANDLES, HAND_WIDTH = -0.075, 0.135  # metres: y up to which the hand passes handles, and half of it and of one
LANE_AHEAD, LANE_BEHIND, LANE_SIDE = 0.28, 0.12, 0.10  # metres around a block that is to be pushed
TURNED = math.pi / 8
_ATTEMPTS = 5000


@dataclass(frozen=True, kw_only=True)
class StartState:
    scene_obs: np.ndarray  # float64[24], blocks in the order red, blue, pink
    prepare: str | None  # a task to be done before the episode begins, so that its block is in the hand
    situation: Situation  # before that
    admits: tuple[str, ...]  # every task that could be begun here


def sample(tasks: Sequence[str], scene: str, rng: np.random.Generator) -> StartState:
    """A start from which the tasks can be done one after the other. ValueError where no situation admits them."""
    layout = LAYOUTS[scene]
    options = _options(tuple(tasks))
    situation, prepare = options[rng.integers(len(options))]
    # Not every place on the table leaves its neighbours room: where one draw finds none, another may.
    for _ in range(_ATTEMPTS):
        positions = _draw_positions(situation, layout, rng)
        if _has_room(tasks, situation, positions, layout):
            break
    else:
        raise ValueError(f"no free places were found for {', '.join(tasks)} in {situation}")
    scene_obs = furniture(situation, layout.door_travel)
    for color, position in positions.items():
        slot, loose = block_slot(color), situation.place(color) == "table" and rng.random() < 0.7
        scene_obs[slot : slot + 3] = position
        scene_obs[slot + 5] = rng.uniform(-math.pi, math.pi) if loose else math.pi / 2 + rng.uniform(-TURNED, TURNED)
    for top, bottom in zip(situation.at("stacked_top"), situation.at("stacked_bottom")):
        scene_obs[block_slot(top) + 5] = scene_obs[block_slot(bottom) + 5]
    before = () if prepare is None else (prepare,)
    admits = tuple(
        task
        for task in TASKS
        if feasible(situation, (*before, task)) and _has_room((task,), situation, positions, layout)
    )
    return StartState(scene_obs=scene_obs, prepare=prepare, situation=situation, admits=admits)


@cache
def _options(tasks: tuple[str, ...]) -> tuple[tuple[Situation, str | None], ...]:
    """Where the tasks can begin, and the lift that must come before: as CALVIN's sequences do where they can."""
    if not tasks:
        raise ValueError("a start must name the task or the tasks to begin with, got none")
    found = [(situation, None) for situation in initial_situations() if feasible(situation, tasks)]
    if not found:
        found = [(situation, None) for situation in _unusual() if feasible(situation, tasks)]
    lifts = [f"lift_{color}_block_table" for color in BLOCKS]
    held = [(situation, lift) for situation in initial_situations() for lift in lifts]
    with_lift = [(situation, lift) for situation, lift in held if feasible(situation, (lift, *tasks))]
    if not (found or with_lift):
        raise ValueError(f"the tasks must be doable one after the other from some start, got {', '.join(tasks)}")
    return tuple(found) or tuple(with_lift)


def _unusual() -> Iterator[Situation]:
    """With a block in the open drawer, or on another one."""
    for situation in initial_situations():
        for color in situation.at("table"):
            if situation.drawer == "open":
                yield situation.put({color: "drawer"})
            others = [other for other in situation.at("table") if other != color]
            yield from (situation.put({color: "stacked_top", other: "stacked_bottom"}) for other in others)


def _draw_positions(situation: Situation, layout: Layout, rng: np.random.Generator) -> dict[str, np.ndarray]:
    """A place for every block, float64[3], whether or not it leaves the others room."""
    positions = {}
    for color in BLOCKS:
        place = situation.place(color)
        if place != "stacked_top":
            low, high = _bounds("table" if place == "stacked_bottom" else place, situation, layout)
            positions[color] = rng.uniform(low, high)
    for top, bottom in zip(situation.at("stacked_top"), situation.at("stacked_bottom")):
        positions[top] = positions[bottom] + np.array([0.0, 0.0, 2 * HALF_BLOCK + 0.0005])
    return positions


def _bounds(place: str, situation: Situation, layout: Layout) -> tuple[np.ndarray, np.ndarray]:
    """Lowest and highest place of a block's centre, float64[3] each."""
    if place == "drawer":
        middle = np.array([layout.drawer[0], FROM_DRAWER, DRAWER_Z])
        around = np.array([DRAWER_X, DRAWER_Y, 0.0])
        return middle - around, middle + around
    low, high = (np.array([*corner[:2], TABLE_Z]) for corner in layout.surfaces[place])
    if place == "table":
        return low, high
    inset = np.array([0.03, 0.01, 0.0])
    low, high = low + inset, high - inset
    if place != f"slider_{situation.slider}":  # the half that the door leaves open: a hand must fit in beside the door
        left, right = (edge - (layout.door_travel if situation.slider == "left" else 0.0) for edge in layout.door)
        if place == "slider_right":
            low[0] = max(low[0], right + HAND)
        else:
            high[0] = min(high[0], left - HAND)
    return low, high


def _has_room(
    tasks: Sequence[str], situation: Situation, positions: dict[str, np.ndarray], layout: Layout
) -> bool:  # fmt: skip
    """Whether blocks stand apart and off the button, and the first task's block has the way that it needs."""
    bottoms = [color for color in positions if situation.place(color) != "stacked_top"]
    for number, color in enumerate(bottoms):
        if situation.place(color) in ("table", "stacked_bottom") and (
            _flat(positions[color], np.array(layout.button)) < OFF_BUTTON
            or _under_handle(positions[color], situation, layout)
        ):
            return False
        if any(_flat(positions[color], positions[other]) < APART for other in bottoms[:number]):
            return False
    words = tasks[0].split("_")
    if tasks[0] == "push_into_drawer":
        (color,) = situation.at("table")
        return abs(float(positions[color][0]) - layout.drawer[0]) < 0.14
    if words[0] == "push":
        return _lane_is_free(words[1], 1.0 if words[3] == "right" else -1.0, positions, layout)
    return True


def _lane_is_free(color: str, sign: float, positions: dict[str, np.ndarray], layout: Layout) -> bool:
    """The fist has room behind the block, and the block before it, on the table and off the button."""
    x, y = positions[color][:2]
    end = np.array([x + 0.13 * sign, y, 0.0])
    low, high = layout.surfaces["table"]
    if not min(low[0], -0.32) + 0.02 < end[0] < high[0] + 0.04 or not -0.20 - 0.10 < x - 0.1 * sign < 0.42:
        return False
    for thing in (np.array(layout.button), *(p for other, p in positions.items() if other != color)):
        ahead = sign * float(thing[0] - x)
        if -LANE_BEHIND < ahead < LANE_AHEAD and abs(float(thing[1]) - y) < LANE_SIDE:
            return False
    return True


def _under_handle(position: np.ndarray, situation: Situation, layout: Layout) -> bool:
    """The hand over it would meet the handle of the door or of the switch."""
    door = layout.door[0] + HANDLE - (layout.door_travel if situation.slider == "left" else 0.0)
    return bool(position[1] > BEFORE_HANDLES) and any(
        abs(float(position[0]) - handle) < HAND_WIDTH for handle in (door, layout.switch)
    )


def _flat(a: np.ndarray, b: np.ndarray) -> float:
    return float(np.linalg.norm(a[:2] - b[:2]))
