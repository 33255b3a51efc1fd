"""How people ask for the 34 tasks: a dozen wordings or more each to train on, four others each for validation.

Validation sentences are new combinations of words that occur in training sentences, so a vocabulary made from the
training split knows every one of them. No sentence belongs to two tasks: each says which object, where, which way.
"""

from __future__ import annotations

from functools import cache

from volition.envs.desk import wordings_blocks as blocks
from volition.envs.desk import wordings_furniture as furniture
from volition.envs.desk.state import BLOCKS
from volition.envs.desk.tasks import TASKS

SPLITS = ("train", "validation")

_LIFTS = {"table": blocks.LIFT_TABLE, "slider": blocks.LIFT_SLIDER, "drawer": blocks.LIFT_DRAWER}
_OTHERS: dict[str, blocks.Wordings] = {
    "open_drawer": furniture.OPEN_DRAWER,
    "close_drawer": furniture.CLOSE_DRAWER,
    "place_in_slider": blocks.PLACE_SLIDER,
    "place_in_drawer": blocks.PLACE_DRAWER,
    "stack_block": blocks.STACK,
    "unstack_block": blocks.UNSTACK,
    "push_into_drawer": blocks.PUSH_INTO_DRAWER,
}
_ON = {"state": "on", "goes": "lights up", "look": "shine", "way": "up"}
_OFF = {"state": "off", "goes": "goes dark", "look": "dark", "way": "down"}


def _wordings(task: str) -> tuple[blocks.Wordings, dict[str, str]]:
    """The templates of a task, and what stands in for the names in braces."""
    words = task.split("_")
    if task in _OTHERS:
        return _OTHERS[task], {}
    if words[0] == "lift":
        return _LIFTS[words[3]], {"color": words[1]}
    if words[0] in ("rotate", "push") and words[1] in BLOCKS:
        return (blocks.ROTATE if words[0] == "rotate" else blocks.PUSH), {"color": words[1], "side": words[3]}
    if words[:2] == ["move", "slider"]:
        return furniture.SLIDER, {"side": words[2]}
    assert words[0] == "turn", f"task {task!r} has no wordings"
    return (furniture.BULB if words[2] == "lightbulb" else furniture.LED), (_ON if words[1] == "on" else _OFF)


@cache
def instructions(task: str, split: str) -> tuple[str, ...]:
    """All wordings of a task in "train" (twelve or more) or "validation" (four). ValueError for an unknown name."""
    if task not in TASKS:
        raise ValueError(f"task must be one of the desk's {len(TASKS)}, got {task!r}; known: {', '.join(TASKS)}")
    if split not in SPLITS:
        raise ValueError(f"split must be one of {', '.join(SPLITS)}, got {split!r}")
    templates, names = _wordings(task)
    return tuple(template.format_map(names) for template in templates[SPLITS.index(split)])
