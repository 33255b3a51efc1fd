"""The judge, on ways walked by hand: the told side, the told thing, standing, and no collision."""

from __future__ import annotations

import pytest

from tests.envs.mobile_tools import box, course, moment, room
from volition.envs.mobile.state import Thing
from volition.envs.mobile.tasks import REACHED, STANDING, TASKS, Course, order_of

ONE, TWO = room(), room(box(1.0), box(2.3), things=(Thing("blue_cup", 3.5, 0.0),))
AT_CUP, AT_CONE = (2.2, 0.6), (2.2, -0.6)
LEFT, RIGHT = [(0.0, 0.0), (0.5, 0.8), (1.9, 0.8)], [(0.0, 0.0), (0.5, -0.8), (1.9, -0.8)]


@pytest.mark.parametrize(
    ("points", "task"),
    [
        ([*LEFT, AT_CUP], "left_to_red_cup"),
        ([*LEFT, AT_CONE], "left_to_blue_cone"),
        ([*RIGHT, AT_CUP], "right_to_red_cup"),
        ([*RIGHT, AT_CONE], "right_to_blue_cone"),
    ],
)
def test_the_side_and_the_thing_make_the_task(points: list[tuple[float, float]], task: str) -> None:
    assert course(points, ONE).done() == {task}


@pytest.mark.parametrize("first", ["left", "right"])
@pytest.mark.parametrize("second", ["left", "right"])
def test_two_boxes_have_four_ways(first: str, second: str) -> None:
    y = {"left": 0.8, "right": -0.8}
    points = [(0.0, 0.0), (0.5, y[first]), (1.6, y[first]), (1.8, y[second]), (2.9, y[second]), (3.1, 0.0)]
    assert course(points, TWO).done() == {f"{first}_then_{second}"}


def test_a_wrong_side_can_be_undone_and_a_round_trip_is_a_pass_on_no_side() -> None:
    back = [*RIGHT, (0.5, -0.8)]
    assert course([*back, *LEFT[1:], AT_CUP], ONE).done() == {"left_to_red_cup"}
    assert course([*back, *RIGHT[1:], AT_CUP], ONE).done() == {"right_to_red_cup"}
    around = [*LEFT, (1.9, -0.8), (0.5, -0.8), (0.5, 0.8), (1.9, 0.8)]  # once around, and past it again
    assert course([*around, AT_CUP], ONE).done() == set()
    assert course([*LEFT, (1.9, -0.8), (1.9, 0.8), AT_CUP], ONE).done() == {"left_to_red_cup"}


def test_a_thing_is_reached_when_the_robot_is_near_and_stands() -> None:
    near, far = (2.6 - REACHED + 0.01, 0.6), (2.6 - REACHED - 0.01, 0.6)
    assert course([*LEFT, near], ONE).done()
    assert not course([*LEFT, far], ONE).done()
    assert not course([*LEFT, near], ONE, speed=STANDING + 0.01).done()
    assert not course([(0.0, 0.0), (0.4, 0.0)], ONE).done()


def test_a_collision_ends_all_hope() -> None:
    walked = course(LEFT, ONE)
    for touches, collided in (((), False), (("wall",), True), ((), True)):
        walked.follow(moment(1.95, 0.8, touches=touches, state=ONE))
        assert walked.collided == collided
    walked.follow(moment(*AT_CUP, state=ONE))
    assert not walked.done()


def test_length_is_of_the_way_that_was_driven() -> None:
    walked = course([(0.0, 0.0), (0.0, 1.0), (2.0, 1.0)], ONE)
    assert walked.length == pytest.approx(3.0)


def test_where_a_box_was_not_passed_there_is_no_side() -> None:
    start = Course(moment(0.0, 0.0, state=ONE))
    assert start.side(0) == ""
    assert course([(0.0, 0.0), (0.6, 0.2)], ONE).side(0) == ""


def test_names_and_orders_belong_together() -> None:
    assert len(TASKS) == 12
    assert all(order_of(task).task == task for task in TASKS)
    with pytest.raises(ValueError, match="left_to_red_cup"):
        order_of("left_to_green_cup")
