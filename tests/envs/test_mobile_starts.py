"""Starts: room on every side, every order as good as the one that the start was made for, no hint of which it is."""

from __future__ import annotations

from collections import Counter
from itertools import product

import numpy as np
import pytest

from volition.envs.mobile import layout as at
from volition.envs.mobile.starts import IN_SIGHT, MARGIN, admits, distance, sample
from volition.envs.mobile.state import KINDS, MobileState
from volition.envs.mobile.tasks import TASKS, order_of
from volition.envs.mobile.ways import SIDES, gates, taut


def starts(task: str, count: int) -> list[MobileState]:
    return [sample(order_of(task), "A", np.random.default_rng([seed, TASKS.index(task)]), 0.3) for seed in range(count)]


@pytest.mark.parametrize("task", ["left_to_red_cup", "right_then_left"])
def test_everything_stands_in_the_room_with_ways_on_all_sides(task: str) -> None:
    for state in starts(task, 25):
        for sides, thing in product(product(SIDES, repeat=len(state.boxes)), state.things):
            way = taut(state.robot.place, thing.place, gates(state.boxes, sides, MARGIN))
            inside = np.array(way)
            assert at.ROOM_X[0] + 0.2 < inside[:, 0].min() <= inside[:, 0].max() < at.ROOM_X[1] - 0.4
            assert np.abs(inside[:, 1]).max() < at.ROOM_Y[1] - 0.2
            if len(way) > 2:
                bearing = np.arctan2(*(thing.place - way[-2])[::-1])
                assert abs(bearing) <= IN_SIGHT
        assert all(box.clearance(state.robot.place) > MARGIN for box in state.boxes)


def test_a_start_admits_four_orders_of_its_own_kind() -> None:
    for task in ("right_to_blue_cone", "left_then_left"):
        for state in starts(task, 5):
            found = admits(state)
            assert len(found) == 4
            assert task in found
            assert {len(order_of(other).sides) for other in found} == {len(state.boxes)}


def test_the_picture_does_not_tell_which_thing_is_meant() -> None:
    """Each pair of kinds, and each place in it, is as often shown with the one as with the other meant."""
    pairs: Counter[tuple[str, ...]] = Counter()
    nearer = first = total = 0
    for kind in KINDS:
        for state in starts(f"left_to_{kind}", 36):
            pairs[tuple(sorted(thing.kind for thing in state.things))] += 1
            meant = next(thing for thing in state.things if thing.kind == kind)
            other = next(thing for thing in state.things if thing.kind != kind)
            nearer += meant.x < other.x
            first += state.things[0] is meant
            total += 1
    assert len(pairs) == 6
    assert min(pairs.values()) > 0.4 * max(pairs.values())
    assert 0.38 < nearer / total < 0.62
    assert 0.38 < first / total < 0.62


def test_starts_of_all_tasks_can_be_drawn() -> None:
    assert all(sample(order_of(task), "D", np.random.default_rng(1), 0.1).scene == "D" for task in TASKS)


def test_distance_is_to_the_stretch_and_not_to_the_line() -> None:
    start, end = np.array([0.0, 0.0]), np.array([2.0, 0.0])
    assert distance(np.array([1.0, 0.5]), start, end) == pytest.approx(0.5)
    assert distance(np.array([3.0, 0.0]), start, end) == pytest.approx(1.0)
    assert distance(np.array([3.0, 4.0]), start, start) == pytest.approx(5.0)
