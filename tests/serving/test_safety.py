"""The safety envelope in the server: the robot's file, its pose from the state, and what clients and metrics hear."""

from __future__ import annotations

import json
import time
from collections.abc import Iterator
from dataclasses import replace
from pathlib import Path
from typing import Any

import numpy as np
import pytest

from tests.serving.robots import BASE, HORIZON, ROBOT, Recalling, expected, look, served
from tests.serving.test_http import ask, body
from volition.envs.mobile.environment import Space, action_space
from volition.records import Observation
from volition.serving.config import ServeConfig
from volition.serving.guard import Guard
from volition.serving.recording import read_records
from volition.serving.replay import replay
from volition.serving.served import layout
from volition.serving.server import Running, background
from volition_client import ActionLayout, Client, Hold, SafetyLimits, ServerError

LIMITS = {
    "hold": [0, 0, 0, 0, 0, 0, None],
    "low": [-10, -10, -10, None, None, None],
    "high": [10, 10, 0.5, None, None, None],
    "speed": 0.3,
    "stale_seconds": 5.0,
    "pose": ["x", "y", "z"],
}


@pytest.fixture
def guarded(tmp_path: Path) -> Iterator[Running]:
    path = tmp_path / "arm.json"
    path.write_text(json.dumps(LIMITS))
    with background(served(), ServeConfig(port=0, safety=path)) as running:
        yield running


def high_up(seed: int, height: float, **changes: Any) -> dict[str, Any]:
    return {**look(seed), "observation/state": np.array([0.0, 0.0, height], np.float32), **changes}


def test_every_action_is_inside_and_every_intervention_is_told(guarded: Running) -> None:
    with Client(guarded.addresses.websocket) as robot:
        answer = robot.infer(high_up(1, 0.49))
        plain = expected([high_up(1, 0.49)])[0]
    velocity = np.linalg.norm(answer["actions"][:, :3], axis=1) * 0.02 * ROBOT.control_hz
    assert (velocity <= 0.3 * (1 + 1e-6)).all()
    assert (np.linalg.norm(plain[:, :3], axis=1) * 0.02 * ROBOT.control_hz > 0.3).any(), "nothing was to be done"
    told = {line.partition(":")[0] for line in answer["interventions"]}
    assert "speed" in told
    lines = ask(f"{guarded.addresses.url}/metrics")[1].decode().splitlines()
    counted = sum(float(line.rsplit(" ", 1)[1]) for line in lines if line.startswith("volition_interventions_total{"))
    assert counted == len(answer["interventions"])


def test_the_workspace_is_looked_up_in_the_robots_state(guarded: Running) -> None:
    with Client(guarded.addresses.websocket) as robot:
        below = robot.infer({**high_up(3, 0.5), "observation/static": np.full((6, 8, 3), 200, np.uint8)})
    upward = np.cumsum(below["actions"][:, 2]) * 0.02
    assert (upward <= 1e-6).all(), "it was at the ceiling, and went up"


def test_what_is_not_finite_becomes_the_hold(guarded: Running) -> None:
    with Client(guarded.addresses.websocket) as robot:
        answer = robot.infer(high_up(1, 0.0, prompt="break"))
    assert np.isfinite(answer["actions"]).all()
    assert answer["actions"][1, :6].tolist() == [0.0] * 6
    assert answer["actions"][1, 6] == answer["actions"][0, 6]
    assert "step 1: an action must be finite" in " ".join(answer["interventions"])


def test_an_old_observation_becomes_the_hold_or_no_action_at_all(guarded: Running) -> None:
    with Client(guarded.addresses.websocket) as robot:
        with pytest.raises(ServerError, match="nothing has been sent"):
            robot.infer(high_up(1, 0.0, age=60.0))
        sent = robot.infer(high_up(1, 0.0))["actions"]
        answer = robot.infer(high_up(1, 0.0, age=60.0))
        assert np.array_equal(answer["actions"][:, :6], np.zeros((HORIZON, 6)))
        assert (answer["actions"][:, 6] == sent[1, 6]).all()  # of the two that were executed
        assert {line.partition(":")[0] for line in answer["interventions"]} == {"stale"}


def test_a_request_that_is_repeated_too_late_gets_the_hold_and_never_again_the_motion(tmp_path: Path) -> None:
    """The answer was lost on the way, and found again when its observation is too old to be acted on."""
    path, record = tmp_path / "arm.json", tmp_path / "requests"
    path.write_text(json.dumps(LIMITS))
    messages = [high_up(seed, 0.0) for seed in range(3)]
    with (
        background(served(), ServeConfig(port=0, safety=path, record=record)) as running,
        Client(running.addresses.websocket) as robot,
    ):
        sent = robot.infer(messages[0])["actions"]
        moved = robot.infer(messages[1])
        robot._number -= 1
        assert np.array_equal(robot.infer({**messages[1], "age": 1.0})["actions"], moved["actions"]), (
            "it is not too old"
        )
        for age in (60.0, 0.0):  # a later repetition that claims to be younger
            robot._number -= 1
            held = robot.infer({**messages[1], "age": age})
            assert np.array_equal(held["actions"][:, :6], np.zeros((HORIZON, 6)))
            assert (held["actions"][:, 6] == sent[1, 6]).all(), "as sent before the answer that was lost"
            assert {line.partition(":")[0] for line in held["interventions"]} == {"stale"}
            assert held["fresh"] is False
        (session,) = running.server.service.sessions
        assert session.actions is not None
        assert np.array_equal(session.actions, held["actions"])
        robot.infer(messages[2])
        assert session.memory is not None
        assert session.memory.state.steps == 3, "a repetition takes no step"
    outcomes = [one.outcome for one in read_records(record)]
    assert outcomes == ["answered", "answered", "held", "held", "answered"]
    assert replay(served(), record, tolerance=0.0).requests == 3


def test_a_repetition_is_as_old_as_what_it_repeats_whatever_it_says(tmp_path: Path) -> None:
    """A client over HTTP that sends the same bytes again tells no age; the time since they first came counts."""
    path = tmp_path / "arm.json"
    path.write_text(json.dumps({"hold": [0] * 7, "stale_seconds": 0.3}))
    with background(served(), ServeConfig(port=0, safety=path)) as running:
        url = f"{running.addresses.url}/v1"
        given = body(look(1), session=ask(f"{url}/sessions", {})[1]["session"], request=1)
        first = ask(f"{url}/actions", given)[1]
        assert np.abs(first["actions"]).max() > 0
        time.sleep(0.4)
        assert np.abs(ask(f"{url}/actions", given)[1]["actions"]).max() == 0


def test_a_late_repetition_without_anything_to_hold_is_refused(guarded: Running) -> None:
    """The hold keeps the gripper as it was sent last, and the only answer was lost."""
    with Client(guarded.addresses.websocket) as robot:
        robot.infer(high_up(1, 0.0))
        robot._number -= 1
        with pytest.raises(ServerError, match="internal: no action is sent"):
            robot.infer(high_up(1, 0.0, age=60.0))


def test_what_is_counted_from_after_a_late_repetition_is_the_hold(tmp_path: Path) -> None:
    """Not the lost motion: with a bounded acceleration the next chunk begins from standing still."""
    path = tmp_path / "arm.json"
    slow = 0.001 * ROBOT.control_hz**2 * 0.02
    path.write_text(json.dumps({"hold": [0] * 7, "acceleration": slow, "stale_seconds": 5.0}))
    with (
        background(served(), ServeConfig(port=0, safety=path)) as running,
        Client(running.addresses.websocket) as robot,
    ):
        robot.infer(look(1))
        robot._number -= 1
        robot.infer({**look(1), "age": 60.0})
        after = robot.infer(look(1))["actions"]
        assert np.linalg.norm(after[0, :3]) <= 0.001 * (1 + 1e-5)


@pytest.mark.parametrize("name", ["gripper_speed", "acceleration", "turn_acceleration"])
def test_limits_of_change_need_a_session(name: str, tmp_path: Path) -> None:
    path = tmp_path / "arm.json"
    path.write_text(json.dumps({"hold": LIMITS["hold"], name: 1.0}))
    with background(served(), ServeConfig(port=0, safety=path)) as running:
        url = f"{running.addresses.url}/v1"
        status, refused = ask(f"{url}/actions", body(look(1)))
        assert (status, refused["error"]["type"]) == (409, "conflict")
        assert f"limits {name}" in refused["error"]["message"]
        assert "POST /v1/sessions" in refused["error"]["message"]
        made = ask(f"{url}/sessions", {})[1]
        assert ask(f"{url}/actions", body(look(1), session=made["session"]))[0] == 200


def test_limits_of_a_chunk_alone_need_no_session(guarded: Running) -> None:
    assert ask(f"{guarded.addresses.url}/v1/actions", body(high_up(1, 0.0)))[0] == 200


@pytest.mark.parametrize(
    ("changes", "message"),
    [
        ({"hold": [0, 0]}, "7 numbers"),
        ({"pose": ["a", "b", "c"]}, "must name entries of the state"),
        ({"pose": []}, "must say where the pose stands"),
    ],
)
def test_limits_that_do_not_fit_the_robot_stop_the_server_before_it_serves(
    changes: dict[str, Any], message: str, tmp_path: Path
) -> None:
    path = tmp_path / "arm.json"
    path.write_text(json.dumps({**LIMITS, **changes}))
    with pytest.raises(ValueError, match=message), background(served(), ServeConfig(port=0, safety=path)):
        pass


def test_actions_mean_what_the_contract_says() -> None:
    arm, base = layout(ROBOT), layout(BASE)
    assert arm is not None
    assert base is not None
    assert ActionLayout.of({"layout": arm}).units == (0.02,) * 3 + (0.05,) * 3 + (1.0,)
    found = ActionLayout.of({"layout": base})
    assert (found.names, found.units, found.kind, found.frame) == (("x", "rz"), (1.0, 1.0), "velocity", "body")


@pytest.mark.parametrize("space", ["2d", "3d"])
def test_our_own_mobile_base_can_be_guarded(space: Space) -> None:
    found = layout(replace(ROBOT, action_space=action_space(space)))
    assert found is not None
    assert (found["names"], found["kind"]) == (["x", "y", "rz"] if space == "3d" else ["x", "y"], "velocity")
    assert found["frame"] == "body"


def test_positions_need_a_pose_to_be_counted_from(tmp_path: Path) -> None:
    absolute = replace(ROBOT, action_space=replace(ROBOT.action_space, relative=False))
    path = tmp_path / "arm.json"
    path.write_text(json.dumps({"hold": LIMITS["hold"]}))
    with (
        pytest.raises(ValueError, match="must name the entries of the state"),
        background(served(Recalling(robot=absolute)), ServeConfig(port=0, safety=path)),
    ):
        pass


def test_the_pose_of_an_old_observation_pulls_nobody_back() -> None:
    """It is where the robot was then; by now it is where it was told to be."""
    space = replace(ROBOT.action_space, dimensions=ROBOT.action_space.dimensions[:3], relative=False)
    limits = SafetyLimits(Hold((None,) * 3), speed=0.3, stale_seconds=0.5, pose=("x", "y", "z"))
    guard = Guard(served(Recalling(robot=replace(ROBOT, action_space=space))), limits, clock=lambda: 100.0)
    envelope = guard.make_envelope()

    def at(x: float) -> Observation:
        return Observation(images={}, state=np.array([[x, 0.0, 0.0]], np.float32), instruction="")

    chunk = np.tile(np.array([1.0, 0.0, 0.0], np.float32), (HORIZON, 1))
    sent, _ = guard.safe(envelope, at(0.5), chunk, 100.0, 2)
    held, found = guard.safe(envelope, at(-0.5), -chunk, 40.0, 2)
    assert {one.kind for one in found} == {"stale"}
    assert np.array_equal(held, sent[[1] * HORIZON])  # of the two that were executed
    assert envelope is not None
    envelope.forget_target()
    with pytest.raises(ServerError, match="no action is sent: the hold keeps 'x' where the robot is"):
        guard.safe(envelope, at(0.5), chunk, 40.0, 2)


def test_units_that_say_nothing_cannot_be_guarded(tmp_path: Path) -> None:
    space = ROBOT.action_space
    odd = replace(ROBOT, action_space=replace(space, dimensions=(replace(space.dimensions[0], unit="ticks"),)))
    path = tmp_path / "odd.json"
    path.write_text(json.dumps({"hold": [0]}))
    with (
        pytest.raises(ValueError, match="must have a layout"),
        background(served(Recalling(robot=odd)), ServeConfig(port=0, safety=path)),
    ):
        pass
