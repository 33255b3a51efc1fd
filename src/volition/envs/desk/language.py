"""How people ask for the 34 tasks: dozens of wordings each to train on, four others each for validation.

A template is a sentence with names in braces and alternatives in brackets: "[please |]turn the {color} one {side}" says
two things.

Validation sentences are new combinations of words that occur in training sentences, so a vocabulary made from the
training split knows every one of them. No sentence belongs to two tasks: each says which object, where, which way.
"""

from __future__ import annotations

import re
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
# Names that stand in many templates.
_PHRASES = {
    "please": "[please |]",
    "thing": "the {color} [block|one]",
    "held": "[the block in your hand|what you hold|the held block|this block]",
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
    """All wordings of a task in "train" (dozens) or "validation" (four). ValueError for an unknown name."""
    if task not in TASKS:
        raise ValueError(f"task must be one of the desk's {len(TASKS)}, got {task!r}; known: {', '.join(TASKS)}")
    if split not in SPLITS:
        raise ValueError(f"split must be one of {', '.join(SPLITS)}, got {split!r}")
    (train, validation), names = _wordings(task)
    kept = _sentences(validation, names)
    return kept if split == "validation" else tuple(s for s in _sentences(train, names) if s not in kept)


def _sentences(templates: tuple[str, ...], names: dict[str, str]) -> tuple[str, ...]:
    """What the templates say, each sentence once."""
    said: list[str] = []
    for template in templates:
        for name, phrase in _PHRASES.items():
            template = template.replace(f"{{{name}}}", phrase)
        said.extend(expand(template.format_map(names)))
    return tuple(dict.fromkeys(said))


_CHOICE = re.compile(r"\[([^\[\]]*)\]")  # an innermost one


def expand(template: str) -> tuple[str, ...]:
    """Every sentence that a template with alternatives stands for: "[a|b] c" -> ("a c", "b c")."""
    choice = _CHOICE.search(template)
    if choice is None:
        return (template,)
    before, after = template[: choice.start()], template[choice.end() :]
    return tuple(s for option in choice[1].split("|") for s in expand(before + option + after))
