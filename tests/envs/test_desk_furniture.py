"""The furniture: what lies on it, its lamps, its moving parts, and how a shift moves all of it."""

from __future__ import annotations

import numpy as np
import pytest

from tests.envs.desk_tools import AWAY, CLOSED, DOWN, EXTREMES, OPEN, hold, scene_obs, servo, up
from volition.envs.desk.desk import Desk
from volition.envs.desk.kinematics import rotation_from_euler
from volition.envs.desk.layout import BUTTON_TRAVEL, DOOR_TRAVEL, DRAWER_TRAVEL, SWITCH_TRAVEL, TOP
from volition.envs.desk.state import BLOCKS, SCENES, DeskState, Shift


@pytest.fixture(scope="module")
def desk() -> Desk:
    return Desk()


def test_touches_name_the_surface_that_a_block_lies_on(desk: Desk) -> None:
    for scene in SCENES:
        desk.reset(DeskState(scene, scene_obs(drawer=DRAWER_TRAVEL, blocks=AWAY), Shift(0.05, -0.05, 0.2)))
        places = [desk.site(name)[0] + up(0.02) for name in ("shelf_left", "shelf_right", "drawer_inside")]
        assert {desk.snapshot().blocks[name].touches for name in BLOCKS} == {frozenset({"other"})}  # the floor
        desk.reset(
            DeskState(scene, scene_obs(drawer=DRAWER_TRAVEL, blocks=tuple(map(tuple, places))), Shift(0.05, -0.05, 0.2))
        )
        hold(desk, OPEN, 3)
        seen = [desk.snapshot().blocks[name].touches for name in BLOCKS]
        assert seen == [{"shelf"}, {"shelf"}, {"drawer"}]
        stack = ((0.0, -0.1, TOP + 0.02), (0.0, -0.1, TOP + 0.06), (0.15, -0.1, TOP + 0.02))
        desk.reset(DeskState(scene, scene_obs(blocks=stack)))
        hold(desk, OPEN, 3)
        seen = [desk.snapshot().blocks[name].touches for name in BLOCKS]
        assert seen == [{"table", "blue"}, {"red"}, {"table"}]


def test_the_button_toggles_the_led_once_at_each_press(desk: Desk) -> None:
    for scene, shift in zip(SCENES, EXTREMES):
        desk.reset(DeskState(scene, scene_obs(blocks=AWAY), shift))
        top, _ = desk.site("button_top")
        for press in range(2):
            servo(desk, top + up(0.06), CLOSED)
            assert desk.snapshot().led == bool(press)
            assert desk.snapshot().button < BUTTON_TRAVEL / 4  # it has sprung back
            servo(desk, top - up(0.015), CLOSED, limit=25)
            hold(desk, CLOSED, 10)
            assert desk.snapshot().led != bool(press)
            assert desk.scene_obs()[5] == float(desk.snapshot().led)


def test_a_start_with_a_pressed_button_does_not_toggle_the_led(desk: Desk) -> None:
    observed = scene_obs(led=1.0)
    observed[2] = BUTTON_TRAVEL
    desk.reset(DeskState("A", observed))
    hold(desk, OPEN, 20)
    assert desk.snapshot().led
    assert desk.snapshot().button < BUTTON_TRAVEL / 4


def test_the_switch_lights_the_bulb_past_its_middle_and_stays_where_it_is_put(desk: Desk) -> None:
    for scene in SCENES:
        desk.reset(DeskState(scene, scene_obs(blocks=AWAY)))
        knob, _ = desk.site("switch_knob")
        before = np.array([0.0, -0.035, 0.0])
        servo(desk, knob + before + up(0.1), CLOSED)
        servo(desk, knob + before, CLOSED)
        assert not desk.snapshot().bulb
        servo(desk, knob + before + (0, 0.085, 0.026), CLOSED, limit=30)
        servo(desk, knob + up(0.15), CLOSED)
        left = desk.snapshot()
        assert left.bulb
        assert left.switch > 0.06
        hold(desk, CLOSED, 30)
        assert desk.snapshot().switch == pytest.approx(left.switch, abs=1e-4)


@pytest.mark.parametrize("scene", SCENES)
def test_door_and_drawer_move_over_their_whole_way_with_shifted_furniture(desk: Desk, scene: str) -> None:
    for shift in (Shift(0.06, 0.06, 0.26), Shift(-0.06, -0.06, -0.26)):
        turned = rotation_from_euler(np.array([0, 0, shift.yaw]))
        hand = turned @ DOWN
        desk.reset(DeskState(scene, scene_obs(blocks=AWAY), shift))
        grip = desk.site("drawer_handle")[0] + turned @ np.array([0, 0.03, -0.008])
        servo(desk, grip + up(0.12), CLOSED, hand)
        servo(desk, grip, CLOSED, hand)
        servo(desk, grip - turned @ np.array([0, DRAWER_TRAVEL, 0]), CLOSED, hand, limit=40)
        assert desk.snapshot().drawer > 0.8 * DRAWER_TRAVEL
        desk.reset(DeskState(scene, scene_obs(blocks=AWAY), shift))
        grip = desk.site("door_handle")[0] + turned @ np.array([0.03, 0, 0])
        servo(desk, grip + up(0.12), CLOSED, hand)
        servo(desk, grip, CLOSED, hand)
        servo(desk, grip - turned @ np.array([DOOR_TRAVEL, 0, 0]), CLOSED, hand, limit=40)
        assert desk.snapshot().door > 0.8 * DOOR_TRAVEL


def test_a_shift_moves_all_furniture_as_one(desk: Desk) -> None:
    names = ("table_centre", "door_handle", "drawer_handle", "drawer_inside", "shelf_left", "switch_knob", "led")
    for scene in SCENES:
        desk.reset(DeskState(scene, scene_obs(door=0.1)))
        plain = {name: desk.site(name)[0] for name in names}
        shift = Shift(0.05, -0.04, 0.25)
        desk.reset(DeskState(scene, scene_obs(door=0.1), shift))
        position, rotation = desk.furniture_pose()
        np.testing.assert_allclose(position, (0.05, -0.04, 0.0))
        for name in names:
            np.testing.assert_allclose(desk.site(name)[0], rotation @ plain[name] + position, atol=1e-9)


def test_bounds_hold_the_sites_and_nothing_of_them_moves_the_blocks(desk: Desk) -> None:
    for scene in SCENES:
        desk.reset(DeskState(scene, scene_obs(drawer=DRAWER_TRAVEL)))
        assert desk.drawer_bounds.contains(desk.site("drawer_inside")[0])
        assert desk.shelf_bounds.contains(desk.site("shelf_left")[0])
        assert desk.shelf_bounds.contains(desk.site("shelf_right")[0])
        low, high = desk.table_bounds.low, desk.table_bounds.high
        corners = ((low[0], low[1], low[2]), (high[0], high[1], high[2]), (low[0], high[1], low[2]))
        desk.reset(DeskState(scene, scene_obs(blocks=corners)))
        hold(desk, OPEN, 10)
        assert {desk.snapshot().blocks[name].touches for name in BLOCKS} == {frozenset({"table"})}
        assert desk.joint_ranges["switch"] == (0.0, SWITCH_TRAVEL)
        assert sorted(desk.block_lengths.values()) == [0.04, 0.056, 0.08]
