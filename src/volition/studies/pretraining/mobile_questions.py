"""Facts about what the mobile base sees -> questions with their answers, in words and location tokens.

No sentence asks for anything to be done, and none is an instruction of `mobile`.
"""

from __future__ import annotations

import math
from collections.abc import Mapping

import numpy as np

from volition.envs.mobile.state import KINDS
from volition.studies.pretraining.asking import Question, location, pick, signed_root
from volition.studies.pretraining.mobile_moments import BOXES, Point

Facts = Mapping[str, Point]
REACH = 4.0  # metres: offsets are answered within +-REACH, finest near zero
NUM_COORDINATES = 5
CALLED = {"near": ("near box", "first box", "near one"), "far": ("far box", "second box", "other box")}


def coordinates(facts: Facts, thing: str) -> np.ndarray:
    """All places of a thing at once, float32[5], NaN where there is none: metres ahead and to the left (signed square
    root of the share of REACH), place in the picture (-1..1), and the direction to it."""
    numbers = np.full(NUM_COORDINATES, np.nan, np.float32)
    if thing in facts:
        point = facts[thing]
        numbers[:2] = signed_root(point.ahead, REACH), signed_root(point.left, REACH)
        if point.in_view:
            numbers[2:4] = 2 * point.u - 1, 2 * point.v - 1
        numbers[4] = _direction(point)
    return numbers


def ask(facts: Facts, rng: np.random.Generator) -> Question:
    """One question, drawn at random, with its answer."""
    draw = rng.random()
    if draw < 0.5:
        return _where(facts, rng)
    if draw < 0.8:
        return _point(facts, rng)
    if draw < 0.9:
        return _how_many(facts)
    return Question("what do you see", caption(facts))


def caption(facts: Facts) -> str:
    """What is ahead, from left to right; each thing by its direction."""
    seen = sorted((name for name in facts if name in (*BOXES, *KINDS)), key=lambda name: -_direction(facts[name]))
    parts = [f"{_name(facts, name, 0)} {location((_direction(facts[name]) + 1) / 2)}" for name in seen]
    return " and ".join(parts) or "nothing"


def _where(facts: Facts, rng: np.random.Generator) -> Question:
    if not facts:
        return _how_many(facts)
    thing = pick(list(facts), rng)
    point = facts[thing]
    answer = " ".join(
        location((x + 1) / 2)
        for x in (signed_root(point.ahead, REACH), signed_root(point.left, REACH), _direction(point))
    )
    wording = ("where is {} from here", "how far is {} from you", "distance to {}")[rng.integers(3)]
    return Question(wording.format(_name(facts, thing, int(rng.integers(3)))), answer, thing)


def _point(facts: Facts, rng: np.random.Generator) -> Question:
    if not facts:
        return _how_many(facts)
    thing = pick(list(facts), rng)
    point = facts[thing]
    answer = f"{location(point.u)} {location(point.v)}" if point.in_view else "not in view"
    wording = ("point at {}", "where do you see {}")[rng.integers(2)]
    return Question(wording.format(_name(facts, thing, int(rng.integers(3)))), answer, thing)


def _how_many(facts: Facts) -> Question:
    return Question("how many boxes are in front of you", ("none", "one", "two")[sum(box in facts for box in BOXES)])


def _name(facts: Facts, thing: str, wording: int) -> str:
    """What a thing is called here: a box that is alone is no near one. `wording` 0 to 2."""
    if thing in KINDS:
        return f"the {thing.replace('_', ' ')}"
    box, _, end = thing.partition("_")
    called = {"near": ("near box", "first box", "near one"), "far": ("far box", "second box", "other box")}[box][
        wording
    ]
    called = called if "far" in facts else "box"
    return f"the {end} side of the {called}" if end else f"the {called}"


def _direction(point: Point) -> float:
    """-1..1: from square to the right, and what lies behind, over ahead (0) to square to the left."""
    return max(-1.0, min(1.0, math.atan2(point.left, point.ahead) / (math.pi / 2)))
