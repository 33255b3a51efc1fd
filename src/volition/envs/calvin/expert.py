"""The scripted expert: for every task and every state of the table, what to do now.

label(moment, task) -> action[7]                   a function of the state alone: no clock, no memory
demonstrate(read, task, rng) -> (executed, label)  the same with varied speed and pushes against the hand
"""

from __future__ import annotations

from collections.abc import Callable
from functools import partial

import numpy as np

from volition.envs.calvin import skills_blocks as blocks
from volition.envs.calvin import skills_furniture as furniture
from volition.envs.calvin.moment import Moment
from volition.envs.calvin.situations import BLOCKS, TASKS
from volition.envs.calvin.waypoints import Goal, steer

Skill = Callable[[Moment], Goal]


def _skills() -> dict[str, Skill]:
    found: dict[str, Skill] = {
        "move_slider_left": partial(furniture.move_slider, sign=-1.0),
        "move_slider_right": partial(furniture.move_slider, sign=1.0),
        "open_drawer": furniture.open_drawer,
        "close_drawer": furniture.close_drawer,
        "place_in_slider": blocks.place_in_slider,
        "place_in_drawer": blocks.place_in_drawer,
        "stack_block": blocks.stack,
        "unstack_block": blocks.unstack,
        "turn_on_lightbulb": furniture.turn_on_lightbulb,
        "turn_off_lightbulb": furniture.turn_off_lightbulb,
        "turn_on_led": furniture.press_button,
        "turn_off_led": furniture.press_button,
        "push_into_drawer": blocks.push_into_drawer,
    }
    for color in BLOCKS:
        for side, sign in (("left", -1.0), ("right", 1.0)):
            found[f"push_{color}_block_{side}"] = partial(blocks.push, color=color, sign=sign)
            found[f"rotate_{color}_block_{side}"] = partial(blocks.rotate, color=color, sign=-sign)
        for place in ("table", "slider", "drawer"):
            found[f"lift_{color}_block_{place}"] = partial(blocks.lift, color=color)
    assert set(found) == set(TASKS)
    return found


_SKILLS = _skills()


def _takes(task: str, color: str) -> bool:
    """Whether the task may begin by grasping this block."""
    words = task.split("_")
    return task in ("stack_block", "unstack_block", "push_into_drawer") or (
        words[0] in ("lift", "rotate") and words[1] == color
    )


_ANY_BLOCK_IN_HAND = ("place_in_slider", "place_in_drawer", "stack_block", "unstack_block", "push_into_drawer")


def goal(now: Moment, task: str) -> Goal:
    """Where the hand should go now. Raises ValueError for an unknown task."""
    if task not in _SKILLS:
        raise ValueError(f"task must be one of CALVIN's {len(TASKS)}, got {task!r}; known: {', '.join(TASKS)}")
    held = now.held
    wanted = task in _ANY_BLOCK_IN_HAND or (task.split("_")[1] == held and not task.startswith("push"))
    if held is not None and not wanted:
        return blocks.put_down(now, held)
    around = now.surrounded
    if held is None and around is not None and not _takes(task, around):
        return blocks.let_go(now)
    return _SKILLS[task](now)


def label(now: Moment, task: str, top_speed: float = 1.0) -> np.ndarray:
    """What the expert does in this state: float64[7], relative action, the gripper -1 or +1.

    `top_speed` in (0, 1] is the largest share of a full step along any axis.
    """
    return steer(now, goal(now, task), top_speed)
