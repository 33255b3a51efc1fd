"""How people ask for the twelve tasks: fourteen wordings each to train on, four others each for validation.

Validation sentences are new combinations of words that occur in training sentences, so a vocabulary made from the
training split knows every one of them. No sentence belongs to two tasks.
"""

from __future__ import annotations

from functools import cache

from volition.envs.mobile.tasks import order_of
from volition.envs.mobile.wordings import ONE_BOX, TWO_BOXES

SPLITS = ("train", "validation")


@cache
def instructions(task: str, split: str) -> tuple[str, ...]:
    """All wordings of a task in "train" (fourteen) or "validation" (four). ValueError for an unknown name."""
    order = order_of(task)
    if split not in SPLITS:
        raise ValueError(f"split must be one of {', '.join(SPLITS)}, got {split!r}")
    if len(order.sides) == 1:
        names = {"side": order.sides[0], "thing": order.kind.replace("_", " ")}
        return tuple(template.format_map(names) for template in ONE_BOX[SPLITS.index(split)])
    names = dict(zip(("first", "second"), order.sides))
    return tuple(template.format_map(names) for template in TWO_BOXES[SPLITS.index(split)])
