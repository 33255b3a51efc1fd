"""RoboActions through the safety envelope, and back into the numbers of an action space."""

from __future__ import annotations

import math
from typing import Any

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from volition.contract import ActionSpace, Dimension, relative_arm_7d
from volition.envs.desk.environment import HOLD_ACTION, DeskEnv
from volition.envs.mobile.environment import action_space
from volition.records import Start
from volition.robots import ActionLimits, ActionParser, RoboAction, convert
from volition.robots.guard import RoboGuard, envelope_for, to_chunk
from volition_client import Hold, SafetyLimits

HZ = 30.0
KEEP = Hold(HOLD_ACTION)


def act(x: float = 0.0, rz: float = 0.0, gripper: float | None = 1.0, **more: Any) -> RoboAction:
    return RoboAction(translation=(x, 0.0, 0.0), rotation=(0.0, 0.0, rz), gripper=gripper, **more)


def test_a_step_keeps_what_is_not_moved_and_is_slowed() -> None:
    guard = RoboGuard(SafetyLimits(KEEP, speed=0.3), HZ, frame="world")
    safe, found = guard.guard(act(x=0.02, confidence=0.7))
    assert [one.kind for one in found] == ["speed"]
    assert safe.translation == (pytest.approx(0.01), 0.0, 0.0)
    assert (safe.gripper, safe.confidence) == (1.0, 0.7)
    same = act(x=0.005, rz=0.01)
    assert guard.guard(same) == (same, ())


def test_a_twist_is_the_guarded_steps() -> None:
    guard = RoboGuard(SafetyLimits(Hold((0.0,) * 6), speed=0.3, turn_speed=0.5), HZ, frame="world")
    velocity, found = guard.twist(act(x=0.02, rz=0.1, gripper=None))
    assert {one.kind for one in found} == {"speed", "turn_speed"}
    assert velocity["linear"]["x"] == pytest.approx(0.3)
    assert velocity["angular"]["z"] == pytest.approx(0.5)


def test_a_trajectory_stays_in_the_box_and_a_hold_keeps_the_gripper() -> None:
    guard = RoboGuard(SafetyLimits(KEEP, high=(0.05, *[None] * 5)), HZ, frame="world")
    safe, found = guard.trajectory([act(x=0.02, gripper=-1.0, prediction_horizon=4 - i) for i in range(4)], (0.0,) * 3)
    assert sum(action.translation[0] for action in safe) == pytest.approx(0.05)
    assert {one.kind for one in found} == {"workspace"}
    assert [action.prediction_horizon for action in safe] == [4, 3, 2, 1]
    held = guard.hold("watchdog", "nothing came")
    assert (held.translation, held.gripper) == ((0.0,) * 3, -1.0)


@pytest.mark.parametrize("kind", ["step", "velocity"])
def test_a_base_is_stopped_by_the_wall_that_it_faces(kind: Any) -> None:
    """At y = 0.99 it looks along y, told to drive 5 cm forward: the wall is at 1."""
    guard = RoboGuard(SafetyLimits(Hold((0.0,) * 6), high=(None, 1.0, *[None] * 4)), 10.0, kind=kind, frame="body")
    [asked] = convert([act(x=0.05, gripper=None, frame="body")], kind, control_hz=10.0)
    pose = (0.0, 0.99, 0.0, 0.0, 0.0, math.pi / 2)
    twist, found = guard.twist(asked, pose)
    assert [one.kind for one in found] == ["workspace"]
    assert twist["linear"] == pytest.approx({"x": 0.1, "y": 0.0, "z": 0.0})
    along_the_world, _ = guard.twist(asked, pose, frame="world")
    assert along_the_world["linear"] == pytest.approx({"x": 0.0, "y": 0.1, "z": 0.0})


def test_an_action_of_another_kind_or_frame_is_not_taken_for_ones_own() -> None:
    guard = RoboGuard(SafetyLimits(Hold((0.0,) * 6)), HZ, kind="velocity", frame="body")
    with pytest.raises(ValueError, match="for a velocity of frame 'body', the action is a step of frame 'world'"):
        guard.twist(act(gripper=None))
    sideways = RoboAction(translation=(0.0, 0.0, 0.1), rotation=(0.0,) * 3, kind="velocity", frame="body")
    with pytest.raises(ValueError, match="moves by x, y and rz only"):
        guard.guard(sideways)
    places = RoboGuard(SafetyLimits(Hold((None,) * 6)), HZ, kind="position", frame="world")
    with pytest.raises(ValueError, match="`convert` positions to velocities"):
        places.twist(act(gripper=None, kind="position"), (0.0,) * 6)


@given(st.lists(st.tuples(*[st.floats(-1, 1)] * 3), min_size=1, max_size=5))
@settings(max_examples=50)
def test_positions_come_out_as_positions_no_further_apart_than_the_speed(places: list[tuple[float, ...]]) -> None:
    guard = RoboGuard(SafetyLimits(Hold((None,) * 6), speed=0.3), HZ, kind="position", frame="world")
    asked = [
        RoboAction(translation=(x, y, z), rotation=(0.0,) * 3, kind="position", prediction_horizon=len(places) - i)
        for i, (x, y, z) in enumerate(places)
    ]
    safe, _ = guard.trajectory(asked, (0.0,) * 6)
    velocities = convert(safe, "velocity", control_hz=HZ, pose=(0.0,) * 6)
    assert max(float(np.linalg.norm(one.translation)) for one in velocities) <= 0.3 * (1 + 1e-6)
    assert [one.kind for one in safe] == ["position"] * len(places)
    assert guard.hold("watchdog", "nothing came").translation == safe[-1].translation


def test_a_trajectory_of_which_less_is_carried_out_is_counted_from_there() -> None:
    limits = SafetyLimits(KEEP, acceleration=0.01 * HZ * HZ)  # 1 cm a step more with every step
    guard = RoboGuard(limits, HZ, frame="world")
    first, _ = guard.trajectory([act(x=1.0)] * 4, executed=2)
    then, _ = guard.trajectory([act(x=1.0)] * 2)
    assert [one.translation[0] for one in (*first, *then)] == pytest.approx([0.01, 0.02, 0.03, 0.04, 0.03, 0.04])


def test_a_policy_of_our_own_mobile_base_drives_it() -> None:
    """Numbers in, guarded velocities out, and back into numbers."""
    space = action_space("3d")
    parser, chunk = ActionParser(space=space), np.array([[0.3, -0.2, 0.4], [0.5, 0.0, 0.0]])
    asked = parser.continuous(chunk)
    assert {(one.kind, one.frame) for one in asked} == {("velocity", "body")}
    assert ActionLimits.of(space).violations(asked[0]) == []
    guard = RoboGuard(
        SafetyLimits(Hold((0.0,) * 6), speed=0.1), 10.0, kind=parser.meaning.kind, frame=parser.meaning.frame
    )
    safe, found = guard.trajectory(asked)
    assert [one.kind for one in found] == ["speed", "speed"]
    numbers = to_chunk(safe, space)
    assert np.linalg.norm(numbers[:, :2], axis=1) == pytest.approx([0.1, 0.1])
    limits = SafetyLimits(Hold((0.0,) * 3), speed=0.1)
    assert envelope_for(space, limits, 10.0).guard(chunk[0]).action == pytest.approx(numbers[0])
    with pytest.raises(ValueError, match="velocity of frame 'body', the action a step of frame 'world'"):
        to_chunk([act(gripper=None)], space)


def test_a_gripper_is_there_or_it_is_not() -> None:
    with pytest.raises(ValueError, match="7 numbers, so actions have a gripper"):
        RoboGuard(SafetyLimits(KEEP), HZ, frame="world").guard(act(gripper=None))
    with pytest.raises(ValueError, match="they have none"):
        RoboGuard(SafetyLimits(Hold((0.0,) * 6)), HZ, frame="world").guard(act(gripper=1.0))


@given(
    st.lists(st.lists(st.floats(-1, 1), min_size=6, max_size=6), min_size=1, max_size=4), st.sampled_from([-1.0, 1.0])
)
@settings(max_examples=100)
def test_to_chunk_is_the_inverse_of_the_parser(steps: list[list[float]], gripper: float) -> None:
    space = relative_arm_7d()
    chunk = np.array([[*step, gripper] for step in steps])
    assert np.allclose(to_chunk(ActionParser(space=space).continuous(chunk), space), chunk, atol=1e-12)


def test_a_motion_that_a_space_lacks_is_not_lost_silently() -> None:
    base = ActionSpace(dimensions=(Dimension(name="x", unit="m"), Dimension(name="rz", unit="rad")))
    assert to_chunk([act(x=0.2, rz=0.1, gripper=None)], base).tolist() == [[0.2, 0.1]]
    with pytest.raises(ValueError, match="no y"):
        to_chunk([RoboAction(translation=(0.0, 0.1, 0.0), rotation=(0.0,) * 3)], base)
    with pytest.raises(ValueError, match="both have a gripper, or neither"):
        to_chunk([act(x=0.2)], base)


def test_an_envelope_for_a_spaces_numbers_knows_their_units() -> None:
    envelope = envelope_for(relative_arm_7d(), SafetyLimits(KEEP, speed=0.3), HZ)
    guarded = envelope.guard(np.array([1.0, 0, 0, 0, 0, 0, 1.0]))
    assert guarded.action[0] == pytest.approx(0.3 / HZ / 0.02)
    assert envelope.guard(np.array([0, 0, 0, 0, 0, math.nan, -1.0])).action.tolist() == [0, 0, 0, 0, 0, 0, 1.0]


def test_the_desks_hold_lets_its_arm_stand_still() -> None:
    env = DeskEnv()
    env.reset(Start(seed=3, tasks=("open_drawer",), scene="A"))
    env.begin("open_drawer")
    limited = envelope_for(env.spec.action_space, SafetyLimits(KEEP), env.spec.control_hz)
    for _ in range(10):
        env.step(limited.guard(np.array([0.3, 0.2, -0.1, 0, 0, 0, 1.0])).action)
    for _ in range(15):
        env.step(limited.hold("watchdog", "test").action)
    before = env.desk.robot_obs()[:3]
    for _ in range(30):
        env.step(limited.hold("watchdog", "test").action)
    assert np.linalg.norm(env.desk.robot_obs()[:3] - before) < 1e-3
