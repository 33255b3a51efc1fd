"""How the envelope holds a robot, and from what: where it is, what its gripper was told, and clocks that agree."""

from __future__ import annotations

import math
import time

import numpy as np
import pytest

from tests.client.test_envelope import ARM, BASE, HZ, arm, envelope, kinds
from volition_client import ActionLayout, Envelope, Hold, SafetyLimits, Watchdog

REACH = ActionLayout(("x", "y", "z", "gripper"), (0.5, 1.0, 1.0, 1.0), kind="position")
STAY = Hold((None,) * 4)
SPEED = 0.1  # metres a second: a robot may be 5 cm behind


def reach(**limits: float) -> tuple[Envelope, list[float]]:
    now = [100.0]
    made = SafetyLimits(STAY, **{"speed": SPEED, "stale_seconds": 0.5, **limits})
    return Envelope(REACH, made, HZ, clock=lambda: now[0]), now


def told(x: float, gripper: float = 1.0) -> np.ndarray:
    return np.array([x / 0.5, 0.0, 0.0, gripper])


def place(guarded: object) -> float:
    return float(guarded.action[0]) * 0.5  # type: ignore[attr-defined]


def test_an_observation_of_the_future_is_of_another_clock() -> None:
    now = [100.0]
    limited = Envelope(BASE, SafetyLimits(Hold((0.0, 0.0)), stale_seconds=0.5), HZ, clock=lambda: now[0])
    assert not limited.guard(np.array([0.3, 0.0]), observed_at=100.005).interventions
    guarded = limited.guard(np.array([0.3, 0.0]), observed_at=time.time())
    assert (kinds(guarded), guarded.action.tolist()) == (["stale"], [0.0, 0.0])
    assert "s in the future: observed_at must be of the envelope's own clock" in guarded.interventions[0].text
    assert "time.time" in guarded.interventions[0].text
    now[0] -= 1.0  # a clock that was set
    _, found = limited.guard_trajectory(np.array([[0.3, 0.0]]), observed_at=100.0)
    assert [one.kind for one in found] == ["stale"]


@pytest.mark.parametrize("reason", ["stale", "not_finite"])
def test_a_robot_that_was_moved_is_held_where_it_is(reason: str) -> None:
    """Told to be at 0.5, moved by hand to -0.5: a hold at 0.5 would be a jump of a metre."""
    limited, now = reach()
    limited.guard(told(0.5, gripper=-1.0), pose=(0.5, 0.0, 0.0))
    action = told(math.nan if reason == "not_finite" else 0.5)
    guarded = limited.guard(action, pose=(-0.5, 0.0, 0.0), observed_at=now[0] - 2 * (reason == "stale"))
    assert kinds(guarded) == [reason]
    assert place(guarded) == pytest.approx(-0.5 + 0.05), "half a second of its speed on its way"
    assert guarded.action[3] == -1.0
    assert place(limited.hold("watchdog", "later")) == pytest.approx(-0.45)
    assert place(limited.hold("watchdog", "moved again", pose=(-1.0, 0.0, 0.0))) == pytest.approx(-0.95)
    assert place(limited.hold("watchdog", "no number", pose=(math.nan, 0.0, 0.0))) == pytest.approx(-0.95)
    onwards = limited.guard(told(0.5), pose=(-1.0, 0.0, 0.0))
    assert place(onwards) == pytest.approx(-0.95 + SPEED / HZ)


def test_a_robot_that_is_where_it_was_told_is_held_there_to_the_bit() -> None:
    limited, _ = reach()
    sent = limited.guard(told(0.123), pose=(0.123, 0.0, 0.0))
    for _ in range(5):  # it hangs a little; that must not add up
        held = limited.guard(told(math.nan), pose=(0.113, 0.0, -0.01))
        assert held.action.tolist() == sent.action.tolist()


def test_a_pose_of_a_stale_observation_does_not_pull_the_robot_back() -> None:
    limited, now = reach()
    limited.guard(told(0.5), pose=(0.5, 0.0, 0.0))
    then = now[0] - 60.0
    safe, found = limited.guard_trajectory(
        np.stack([told(-0.5)] * 2), pose=(-0.5, 0.0, 0.0), observed_at=then, measured_at=then
    )
    assert {one.kind for one in found} == {"stale"}
    assert np.allclose(safe[:, 0] * 0.5, 0.5)


def test_a_new_episode_keeps_no_place_to_go_back_to() -> None:
    limited, now = reach(watchdog_seconds=0.1)
    limited.guard(told(0.5, gripper=-1.0), pose=(0.5, 0.0, 0.0))
    assert limited.can_hold
    limited.reset()
    assert not limited.can_hold
    sent: list[np.ndarray] = []
    watchdog = Watchdog(limited, sent.append, HZ, clock=lambda: now[0])
    now[0] += 1.0
    assert not watchdog.check()
    assert not sent
    with pytest.raises(RuntimeError, match="keeps 'x' where the robot is, but this is not known without a pose"):
        limited.hold("watchdog", "nobody steers")
    held = limited.guard(told(0.5), pose=(-0.5, 0.0, 0.0), observed_at=now[0] - 2.0)
    assert (kinds(held), place(held), held.action[3]) == (["stale"], -0.5, -1.0)
    assert limited.can_hold


def test_a_new_episode_keeps_no_velocity_either() -> None:
    limited = envelope(BASE, hold=Hold((None, 0.0)))
    limited.guard(np.array([0.5, 0.0]))
    limited.reset()
    assert not limited.can_hold
    with pytest.raises(RuntimeError, match="keeps 'x' as it was sent last, but nothing has been sent"):
        limited.hold("watchdog", "nobody steers")


def test_a_new_task_is_held_where_the_robot_is() -> None:
    limited, now = reach()
    limited.guard(told(0.5, gripper=-1.0), pose=(0.5, 0.0, 0.0))
    limited.forget_target()
    assert not limited.can_hold
    held = limited.guard(told(0.5), pose=(-0.5, 0.0, 0.0), observed_at=now[0] - 2.0)
    assert (place(held), held.action[3]) == (-0.5, -1.0)


def test_the_gripper_moves_no_faster_after_a_new_episode() -> None:
    limited = envelope(gripper_speed=4.0)  # 0.2 a step
    limited.guard(arm(gripper=-1))
    limited.reset()
    guarded = limited.guard(arm(gripper=1))
    assert kinds(guarded) == ["gripper_speed"]
    assert guarded.action[6] == pytest.approx(-0.8)
    limited.reset()
    limited.reset()
    assert limited.guard(arm(gripper=1)).action[6] == pytest.approx(-0.6)


@pytest.mark.parametrize(("low", "high", "step"), [(0.0, 1.0, 0.1), (0.0, 0.08, 0.008), (-1.0, 1.0, 0.2)])
def test_from_closed_to_open_is_two_whatever_the_grippers_numbers(low: float, high: float, step: float) -> None:
    layout = ActionLayout(ARM.names, ARM.units, low=(-1.0,) * 6 + (low,), high=(1.0,) * 6 + (high,))
    limited = envelope(layout, gripper_speed=4.0)
    limited.guard(arm(gripper=low))
    path = [float(limited.guard(arm(gripper=high)).action[6]) for _ in range(11)]
    assert np.allclose(path[:10], low + step * np.arange(1, 11))
    assert path[-1] == high


@pytest.mark.parametrize("kind", ["step", "velocity", "position"])
@pytest.mark.parametrize("size", [1e306, 1e308, -1.7e308])
def test_what_is_too_large_to_be_limited_does_not_leave_the_limits(kind: str, size: float) -> None:
    layout = ActionLayout(("x", "y", "rz"), (100.0, 1.0, 1.0), kind=kind)
    limited = envelope(layout, speed=0.3, turn_speed=1.0)
    pose = (0.1, 0.0, 0.0, 0.0, 0.0, 0.0)
    limited.guard(np.zeros(3), pose=pose)
    for action in (np.array([size, 0.0, 0.0]), np.array([0.0, size, 0.0])):
        guarded = limited.guard(action, pose=pose)
        assert np.isfinite(guarded.action).all()
        assert np.abs(guarded.action * [100.0, 1.0, 1.0]).max() < 1.0
        assert guarded.interventions
    assert np.isfinite(limited.guard(np.zeros(3), pose=pose).action).all()


def test_what_has_no_speed_is_held() -> None:
    limited = envelope(ActionLayout(("x", "rz"), (1.0, 1.0)), speed=0.3, turn_speed=1.0)
    for action in (np.array([1e308, 0.0]), np.array([0.0, 1e308])):
        guarded = limited.guard(action)
        assert (kinds(guarded), guarded.action.tolist()) == (["not_finite"], [0.0, 0.0])
        assert "so small that its speed can be reckoned, got [" in guarded.interventions[0].text
