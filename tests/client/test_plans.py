"""The safety envelope between two requests: what the next action is counted from, and poses that it must know."""

from __future__ import annotations

import math
from pathlib import Path
from typing import Any

import numpy as np
import pytest

from tests.client.test_envelope import BASE, HZ, KEEP, arm, envelope, kinds
from volition_client import ActionLayout, SafetyLimits, load_limits


def test_a_base_before_its_wall_must_say_which_way_it_stands() -> None:
    """Its own x may lead anywhere: heading +y at y = 0.99, a step forward leads through the wall at 1."""
    limits = {"high": (None, 1.0, *[None] * 4)}
    bounded = envelope(BASE, **limits)
    with pytest.raises(ValueError, match="must have rx ry rz"):
        bounded.guard(np.array([1.0, 0.0]), pose=(0.0, 0.99, 0.0))
    guarded = bounded.guard(np.array([1.0, 0.0]), pose=(0.0, 0.99, 0.0, 0.0, 0.0, math.pi / 2))
    assert kinds(guarded) == ["workspace"]
    assert guarded.action[0] / HZ == pytest.approx(0.01)
    with pytest.raises(ValueError, match="must name rx ry rz too"):
        envelope(BASE, pose=("x", "y", "z"), **limits)


@pytest.mark.parametrize("side", ["low", "high"])
def test_a_wall_that_is_no_number_is_refused(side: str, tmp_path: Path) -> None:
    with pytest.raises(ValueError, match="low and high must be numbers"):
        SafetyLimits(KEEP, **{side: (math.nan, *[None] * 5)})
    walls = f'"{side}": [NaN, null, null, null, null, null]'
    (tmp_path / "arm.json").write_text('{"hold": [0, 0, 0, 0, 0, 0, null], ' + walls + "}")
    with pytest.raises(ValueError, match="low and high must be numbers"):
        load_limits(tmp_path / "arm.json")


@pytest.mark.parametrize(("executed", "first"), [(None, 0.9), (0, 0.1), (1, 0.2), (3, 0.4), (8, 0.9), (99, 0.9)])
def test_the_next_trajectory_counts_from_what_was_carried_out(executed: int | None, first: float) -> None:
    limited = envelope(acceleration=0.1 * 0.02 * HZ * HZ)  # a tenth more with every step
    safe, _ = limited.guard_trajectory(np.stack([arm(x=1)] * 8))
    assert safe[:, 0].tolist() == pytest.approx(np.arange(1, 9) / 10)
    if executed is not None:
        limited.executed(executed)
    again, _ = limited.guard_trajectory(np.stack([arm(x=1)] * 2))
    assert again[0, 0] == pytest.approx(first)


def test_after_a_hold_no_earlier_plan_is_counted_from() -> None:
    limited = envelope(acceleration=0.1 * 0.02 * HZ * HZ)
    limited.guard_trajectory(np.stack([arm(x=1)] * 8))
    limited.hold("watchdog", "nobody steers")
    limited.executed(8)
    assert limited.guard(arm(x=1)).action[0] == pytest.approx(0.1)


REACH = ActionLayout(("x", "y", "z"), (1.0,) * 3, kind="position")


def test_after_a_hold_in_numbers_positions_count_from_there() -> None:
    limited = envelope(REACH, speed=0.1)  # 5 mm a step
    limited.guard(np.array([1.0, 0.0, 0.0]), pose=(1.0, 0.0, 0.0))
    assert limited.hold("watchdog", "home").action.tolist() == [0.0, 0.0, 0.0]
    assert limited.guard(np.array([1.0, 0.0, 0.0])).action[0] == pytest.approx(0.005)


def test_a_robot_that_was_moved_does_not_jump_back() -> None:
    """Told to be at 0, found at 1 m (somebody moved it): it may be 0.5 s of full speed behind, and no more."""
    limited = envelope(REACH, speed=0.1)
    limited.guard(np.zeros(3), pose=(0.0, 0.0, 0.0))
    guarded = limited.guard(np.zeros(3), pose=(1.0, 0.0, 0.0))
    assert guarded.action[0] == pytest.approx(1.0 - 0.05 - 0.005)
    assert kinds(guarded) == ["speed"]


def test_positions_with_angles_need_a_pose_with_angles() -> None:
    layout = ActionLayout(("x", "rz"), (1.0, 1.0), kind="position")
    with pytest.raises(ValueError, match="must have rx ry rz"):
        envelope(layout, turn_speed=1.0).guard(np.zeros(2), pose=(0.0, 0.0, 0.0))


@pytest.mark.parametrize(
    ("names", "limits", "idle"),
    [
        (("joint_1", "joint_2"), {"speed": 0.1}, "speed"),
        (("x", "rz"), {"gripper_speed": 1.0}, "gripper_speed"),
        (("x", "y"), {"turn_speed": 1.0, "turn_acceleration": 1.0}, "turn_speed, turn_acceleration"),
        (("rz",), {"low": (0.0, *[None] * 5)}, "low"),
        (("x",), {"high": (*[None] * 5, 1.0)}, "high"),
    ],
)
def test_a_limit_that_limits_nothing_is_refused(names: tuple[str, ...], limits: dict[str, Any], idle: str) -> None:
    """Whoever states it believes that the robot is limited."""
    with pytest.raises(ValueError, match=f"^{idle} must limit something, and these actions are of {', '.join(names)}:"):
        envelope(ActionLayout(names, (1.0,) * len(names)), **limits)
