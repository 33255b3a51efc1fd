"""Sentence templates: a dozen or more to train on, four others for validation. See language.py."""

from __future__ import annotations

# The first tuple is the training split, the second the validation split.
Wordings = tuple[tuple[str, ...], tuple[str, ...]]

ONE_BOX: Wordings = (
    (
        "go around the box on the {side} to the {thing}",
        "pass the box on the {side} and stop at the {thing}",
        "drive to the {thing}, {side} of the box",
        "take the {side} side of the box and go up to the {thing}",
        "the {thing} is where you stop, pass the box {side}",
        "move around the box, {side} side, then to the {thing}",
        "please drive {side} around the box and halt at the {thing}",
        "I want you at the {thing}, go {side} of the box",
        "{side} around the box, then on to the {thing}",
        "get to the {thing} by the way {side} of the box",
        "find the {thing} behind the box, going around on the {side}",
        "head for the {thing} and leave on the {side} of the box",
        "steer {side} of the box until you reach the {thing}",
        "reach the {thing}: around the box, on the {side}",
    ),
    (
        "please go to the {thing}, and pass the box on the {side}",
        "drive around the box on its {side} side until you reach the {thing}",
        "take the way {side} of the box to reach the {thing}",
        "stop at the {thing}, {side} around the box",
    ),
)
TWO_BOXES: Wordings = (
    (
        "pass {first} of the first box and {second} of the second",
        "go around the near box on the {first} and the far one on the {second}",
        "first box {first}, second box {second}, then stop behind them",
        "drive {first} of the near box, then {second} of the far box",
        "take the {first} side of the first box and the {second} side of the second",
        "{first} around the first box, {second} around the second, up to what stands there",
        "please pass the near box on the {first}, then the far box on the {second}",
        "I want you to go {first} of the first box, then {second} of the other",
        "the first box on the {first}, the next on the {second}, then halt at the end",
        "steer {first} of one box, {second} of the next and stop at the end",
        "around both boxes: {first} of the near one, {second} of the far one",
        "go {first}, then {second}, around the two boxes to the thing behind",
        "move past the first box on its {first} and past the second on its {second}",
        "near box {first}, far box {second}, and on to what stands behind",
    ),
    (
        "please drive {first} around the first box, then {second} around the other",
        "pass the near box {first} and the next one {second}, then stop",
        "go past the first box on the {first} and the second on the {second}",
        "take the near box on its {first} side, the far one on its {second} side",
    ),
)
