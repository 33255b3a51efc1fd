"""The watchdog: a robot that nobody steers is held."""

from __future__ import annotations

import threading
import time

import numpy as np
import pytest

from tests.client.test_envelope import BASE, HZ, arm, envelope
from volition_client import Envelope, Hold, SafetyLimits, Watchdog


def test_the_watchdog_holds_a_robot_that_nobody_steers_until_somebody_does() -> None:
    limited = envelope(watchdog_seconds=0.1)
    sent: list[np.ndarray] = []
    with Watchdog(limited, sent.append, control_hz=100) as watchdog:
        for _ in range(20):
            limited.guard(arm(x=0.5, gripper=1))
            time.sleep(0.005)
        steered = len(sent)
        deadline = time.monotonic() + 20
        while len(sent) < steered + 3 and time.monotonic() < deadline:
            time.sleep(0.005)
        assert watchdog.holding
        limited.guard(arm(x=0.5, gripper=1))
        assert not watchdog.check()
    assert sent[-1].tolist() == [0, 0, 0, 0, 0, 0, 1]
    assert limited.counts["watchdog"] == len(sent)


def test_a_loop_that_ends_leaves_the_robot_held() -> None:
    """The last command of a base that is steered by velocities is otherwise its last for good."""
    limits = SafetyLimits(Hold((0.0, 0.0)), watchdog_seconds=60)
    limited = Envelope(BASE, limits, control_hz=HZ)
    sent: list[np.ndarray] = []

    def loop() -> None:
        with Watchdog(limited, sent.append, control_hz=100):
            sent.append(limited.guard(np.array([0.5, 0.0])).action)
            raise KeyboardInterrupt

    with pytest.raises(KeyboardInterrupt):
        loop()
    assert [action.tolist() for action in sent] == [[0.5, 0.0], [0.0, 0.0]]


def test_a_watchdog_whose_robot_does_not_listen_says_so_and_lives() -> None:
    limited = envelope(watchdog_seconds=0.01)
    limited.guard(arm(gripper=1))

    def send(action: np.ndarray) -> None:
        raise OSError("the bus is off")

    with Watchdog(limited, send, control_hz=200) as watchdog:
        deadline = time.monotonic() + 20
        while limited.counts["watchdog"] < 3 and time.monotonic() < deadline:
            time.sleep(0.005)
    assert limited.counts["watchdog"] >= 3
    assert isinstance(watchdog.failure, OSError)


def test_a_hold_that_keeps_what_was_sent_waits_for_something_to_keep() -> None:
    """The policy is slow to come up: there is nothing to stop yet, and no failure to report."""
    limited = envelope(hold=Hold((0, 0, 0, 0, 0, 0, None)), watchdog_seconds=0.01)
    sent: list[np.ndarray] = []
    with Watchdog(limited, sent.append, control_hz=200) as watchdog:
        time.sleep(0.1)
        assert (sent, watchdog.failure) == ([], None)
        limited.guard(arm(x=0.5, gripper=1))
        deadline = time.monotonic() + 20
        while not sent and time.monotonic() < deadline:
            time.sleep(0.005)
    assert sent[0].tolist() == [0, 0, 0, 0, 0, 0, 1]
    limited.reset()
    after: list[np.ndarray] = []
    with Watchdog(limited, after.append, control_hz=200):
        time.sleep(0.1)
    assert after[0].tolist() == [0, 0, 0, 0, 0, 0, 1], "a new episode forgets no gripper"
    unstarted: list[np.ndarray] = []
    with Watchdog(envelope(hold=Hold((0,) * 7), watchdog_seconds=0.01), unstarted.append, control_hz=200):
        time.sleep(0.1)
    assert unstarted, "a hold without a gap is sent from the start"


def test_a_guard_that_only_raises_steers_nobody() -> None:
    """The pose's topic is silent, and the loop goes on: the robot still does what it was told last."""
    now = [0.0]
    limits = SafetyLimits(Hold((0.0, 0.0)), watchdog_seconds=0.1, low=(-1.0, *[None] * 5))
    limited = Envelope(BASE, limits, control_hz=HZ, clock=lambda: now[0])
    sent: list[list[float]] = []
    watchdog = Watchdog(limited, lambda action: sent.append(action.tolist()), HZ, clock=lambda: now[0])
    limited.guard(np.array([0.3, 0.0]), pose=(0.0,) * 6)
    for _ in range(3):
        now[0] += 0.08
        with pytest.raises(ValueError, match="needs the measured pose"):
            limited.guard(np.array([0.3, 0.0]))
        with pytest.raises(ValueError, match="needs the measured pose"):
            limited.guard_trajectory(np.array([[0.3, 0.0]]))
    assert watchdog.check()
    assert sent == [[0.0, 0.0]]


def test_a_robot_that_does_not_return_does_not_keep_the_loop(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr("volition_client.watchdog.LONGEST_SEND", 0.1)
    limited, released = envelope(watchdog_seconds=60), threading.Event()
    limited.guard(arm(gripper=1))
    left: list[BaseException] = []

    def loop() -> None:
        try:
            with Watchdog(limited, lambda action: released.wait(20), control_hz=200) as watchdog:
                raise KeyboardInterrupt
        except KeyboardInterrupt as error:
            assert isinstance(watchdog.failure, TimeoutError)
            left.append(error)

    leaving = threading.Thread(target=loop, daemon=True)
    leaving.start()
    leaving.join(10)
    try:
        assert left
    finally:
        released.set()
