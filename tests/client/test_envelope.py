"""The safety envelope: whatever goes in, what comes out is inside every limit, and each intervention is counted."""

from __future__ import annotations

import json
import logging
import math
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from volition import geometry
from volition_client import ActionLayout, Envelope, Hold, SafetyLimits, load_limits
from volition_client.motion import turn_of

HZ = 20.0
NAMES = ("x", "y", "z", "rx", "ry", "rz", "gripper")
ARM = ActionLayout(NAMES, (0.02,) * 3 + (0.05,) * 3 + (1.0,), low=(-1.0,) * 7, high=(1.0,) * 7)
KEEP = Hold((0.0,) * 6 + (None,))
BASE = ActionLayout(("x", "rz"), (1.0, 1.0), kind="velocity", frame="body")


def envelope(layout: ActionLayout = ARM, **limits: Any) -> Envelope:
    hold = limits.pop("hold", KEEP if layout is ARM else Hold((0.0,) * len(layout.names)))
    return Envelope(layout, SafetyLimits(hold, **limits), HZ)


def arm(**values: float) -> np.ndarray:
    return np.array([values.get(name, 0.0) for name in NAMES])


def kinds(guarded: Any) -> list[str]:
    return [one.kind for one in guarded.interventions]


def test_what_is_inside_the_limits_passes_to_the_bit() -> None:
    limited = envelope(speed=10.0, acceleration=1e6, turn_speed=20.0, turn_acceleration=1e6, gripper_speed=100.0)
    rng = np.random.default_rng(0)
    for _ in range(50):
        action = rng.uniform(-1, 1, 7)
        guarded = limited.guard(action)
        assert np.array_equal(guarded.action, action)
        assert not guarded.interventions
    assert not any(limited.counts.values())


def test_speed_is_the_length_of_the_velocity_and_keeps_its_direction() -> None:
    guarded = envelope(speed=0.2).guard(arm(x=1, y=1, gripper=1))
    assert kinds(guarded) == ["speed"]
    assert np.linalg.norm(guarded.action[:2]) * 0.02 * HZ == pytest.approx(0.2)
    assert guarded.action[0] == guarded.action[1]


def test_acceleration_counts_from_what_was_executed() -> None:
    limited = envelope(acceleration=1.0)  # 0.05 m/s a step
    speeds = [float(limited.guard(arm(x=1)).action[0]) * 0.02 * HZ for _ in range(10)]
    assert np.allclose(speeds[:8], 0.05 * np.arange(1, 9))
    assert speeds[-1] == pytest.approx(0.4)
    assert limited.counts["acceleration"] == 7
    assert kinds(limited.guard(arm(x=-1))) == ["acceleration"]


def test_a_turn_is_measured_about_its_one_axis() -> None:
    guarded = envelope(turn_speed=0.5).guard(arm(rx=1, ry=1, rz=1))
    matrix = geometry.euler_to_matrix(guarded.action[3:6] * 0.05)
    angle = np.linalg.norm(geometry.matrix_to_axis_angle(matrix))
    assert angle * HZ == pytest.approx(0.5, rel=1e-3)
    assert angle * HZ <= 0.5 * (1 + 1e-9)


@given(st.lists(st.floats(-3, 3), min_size=3, max_size=3))
@settings(max_examples=200)
def test_the_angle_of_euler_angles_is_geometrys(angles: list[float]) -> None:
    vector = geometry.matrix_to_axis_angle(geometry.euler_to_matrix(np.array(angles)))
    assert turn_of(np.array(angles)) == pytest.approx(float(np.linalg.norm(vector)), abs=1e-6)


def test_the_gripper_moves_no_faster_than_its_rate() -> None:
    limited = envelope(gripper_speed=4.0)  # 0.2 a step
    limited.guard(arm(gripper=-1))
    path = [float(limited.guard(arm(gripper=1)).action[6]) for _ in range(12)]
    assert np.allclose(path[:10], -1 + 0.2 * np.arange(1, 11))
    assert path[-1] == 1.0


def test_at_the_wall_the_robot_slides_along_it() -> None:
    box = {"low": (0.0, 0.0, 0.1, None, None, None), "high": (1.0, 1.0, 1.0, None, None, None)}
    guarded = envelope(**box).guard(arm(x=1, z=-1), pose=(0.5, 0.5, 0.11))
    assert kinds(guarded) == ["workspace"]
    assert guarded.action[0] == 1.0
    assert guarded.action[2] * 0.02 == pytest.approx(-0.01)


def test_who_is_outside_may_come_back_but_not_go_on() -> None:
    limited = envelope(low=(0.0, *[None] * 5), high=(1.0, *[None] * 5))
    assert kinds(limited.guard(arm(x=-1), pose=(-0.2, 0, 0))) == ["workspace"]
    back = limited.guard(arm(x=1), pose=(-0.2, 0, 0))
    assert not back.interventions
    assert back.action[0] == 1.0


def test_an_angle_of_the_workspace_needs_a_pose_with_angles() -> None:
    limited = envelope(high=(None, None, None, 0.3, None, None))
    with pytest.raises(ValueError, match="must have rx ry rz"):
        limited.guard(arm(rx=1), pose=(0, 0, 0))
    assert kinds(limited.guard(arm(rx=1), pose=(0, 0, 0, 0.28, 0, 0))) == ["workspace"]
    with pytest.raises(ValueError, match="needs the measured pose"):
        limited.guard(arm())


@pytest.mark.parametrize("value", [math.nan, math.inf, -math.inf])
def test_what_is_not_finite_becomes_the_declared_hold(value: float, caplog: pytest.LogCaptureFixture) -> None:
    limited = envelope()
    limited.guard(arm(x=1, gripper=-1))
    with caplog.at_level(logging.WARNING):
        guarded = limited.guard(arm(y=value, gripper=1))
    assert guarded.action.tolist() == [0, 0, 0, 0, 0, 0, -1]
    assert kinds(guarded) == ["not_finite"]
    assert limited.counts["not_finite"] == 1
    assert "not_finite" in caplog.text


def test_a_hold_that_keeps_what_was_never_sent_is_refused_not_guessed() -> None:
    with pytest.raises(RuntimeError, match="keeps 'gripper' as it was sent last, but nothing has been sent"):
        envelope().guard(arm(x=math.nan))


def test_stale_observations_hold_and_a_fresh_one_goes_on() -> None:
    now = [100.0]
    limited = Envelope(BASE, SafetyLimits(Hold((0.0, 0.0)), stale_seconds=0.5), HZ, clock=lambda: now[0])
    assert kinds(limited.guard(np.array([0.3, 0.0]), observed_at=99.4)) == ["stale"]
    assert kinds(limited.guard(np.array([0.3, 0.0]), observed_at=math.nan)) == ["stale"]
    guarded = limited.guard(np.array([0.3, 0.0]), observed_at=99.9)
    assert guarded.action.tolist() == [0.3, 0.0]


def test_positions_are_led_from_where_the_robot_is_by_its_speed() -> None:
    layout = ActionLayout(("x", "y", "z"), (1.0,) * 3, kind="position")
    limited = Envelope(layout, SafetyLimits(Hold((None,) * 3), speed=1.0), HZ)
    with pytest.raises(ValueError, match="first position needs the measured pose"):
        limited.guard(np.array([1.0, 0, 0]))
    path = [limited.guard(np.array([1.0, 0, 0.5]), pose=(0.8, 0, 0.5)).action for _ in range(6)]
    assert np.allclose([p[0] for p in path], [0.85, 0.9, 0.95, 1.0, 1.0, 1.0])
    assert limited.hold("watchdog", "test").action.tolist() == path[-1].tolist()


def test_a_base_stops_before_the_wall_that_its_heading_leads_to() -> None:
    limited = envelope(BASE, low=(-1.0, -1.0, *[None] * 4), high=(1.0, 1.0, *[None] * 4))
    north = (0.0, 0.99, 0.0, 0.0, 0.0, math.pi / 2)
    guarded = limited.guard(np.array([1.0, 0.2]), pose=north)
    assert kinds(guarded) == ["workspace"]
    assert guarded.action[0] == pytest.approx(0.01 * HZ)
    assert not limited.guard(np.array([1.0, 0.2]), pose=(0.0, 0.99, 0.0, 0.0, 0.0, 0.0)).interventions


@given(st.integers(0, 10**6))
@settings(max_examples=60)
def test_no_sequence_of_actions_leaves_the_limits(seed: int) -> None:
    rng = np.random.default_rng(seed)
    limits = {"speed": 0.3, "acceleration": 2.0, "turn_speed": 0.8, "gripper_speed": 6.0}
    limited = envelope(low=(-0.1,) * 3 + (None,) * 3, high=(0.1,) * 3 + (None,) * 3, **limits)
    pose, gripper = np.zeros(3), None
    for _ in range(40):
        action = rng.normal(0, 3, 7)
        action[rng.integers(7)] *= rng.choice([1, 1, 1e6, math.nan])
        if gripper is None:
            action = np.nan_to_num(action, posinf=1, neginf=-1)
        safe = limited.guard(action, pose=pose).action
        assert np.isfinite(safe).all()
        assert (np.abs(safe) <= 1 + 1e-9).all()
        assert np.linalg.norm(safe[:3]) * 0.02 * HZ <= 0.3 + 1e-9
        assert turn_of(safe[3:6] * 0.05) * HZ <= 0.8 + 1e-9
        assert gripper is None or abs(safe[6] - gripper) <= 6.0 / HZ + 1e-9
        pose, gripper = pose + safe[:3] * 0.02, safe[6]
        assert (np.abs(pose) <= 0.1 + 1e-9).all()


def test_a_trajectory_is_guarded_step_by_step_and_remembers_what_is_executed() -> None:
    one, all_at_once = envelope(acceleration=1.0), envelope(acceleration=1.0)
    chunk = np.tile(arm(x=1, gripper=1), (6, 1))
    single = np.stack([one.guard(action).action for action in chunk])
    whole, found = all_at_once.guard_trajectory(chunk, executed=2)
    assert np.array_equal(single, whole)
    assert found[0].text.startswith("step 0:")
    again = all_at_once.guard(arm(x=1, gripper=1))  # as the third step: two were executed
    assert np.array_equal(again.action, single[2])


def test_a_trajectory_stops_at_the_wall_that_its_own_steps_lead_to() -> None:
    limited = envelope(low=(None,) * 6, high=(0.05, *[None] * 5))
    safe, found = limited.guard_trajectory(np.tile(arm(x=1), (5, 1)), pose=(0.0, 0.0, 0.0))
    assert float(safe[:, 0].sum()) * 0.02 == pytest.approx(0.05)
    assert {one.kind for one in found} == {"workspace"}


def test_a_pose_that_is_no_number_holds() -> None:
    limited = envelope(low=(0, -1, 0, None, None, None))
    limited.guard(arm(x=0.5, gripper=1), pose=(0.5, 0, 0.5))
    guarded = limited.guard(arm(x=0.5, gripper=1), pose=(0.5, np.nan, 0.5))
    assert [one.kind for one in guarded.interventions] == ["not_finite"]
    assert guarded.action.tolist() == [0, 0, 0, 0, 0, 0, 1]


def test_an_absolute_angle_is_gone_to_the_short_way_round() -> None:
    layout = ActionLayout(("rz",), (1.0,), kind="position")
    limited = Envelope(layout, SafetyLimits(Hold((None,)), turn_speed=1.5), control_hz=HZ)
    pose = (0.0, 0.0, 0.0, 0.0, 0.0, 3.13)
    assert limited.guard(np.array([-3.13]), pose).action == [-3.13]  # 0.023 rad away
    slow = Envelope(layout, SafetyLimits(Hold((None,)), turn_speed=0.3), control_hz=HZ)
    (angle,) = slow.guard(np.array([-3.13]), pose).action
    assert angle == pytest.approx(3.13 + 0.3 / HZ)


def test_a_new_task_forgets_the_target_and_not_the_motion() -> None:
    limited = envelope(acceleration=3.0)
    for _ in range(20):
        moving = limited.guard(arm(x=1.0, gripper=1))
    limited.forget_target()
    braked = limited.guard(arm(x=-1.0, gripper=1))
    assert moving.action[0] - braked.action[0] == pytest.approx(3.0 / HZ / HZ / 0.02)


def test_axes_that_nobody_told_bound_no_workspace() -> None:
    tool = ActionLayout(("x", "z"), (0.02, 0.02), frame="other")
    hold = Hold((0.0, 0.0))
    assert Envelope(tool, SafetyLimits(hold, speed=0.1), control_hz=HZ).guard(np.array([1.0, 0.0])).interventions
    with pytest.raises(ValueError, match="leave low and high out"):
        Envelope(tool, SafetyLimits(hold, low=(0, None, None, None, None, None)), control_hz=HZ)


def test_limits_come_from_the_robots_own_file_and_the_hold_has_no_default(tmp_path: Path) -> None:
    path = tmp_path / "arm.json"
    path.write_text(json.dumps({"hold": [0, 0, 0, 0, 0, 0, None], "speed": 0.5, "pose": ["x", "y", "z"]}))
    limits = load_limits(path)
    assert limits.hold == KEEP
    assert (limits.speed, limits.pose) == (0.5, ("x", "y", "z"))
    for document, message in (
        ({"speed": 0.5}, "must state hold"),
        ({"hold": [0], "sped": 1}, "no place for sped"),
        ({"hold": ["0"]}, "numbers or null"),
        ({"hold": [0], "speed": -1}, "speed must be above 0"),
        ({"hold": [0], "speed": True}, "must be numbers"),
        ({"hold": [0], "low": [0] * 6, "high": [-1, *[None] * 5]}, "low must be below high"),
        ({"hold": [0], "pose": ["x"]}, "3 or 6 entries"),
        ([], "JSON object"),
    ):
        path.write_text(json.dumps(document))
        with pytest.raises(ValueError, match=message):
            load_limits(path)


def test_a_layout_comes_from_the_servers_metadata() -> None:
    said = {"layout": {"names": ["x", "rz"], "units": [1.0, 1.0], "kind": "velocity", "frame": "body"}}
    assert ActionLayout.of(said) == BASE
    with pytest.raises(ValueError, match="must have a layout"):
        ActionLayout.of({})
    with pytest.raises(ValueError, match="7 numbers"):
        Envelope(ARM, SafetyLimits(Hold((0.0,))), HZ)
