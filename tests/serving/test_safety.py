"""The safety envelope in the server: the robot's file, its pose from the state, and what clients and metrics hear."""

from __future__ import annotations

import json
from collections.abc import Iterator
from dataclasses import replace
from pathlib import Path
from typing import Any

import numpy as np
import pytest

from tests.serving.robots import BASE, HORIZON, ROBOT, Recalling, expected, look, served
from tests.serving.test_http import ask, body
from volition.envs.mobile.environment import Space, action_space
from volition.serving.config import ServeConfig
from volition.serving.served import layout
from volition.serving.server import Running, background
from volition_client import ActionLayout, Client, ServerError

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


def test_the_envelope_counts_from_what_a_robot_says_it_carried_out(tmp_path: Path) -> None:
    """A broker that asks again after one action of a chunk: the next begins from there, not from the second."""
    path = tmp_path / "arm.json"
    path.write_text(json.dumps({"hold": [0, 0, 0, 0, 0, 0, 0], "acceleration": 0.001 * ROBOT.control_hz**2 * 0.02}))

    def second(executed: int | None) -> np.ndarray:
        with (
            background(served(), ServeConfig(port=0, safety=path)) as running,
            Client(running.addresses.websocket) as robot,
        ):
            assert robot.accepts("executed")
            robot.infer(look(1))
            if executed is not None:
                robot.tell(executed)
            return robot.infer(look(1))["actions"]

    usual, after_one = second(None), second(1)
    assert np.array_equal(second(2), usual), "two actions are what the policy was trained for"
    assert np.abs(after_one[0, :3]).max() < np.abs(usual[0, :3]).max()
