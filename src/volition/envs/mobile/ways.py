"""Ways around boxes in the plane: the shortest one that passes every box on its told side.

    gates(boxes, sides) -> [Gate(x, low, high), ...]          where a way may cross the line x = const
    taut(start, goal, gates) -> [start, corner, ..., goal]    the way of a string that is pulled tight

Boxes lie one behind the other along x, so a way that never turns back is a function y(x), and passing a box on the left
means to stay above all its corners.
"""

from __future__ import annotations

import math
from collections.abc import Sequence
from dataclasses import dataclass
from itertools import pairwise

import numpy as np

from volition.envs.mobile.state import Box

LEFT, RIGHT = "left", "right"
SIDES = (LEFT, RIGHT)


@dataclass(frozen=True)
class Gate:
    """Between `low` and `high` metres of y a way may cross this x."""

    x: float
    low: float = -math.inf
    high: float = math.inf


def beside(corners: np.ndarray, side: str) -> list[Gate]:
    """The gates beside something with these `corners` float64[n, 2], for a way that passes it on its `side`."""
    if side == LEFT:
        return [Gate(x, low=y) for x, y in corners.tolist()]
    return [Gate(x, high=y) for x, y in corners.tolist()]


def gates(boxes: Sequence[Box], sides: Sequence[str], margin: float) -> list[Gate]:
    """Those of all boxes, each `margin` metres larger on every side."""
    return [gate for box, side in zip(boxes, sides, strict=True) for gate in beside(box.outline(margin), side)]


def taut(start: np.ndarray, goal: np.ndarray, passed: Sequence[Gate]) -> list[np.ndarray]:
    """The corners of the shortest way, float64[2] each, from `start` to `goal` and with both.

    Only gates between the two count. From the last corner, the two slopes hold every straight way through the gates so
    far; a gate that lies outside of them makes the corner, where the string bends, the next one to look from.
    """
    way, end = [start], goal.tolist()
    between = sorted((gate for gate in passed if start[0] < gate.x < goal[0]), key=lambda gate: gate.x)
    ahead = [*between, Gate(end[0], end[1], end[1])]
    while True:
        corner = _bend(way[-1], ahead)
        if corner is None:
            return [*way, goal]
        way.append(corner)
        ahead = [gate for gate in ahead if gate.x > corner[0]]


def _bend(apex: np.ndarray, ahead: Sequence[Gate]) -> np.ndarray | None:
    """Where the string from `apex` bends first; None where it is straight up to the last gate."""
    steepest, lowest = math.inf, -math.inf
    above = below = apex
    for gate in ahead:
        run = gate.x - apex[0]
        if run <= 0:
            return None  # the goal lies beside or behind: there is nothing to go around
        low, high = (gate.low - apex[1]) / run, (gate.high - apex[1]) / run
        if low > steepest:
            return above
        if high < lowest:
            return below
        if high < steepest:
            steepest, above = high, np.array([gate.x, gate.high])
        if low > lowest:
            lowest, below = low, np.array([gate.x, gate.low])
    return None


def length(way: Sequence[np.ndarray]) -> float:
    """Metres along a way."""
    return float(sum(np.linalg.norm(b - a) for a, b in pairwise(way)))


def along(way: Sequence[np.ndarray], distance: float) -> np.ndarray:
    """The point float64[2] that lies `distance` metres along a way, or its end."""
    for a, b in pairwise(way):
        step = float(np.linalg.norm(b - a))
        if step > distance:
            return a + (b - a) * (distance / step)
        distance -= step
    return way[-1]
