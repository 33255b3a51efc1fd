"""What the server's envelope counts from: the actions that a robot had, and carried out."""

from __future__ import annotations

import json
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import replace
from pathlib import Path
from typing import Any

import numpy as np
import pytest

from tests.serving.robots import HORIZON, ROBOT, Recalling, Remembered, look, served
from volition.records import Observation
from volition.serving.config import ServeConfig
from volition.serving.guard import Guard
from volition.serving.server import background
from volition.serving.sessions import Session
from volition_client import Client, Hold, SafetyLimits

STEP = 0.001 * ROBOT.control_hz * 0.02  # metres a second by which the speed may change in a control step


@pytest.fixture
def slowly(tmp_path: Path) -> ServeConfig:
    path = tmp_path / "arm.json"
    path.write_text(json.dumps({"hold": [0] * 7, "acceleration": STEP * ROBOT.control_hz}))
    return ServeConfig(port=0, safety=path)


class Straight(Recalling):
    """Always forward, as fast as it goes."""

    def _one(self, observation: Observation, state: Remembered) -> tuple[np.ndarray, Remembered]:
        return np.tile(np.eye(1, self.robot.action_space.dim, dtype=np.float32), (HORIZON, 1)), state


@contextmanager
def robot_of(config: ServeConfig) -> Iterator[Client]:
    with background(served(Straight()), config) as running, Client(running.addresses.websocket) as robot:
        yield robot


def steps(actions: np.ndarray) -> float:
    """Of the first action of a chunk: how many steps of acceleration lie between it and standing still."""
    return float(actions[0, 0]) * 0.02 * ROBOT.control_hz / STEP


def ask_in_vain(robot: Client, executed: int | None, monkeypatch: pytest.MonkeyPatch) -> None:
    """The server answers, and the answer does not come."""

    def interrupted(answer: Any) -> None:
        raise KeyboardInterrupt

    if executed is not None:
        robot.tell(executed)
    monkeypatch.setattr(robot, "_read", interrupted)
    with pytest.raises(KeyboardInterrupt):
        robot.infer(look(1))
    monkeypatch.undo()


@pytest.mark.parametrize("executed", [None, 1, 2, 3])
def test_the_envelope_counts_from_what_a_robot_says_it_carried_out(slowly: ServeConfig, executed: int | None) -> None:
    """Where it says nothing, as many as the policy was trained for: two."""
    with robot_of(slowly) as robot:
        assert robot.accepts("executed")
        robot.infer(look(1))
        if executed is not None:
            robot.tell(executed)
        assert steps(robot.infer(look(1))["actions"]) == pytest.approx((executed or 2) + 1, rel=1e-3)


@pytest.mark.parametrize("lost", [1, 2])
def test_an_answer_that_never_came_moved_the_robot_no_further(
    lost: int, slowly: ServeConfig, monkeypatch: pytest.MonkeyPatch
) -> None:
    """A client that gave up goes on with its older chunk, and tells how far it is in that one."""
    with robot_of(slowly) as robot:
        robot.infer(look(1))
        for _ in range(lost):
            ask_in_vain(robot, 1, monkeypatch)
        robot.tell(3)
        assert steps(robot.infer(look(1))["actions"]) == pytest.approx(4, rel=1e-3)


def test_a_robot_that_never_heard_anything_stands(slowly: ServeConfig, monkeypatch: pytest.MonkeyPatch) -> None:
    with robot_of(slowly) as robot:
        ask_in_vain(robot, None, monkeypatch)
        assert steps(robot.infer(look(1))["actions"]) == pytest.approx(1, rel=1e-3)


def test_a_new_session_does_not_count_in_the_chunks_of_the_old_one(
    slowly: ServeConfig, monkeypatch: pytest.MonkeyPatch
) -> None:
    with robot_of(slowly) as robot:
        robot.infer(look(1))
        robot.reset()
        ask_in_vain(robot, None, monkeypatch)
        robot.tell(3)
        assert steps(robot.infer(look(1))["actions"]) == pytest.approx(1, rel=1e-3)


def test_a_target_that_was_forgotten_does_not_come_back_with_an_older_chunk() -> None:
    """Told positions, moved by hand, commanded anew; the answer to that command was lost."""
    space = replace(ROBOT.action_space, dimensions=ROBOT.action_space.dimensions[:3], relative=False)
    limits = SafetyLimits(Hold((None,) * 3), speed=0.3, lag_seconds=0.5, pose=("x", "y", "z"))
    guard = Guard(served(Recalling(robot=replace(ROBOT, action_space=space))), limits, clock=lambda: 100.0)
    session = Session(id="", owner="", protocol="", peer="", envelope=guard.make_envelope())

    def answer(number: int, x: float, *, forget: bool = False) -> np.ndarray:
        if forget:
            session.forget_target()
        seen = Observation(images={}, state=np.array([[x, 0.0, 0.0]], np.float32), instruction="")
        sent, _ = guard.safe(session.envelope, seen, np.array([[x / 0.02, 0.0, 0.0]], np.float32), 100.0, 1)
        session.request = number
        return sent

    answer(1, 0.0)
    session.carried_out(1, 1)
    answer(2, 0.015, forget=True)
    session.carried_out(1, 1)
    assert answer(3, 0.015)[0, 0] == pytest.approx(0.015 / 0.02)  # and not 0.3 m/s from where it was at first
