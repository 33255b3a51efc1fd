"""The room's physics: exact resets, velocities in the robot's own frame, contacts that stop, move and are noted."""

from __future__ import annotations

import math
import subprocess
import sys

import numpy as np
import pytest

from tests.envs.mobile_tools import box, room
from volition.envs.mobile import drive
from volition.envs.mobile import layout as at
from volition.envs.mobile.mobile import Mobile
from volition.envs.mobile.state import MobileState, Pose, Snapshot, Thing

AHEAD = np.array([0.5, 0.0, 0.0])


@pytest.fixture(scope="module")
def mobile() -> Mobile:
    return Mobile()


def play(mobile: Mobile, state: MobileState, *twists: np.ndarray) -> Snapshot:
    mobile.reset(state)
    for twist in twists:
        mobile.step(twist)
    return mobile.snapshot()


def wild(seed: int) -> list[np.ndarray]:
    """Into the box, and on."""
    rng = np.random.default_rng(seed)
    return [AHEAD + rng.normal(0.0, (0.1, 0.3, 0.5)) for _ in range(45)]


def test_the_same_start_and_twists_give_the_same_to_the_bit_whatever_ran_before(mobile: Mobile) -> None:
    fresh = [play(Mobile(), room(box(0.8)), *wild(seed)) for seed in range(3)]
    assert any("box" in play(mobile, room(box(0.8)), *wild(0)[:n]).touches for n in range(5, 45, 4))
    again = [play(mobile, room(box(0.8)), *wild(seed)) for seed in (2, 0, 1)]
    assert again == [fresh[2], fresh[0], fresh[1]]
    code = "from tests.envs.test_mobile import *; print(play(Mobile(), room(box(0.8)), *wild(1)))"
    there = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, check=True).stdout
    assert there.strip() == str(fresh[1])


def test_a_reset_is_at_rest_where_it_says(mobile: Mobile) -> None:
    state = room(box(1.0, 0.1, 0.3), box(2.2), robot=Pose(0.1, -0.2, 0.4))
    moment = play(mobile, state)
    assert (moment.robot, moment.boxes, moment.things) == (state.robot, state.boxes, state.things)
    assert (moment.speed, moment.touches) == (0.0, frozenset())
    assert not mobile.wheels.any()


@pytest.mark.parametrize("yaw", [0.0, 1.0, -2.0])
def test_velocities_are_in_the_robots_own_frame(mobile: Mobile, yaw: float) -> None:
    start = Pose(1.0, 0.0, yaw)
    for twist in (np.array([0.4, 0.0, 0.0]), np.array([0.0, 0.4, 0.0]), np.array([-0.2, 0.3, 0.0])):
        moment = play(mobile, room(box(3.5, 1.2), robot=start, things=()), *[twist] * 10)
        moved = moment.robot.place - start.place
        c, s = math.cos(yaw), math.sin(yaw)
        ahead, left = c * moved[0] + s * moved[1], c * moved[1] - s * moved[0]
        lag = 1.0 - drive.TIME_CONSTANT  # seconds of full speed in one second from rest
        np.testing.assert_allclose([ahead, left], twist[:2] * lag, atol=0.012)
        assert moment.robot.yaw == pytest.approx(yaw, abs=1e-3)
        assert moment.speed == pytest.approx(float(np.hypot(*twist[:2])), rel=0.02)


def test_it_turns_to_the_left_and_the_wheels_say_so(mobile: Mobile) -> None:
    moment = play(mobile, room(), *[np.array([0.0, 0.0, 0.5])] * 10)
    assert moment.robot.yaw == pytest.approx(0.5 * (1 - drive.TIME_CONSTANT), abs=0.02)
    assert moment.robot.place == pytest.approx(np.zeros(2), abs=1e-3)
    np.testing.assert_allclose(drive.twist_of(mobile.wheels), [0.0, 0.0, 0.5], atol=2e-3)


def test_a_box_stops_the_robot_and_is_shifted_by_the_impact(mobile: Mobile) -> None:
    moment = play(mobile, room(box(0.7)), *[AHEAD] * 30)
    assert "box" in moment.touches
    assert moment.speed < 0.02
    assert 0.705 < moment.boxes[0].pose.x < 0.85  # the impact moved it
    assert moment.boxes[0].pose.x - moment.robot.x > at.ROBOT_RADIUS + 0.15 - 0.01  # nothing went through anything
    rest = play(mobile, room(box(0.7)), *[AHEAD] * 30, *[np.zeros(3)] * 15)
    assert rest.speed < 1e-3
    assert rest.boxes[0].pose.x == pytest.approx(moment.boxes[0].pose.x, abs=0.01)


def test_walls_hold_and_things_are_told_apart(mobile: Mobile) -> None:
    moment = play(mobile, room(robot=Pose(0.0, 1.4, 0.0)), *[np.array([0.0, 0.6, 0.0])] * 15)
    assert moment.touches == {"wall"}
    assert moment.robot.y < at.ROOM_Y[1] - at.ROBOT_RADIUS + 0.01
    things = (Thing("red_cup", 0.6, 0.0), Thing("blue_cone", 2.0, 0.0))
    moment = play(mobile, room(box(3.0), things=things), *[AHEAD] * 12)
    assert moment.touches == {"red_cup"}
    assert moment.things[0].x > 0.6


def test_what_the_robot_does_not_touch_it_does_not_move(mobile: Mobile) -> None:
    state = room(box(1.2), box(2.4, -0.1))
    moment = play(mobile, state, *[np.array([0.3, 0.6, 0.8])] * 15)
    assert (moment.boxes, moment.things) == (state.boxes, state.things)


def test_bad_values_are_refused(mobile: Mobile) -> None:
    with pytest.raises(ValueError, match="reset"):
        Mobile().snapshot()
    with pytest.raises(ValueError, match="side"):
        Mobile(image_sizes={"side": (8, 8)})
    mobile.reset(room())
    for twist in (np.zeros(2), np.array([0.0, np.nan, 0.0])):
        with pytest.raises(ValueError, match="3 finite"):
            mobile.step(twist)
    for state, message in (
        (room(scene="E"), "'E'"),
        (room(things=(Thing("red_cup", 2.0, 0.0), Thing("red_cup", 2.5, 0.0))), "red_cup"),
        (room(things=(Thing("green_cup", 2.0, 0.0),)), "green_cup"),
        (room(box(size=(0.0, 0.3, 0.3))), "0.05 to 2"),
        (room(robot=Pose(9.0, 0.0, 0.0)), "in the room"),
        (room(robot=Pose(0.0, 0.0, math.nan)), "finite"),
    ):
        with pytest.raises(ValueError, match=message):
            mobile.reset(state)
