"""The simulator's physics: exactness, control, grasps and refusals."""

from __future__ import annotations

import subprocess
import sys
from pathlib import Path

import numpy as np
import pytest

from tests.envs.desk_tools import (
    AWAY,
    CLOSED,
    DOWN,
    ON_TABLE,
    OPEN,
    episode,
    grasp,
    hold,
    replay,
    scene_obs,
    wild_actions,
)
from volition.envs.desk.controller import LARGEST_LEAD, LARGEST_TURN
from volition.envs.desk.desk import Desk
from volition.envs.desk.kinematics import HOME, rotation_from_euler, rotation_vector
from volition.envs.desk.layout import SWITCH_TRAVEL
from volition.envs.desk.state import SCENES, DeskState, Shift

ZERO = np.array([0, 0, 0, 0, 0, 0, OPEN])


@pytest.fixture(scope="module")
def desk() -> Desk:
    return Desk()


def test_reset_shows_the_state_that_was_asked_for(desk: Desk) -> None:
    for scene in SCENES:
        wanted = scene_obs(door=0.1, drawer=0.05, switch=0.08, led=1.0, yaw=0.7)
        desk.reset(DeskState(scene, wanted, Shift(0.03, -0.02, 0.2)))
        np.testing.assert_allclose(desk.scene_obs(), wanted, atol=1e-12)
        np.testing.assert_allclose(desk.robot_obs()[7:14], HOME)
        np.testing.assert_allclose(desk.tcp_rotation, DOWN, atol=1e-3)
        assert desk.robot_obs()[6] == pytest.approx(0.08)


def test_replays_are_equal_to_the_bit_in_any_order_and_while_drawing() -> None:
    seeds = (0, 1, 2, 5)
    fresh = [replay(Desk(), seed) for seed in seeds]
    assert len(set(fresh)) == len(seeds)
    used = Desk()
    assert [replay(used, seed) for seed in reversed(seeds)] == fresh[::-1]
    assert [replay(used, seed, draw=True) for seed in seeds] == fresh


def test_another_process_replays_the_same_bits() -> None:
    code = "from tests.envs.desk_tools import Desk, replay; print(replay(Desk(), 3))"
    root = Path(__file__).parents[2]
    other = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, check=True, cwd=root)
    assert other.stdout.strip() == replay(Desk(), 3)


def test_save_and_restore_continue_to_the_bit_in_this_desk_and_another(desk: Desk) -> None:
    state, actions = episode(6)
    desk.reset(state)
    for action in actions[:30]:
        desk.step(action)
    saved, seen = desk.save(), desk.snapshot()
    for action in actions[30:]:
        desk.step(action)
    end = desk.scene_obs().tobytes() + desk.robot_obs().tobytes()
    other = Desk()
    other.reset(episode(7)[0])
    for again in (desk, other):
        again.restore(saved)
        assert again.snapshot().robot_touches == seen.robot_touches
        np.testing.assert_array_equal(again.snapshot().blocks["red"].position, seen.blocks["red"].position)
        for action in actions[30:]:
            again.step(action)
        assert again.scene_obs().tobytes() + again.robot_obs().tobytes() == end
        assert again.shift == state.shift


def test_a_start_settles_nothing(desk: Desk) -> None:
    for scene in SCENES:
        start = scene_obs(door=0.12, drawer=0.09, switch=0.03)
        desk.reset(DeskState(scene, start, Shift(0.05, 0.05, -0.2)))
        for _ in range(30):
            desk.step(ZERO)
        np.testing.assert_allclose(desk.scene_obs(), start, atol=1e-3)


def test_an_action_moves_the_hand_along_and_about_the_axes_of_the_world(desk: Desk) -> None:
    start = DeskState("A", scene_obs())
    for axis in range(3):
        desk.reset(start)
        before = desk.tcp_position
        action = ZERO.copy()
        action[axis] = 1.0
        desk.step(action)
        np.testing.assert_allclose(desk.target_position - before, 0.02 * np.eye(3)[axis], atol=1e-6)
        hold(desk, OPEN, 10)
        np.testing.assert_allclose(desk.tcp_position, desk.target_position, atol=0.002)
        desk.reset(start)
        action = ZERO.copy()
        action[3 + axis] = 1.0
        for _ in range(4):
            desk.step(action)
        hold(desk, OPEN, 10)
        turned = rotation_from_euler(0.2 * np.eye(3)[axis]) @ DOWN
        np.testing.assert_allclose(desk.tcp_rotation, turned, atol=0.02)


def test_actions_beyond_one_are_clipped(desk: Desk) -> None:
    seen = []
    for scale in (1.0, 50.0):
        desk.reset(DeskState("B", scene_obs()))
        desk.step(np.array([1, -1, 1, 1, -1, 1, 1]) * scale)
        seen.append(desk.robot_obs())
    np.testing.assert_array_equal(seen[0], seen[1])


def test_the_kept_target_does_not_wind_up(desk: Desk) -> None:
    desk.reset(DeskState("A", scene_obs(blocks=AWAY)))
    outward, back = np.array([1, 1, 0, 0, 0, 0, OPEN]), np.array([-1, -1, 0, 0, 0, 0, OPEN])
    for _ in range(60):
        desk.step(outward)
    stretched = desk.tcp_position
    assert np.linalg.norm(desk.target_position - stretched) < LARGEST_LEAD + 0.03  # one step's motion on top
    for _ in range(8):
        desk.step(back)
    assert np.linalg.norm(desk.tcp_position - stretched) > 0.05
    desk.reset(DeskState("A", scene_obs(blocks=AWAY)))
    for _ in range(120):  # 6 radians about the world's z: further than the last joint turns
        desk.step(np.array([0, 0, 0, 0, 0, 1, OPEN]))
    lead = rotation_vector(desk.target_rotation @ desk.tcp_rotation.T)
    assert np.linalg.norm(lead) < LARGEST_TURN + 0.1


def test_the_hand_lifts_a_block_and_carries_it_without_slipping(desk: Desk) -> None:
    for scene in SCENES:
        desk.reset(DeskState(scene, scene_obs(yaw=0.4)))
        assert desk.snapshot().blocks["blue"].touches == {"table"}
        grasp(desk, "blue")
        held = desk.snapshot()
        assert held.blocks["blue"].touches == {"robot"}
        assert held.robot_touches == {"blue"}
        assert held.blocks["blue"].position[2] == pytest.approx(0.58, abs=0.01)
        offset = held.blocks["blue"].position - desk.tcp_position
        hold(desk, CLOSED, 150)
        np.testing.assert_allclose(desk.snapshot().blocks["blue"].position - desk.tcp_position, offset, atol=0.001)


def test_an_episode_can_start_with_a_block_in_the_hand(desk: Desk) -> None:
    desk.reset(DeskState("A", scene_obs()))
    for aside in (-0.012, 0.0, 0.012):  # metres along the fingers' travel, which is the world's -x
        place = desk.tcp_position + np.array([aside, 0.0, 0.0])
        start = DeskState("A", scene_obs(blocks=(tuple(place), *ON_TABLE[1:]), yaw=np.pi / 2), gripper=CLOSED)
        desk.reset(start)
        assert desk.robot_obs()[6] == pytest.approx(0.04, abs=1e-4)  # the block's width
        desk.step(np.array([0, 0, 0, 0, 0, 0, CLOSED]))
        assert desk.snapshot().robot_touches == {"red"}
        np.testing.assert_allclose(desk.snapshot().blocks["red"].position, place, atol=0.006)
        assert desk.robot_obs()[6] == pytest.approx(0.038, abs=0.002)
        hold(desk, CLOSED, 30)
        assert desk.snapshot().blocks["red"].touches == {"robot"}
        hold(desk, OPEN, 20)
        assert "robot" not in desk.snapshot().blocks["red"].touches
        desk.reset(DeskState("A", scene_obs()))


def test_velocities_are_those_of_the_world(desk: Desk) -> None:
    desk.reset(DeskState("A", scene_obs(blocks=((0.0, -2.0, 1.0), *AWAY[1:]), yaw=1.0)))
    hold(desk, OPEN, 6)
    falling = desk.snapshot().blocks["red"]
    np.testing.assert_allclose(falling.linear_velocity, (0, 0, -9.81 * 0.2), atol=0.01)
    np.testing.assert_allclose(falling.angular_velocity, 0, atol=1e-6)
    tilted = scene_obs(blocks=((0.0, -2.0, 0.05), *AWAY[1:]))
    tilted[9:12] = 0.5, 0.6, 2.0  # falls over on one of its corners
    desk.reset(DeskState("A", tilted))
    hold(desk, OPEN, 3)
    turning = [desk.snapshot().blocks["red"]]
    hold(desk, OPEN, 1)
    turning.append(desk.snapshot().blocks["red"])
    turned = rotation_vector(turning[1].rotation @ turning[0].rotation.T) * 30
    mean = (turning[0].angular_velocity + turning[1].angular_velocity) / 2
    assert np.linalg.norm(turned) > 1.0
    np.testing.assert_allclose(mean, turned, atol=0.25 * np.linalg.norm(turned))


def test_the_first_angle_of_a_hand_that_points_down_does_not_jump(desk: Desk) -> None:
    desk.reset(DeskState("A", scene_obs(blocks=AWAY)))
    seen = []
    for sign in (1, -1, -1, 1):
        for _ in range(3):
            desk.step(np.array([0, 0, 0, 0, sign, 0, OPEN]))
            seen.append(desk.robot_obs()[3])
    assert np.abs(np.array(seen) - np.pi).max() < 0.3


def test_refusals_say_what_is_wrong(desk: Desk) -> None:
    good = scene_obs()
    with pytest.raises(ValueError, match="reset before"):
        Desk().step(ZERO)
    with pytest.raises(ValueError, match="A, B, C, D"):
        desk.reset(DeskState("E", good))
    with pytest.raises(ValueError, match="24 finite"):
        desk.reset(DeskState("A", good[:23]))
    with pytest.raises(ValueError, match=r"drawer must lie in 0.0..0.16"):
        desk.reset(DeskState("A", scene_obs(drawer=0.3)))
    dark = scene_obs(switch=SWITCH_TRAVEL)
    dark[4] = 0.0
    with pytest.raises(ValueError, match="bulb must be on"):
        desk.reset(DeskState("A", dark))
    with pytest.raises(ValueError, match="7 angles within"):
        desk.reset(DeskState("A", good, joints=np.full(7, 9.0)))
    desk.reset(DeskState("A", good))
    for action in (np.zeros(6), np.full(7, np.nan)):
        with pytest.raises(ValueError, match="7 finite"):
            desk.step(action)
    with pytest.raises(ValueError, match="drawer_handle"):
        desk.site("cupboard")


def test_a_refused_reset_or_step_changes_nothing(desk: Desk) -> None:
    desk.reset(DeskState("A", scene_obs(led=1.0)))
    for action in wild_actions(0, 10):
        desk.step(action)
    before = desk.robot_obs(), desk.scene_obs()
    with pytest.raises(ValueError, match="drawer"):
        desk.reset(DeskState("A", scene_obs(drawer=9.0)))
    with pytest.raises(ValueError, match="finite"):
        desk.step(np.full(7, np.inf))
    np.testing.assert_array_equal(before[0], desk.robot_obs())
    np.testing.assert_array_equal(before[1], desk.scene_obs())
