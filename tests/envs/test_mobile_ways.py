"""The string around the boxes: through all gates, never longer than another way, and straight where nothing is."""

from __future__ import annotations

from itertools import pairwise

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from tests.envs.mobile_tools import box
from volition.envs.mobile.ways import Gate, along, beside, gates, length, taut

coordinates = st.floats(-1.5, 1.5).map(lambda value: round(value, 3))


@st.composite
def courses(draw: st.DrawFn) -> tuple[np.ndarray, np.ndarray, list[Gate]]:
    """Start, goal, and gates of either kind between them."""
    places = sorted(draw(st.sets(st.integers(1, 9), min_size=0, max_size=5)))
    found = [
        Gate(0.3 * place, low=draw(coordinates)) if draw(st.booleans()) else Gate(0.3 * place, high=draw(coordinates))
        for place in places
    ]
    return np.array([0.0, draw(coordinates)]), np.array([3.0, draw(coordinates)]), found


def height(way: list[np.ndarray], x: float) -> float:
    return float(np.interp(x, [point[0] for point in way], [point[1] for point in way]))


@settings(max_examples=150)
@given(courses(), st.lists(st.floats(-1.0, 1.0), min_size=40, max_size=40))
def test_a_taut_way_is_open_and_no_longer_than_another_one(
    case: tuple[np.ndarray, np.ndarray, list[Gate]], bumps: list[float]
) -> None:
    start, goal, passed = case
    way = taut(start, goal, passed)
    assert [point.tolist() for point in (way[0], way[-1])] == [start.tolist(), goal.tolist()]
    assert all(after[0] > before[0] for before, after in pairwise(way))
    assert all(gate.low - 1e-9 <= height(way, gate.x) <= gate.high + 1e-9 for gate in passed)
    # Another open way: this one, bent anywhere and then brought back into its gates.
    at = {gate.x: gate for gate in passed}
    for scale in (0.02, 0.5):
        other = [start]
        for x, bump in zip(np.linspace(0.05, 2.95, len(bumps)), bumps):
            other.append(np.array([x, height(way, float(x)) + scale * bump]))
        for x, gate in at.items():
            y = np.clip(height(other, x), gate.low, gate.high)
            other = sorted([*(p for p in other if abs(p[0] - x) > 1e-9), np.array([x, y])], key=lambda p: float(p[0]))
        assert length(way) <= length([*other, goal]) + 1e-9


def test_a_way_around_a_box_touches_the_corners_on_its_side() -> None:
    start, goal = np.array([0.0, 0.0]), np.array([2.4, 0.0])
    left = taut(start, goal, gates([box()], ["left"], 0.3))
    right = taut(start, goal, gates([box()], ["right"], 0.3))
    assert len(left) > 2
    assert max(point[1] for point in left) == pytest.approx(0.5)  # half the box and the margin
    np.testing.assert_allclose([point * (1, -1) for point in left], right, atol=1e-12)
    assert all(box().clearance(point) == pytest.approx(0.3) for point in left[1:-1])


def test_nothing_in_the_way_means_straight() -> None:
    start, goal = np.array([0.0, 0.0]), np.array([1.0, 2.0])
    assert len(taut(start, goal, [])) == 2
    assert len(taut(start, goal, [Gate(0.5, high=2.0), Gate(-1.0, low=5.0), Gate(2.0, low=5.0)])) == 2
    behind = taut(goal, start, [Gate(0.5, low=5.0)])  # to a goal that lies back there is nothing to go around
    assert len(behind) == 2


def test_a_point_along_a_way_is_as_far_as_it_says() -> None:
    way = [np.array([0.0, 0.0]), np.array([1.0, 0.0]), np.array([1.0, 1.0])]
    np.testing.assert_allclose(along(way, 0.25), [0.25, 0.0])
    np.testing.assert_allclose(along(way, 1.5), [1.0, 0.5])
    np.testing.assert_allclose(along(way, 9.0), [1.0, 1.0])
    assert length(way) == pytest.approx(2.0)


@settings(max_examples=60)
@given(st.floats(-3.0, 3.0), st.floats(0.05, 0.5))
def test_the_outline_of_a_box_lies_at_its_margin(yaw: float, margin: float) -> None:
    turned = box(1.0, -0.2, yaw)
    assert all(turned.clearance(corner) == pytest.approx(margin) for corner in turned.outline(margin))
    assert turned.clearance(turned.pose.place) < 0
    assert len(beside(turned.outline(margin), "left")) == 8
