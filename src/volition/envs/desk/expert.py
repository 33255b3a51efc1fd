"""The scripted expert: for every task and every state of the desk, what to do now.

    label(desk, task) -> action[7]                       a function of the desk's state alone
    demonstrate(desk, task, rng) -> (executed, label)    the same with varied speed and pushes against the hand

A block in the hand that the task has no use for is put down first; wherever the last task left the arm, the way leads
up before it leads sideways.
"""

from __future__ import annotations

from collections.abc import Callable, Iterator
from functools import partial

import numpy as np

from volition.envs import demonstration
from volition.envs.demonstration import DemonstrationConfig
from volition.envs.desk import skills_blocks as blocks
from volition.envs.desk import skills_furniture as furniture
from volition.envs.desk.desk import Desk
from volition.envs.desk.state import BLOCKS
from volition.envs.desk.tasks import TASKS
from volition.envs.desk.waypoints import Goal, View, steer

Skill = Callable[[View], Goal]


def _skills() -> dict[str, Skill]:
    found: dict[str, Skill] = {
        "move_slider_left": furniture.move_slider_left,
        "move_slider_right": furniture.move_slider_right,
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
            found[f"push_{color}_block_{side}"] = partial(
                blocks.slide, color=color, direction=np.array([sign, 0.0, 0.0])
            )
            found[f"rotate_{color}_block_{side}"] = partial(blocks.rotate, color=color, sign=-sign)
        found[f"lift_{color}_block_table"] = partial(blocks.lift, color=color)
        # In the cabinet only a hand that lies along it has room.
        found[f"lift_{color}_block_slider"] = partial(blocks.lift, color=color, clearance=0.13, preferred=0.0)
        found[f"lift_{color}_block_drawer"] = partial(blocks.lift, color=color, clearance=0.12)
    assert set(found) == set(TASKS)
    return found


_SKILLS = _skills()
_ANY_BLOCK_IN_HAND = ("place_in_slider", "place_in_drawer", "stack_block", "unstack_block", "push_into_drawer")


def goal(view: View, task: str) -> Goal:
    """Where the hand should go now. Raises ValueError for an unknown task."""
    if task not in _SKILLS:
        raise ValueError(f"task must be one of the desk's {len(TASKS)}, got {task!r}; known: {', '.join(TASKS)}")
    held = view.held
    words = task.split("_")
    wanted = task in _ANY_BLOCK_IN_HAND or words[1] == held
    if held is not None and not wanted:
        return blocks.put_down(view, held)
    return _SKILLS[task](view)


def label(desk: Desk, task: str, top_speed: float = 1.0) -> np.ndarray:
    """What the expert does in the desk's present state: float64[7], relative action as `Desk.step` takes it.

    `top_speed` in (0, 1] is the largest share of a full step along any axis.
    """
    view = View.of(desk)
    return steer(view, goal(view, task), top_speed)


def demonstrate(
    desk: Desk, task: str, rng: np.random.Generator, config: DemonstrationConfig | None = None
) -> Iterator[tuple[np.ndarray, np.ndarray]]:
    """(executed, label), float64[7] each, without end; the caller steps the desk with `executed` between two items."""
    config = config or DemonstrationConfig()
    return demonstration.demonstrate(lambda: label(desk, task, config.top_speed), rng, config)
