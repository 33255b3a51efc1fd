"""openpi's protocol over a real socket: answers, memories of robots, and every way to get it wrong."""

from __future__ import annotations

import json
import logging
import socket
import threading
import time
from typing import Any

import numpy as np
import pytest
import websockets.exceptions
from websockets.sync.client import connect

from tests.serving.robots import HORIZON, Recalling, expected, look, served
from volition.serving.config import ServeConfig
from volition.serving.replay import replay
from volition.serving.server import Running, background
from volition.serving.sessions import SessionLimits
from volition_client import Client, ServerError, pack, unpack


def test_the_first_frame_says_what_the_policy_sees_and_does(robot: Client) -> None:
    said = robot.metadata
    assert said["cameras"] == {"static": [6, 8, 3], "gripper": [6, 8, 3]}
    assert said["state"] == ["x", "y", "z"]
    assert [d["name"] for d in said["action"]] == ["x", "y", "z", "rx", "ry", "rz", "gripper"]
    assert (said["control_hz"], said["action_horizon"], said["replan_steps"]) == (30.0, HORIZON, 2)


def test_remote_actions_are_the_policys_to_the_bit(robot: Client) -> None:
    messages = [look(seed) for seed in range(6)]
    for message, chunk in zip(messages, expected(messages)):
        assert np.array_equal(robot.infer(message)["actions"], chunk)


@pytest.mark.parametrize("fixed", [False, True])
def test_sessions_that_ask_at_once_do_not_mix(fixed: bool) -> None:
    robots, steps = 12, 15
    actor = Recalling(seconds=0.002)
    streams = [[look(100 * i + k, f"task {i % 3}") for k in range(steps)] for i in range(robots)]
    answers: list[list[np.ndarray]] = [[] for _ in range(robots)]

    def drive(i: int) -> None:
        with Client(running.addresses.websocket, patience=60, request_seconds=60) as client:
            answers[i] = [client.infer(message)["actions"] for message in streams[i]]

    config = ServeConfig(port=0, fixed_batch=fixed, max_batch=8, request_seconds=60.0)
    with background(served(actor), config) as running:
        threads = [threading.Thread(target=drive, args=(i,)) for i in range(robots)]
        for thread in threads:
            thread.start()
        for thread in threads:
            thread.join()
    assert max(actor.calls) > 1, "nothing was batched, so nothing was tested"
    for stream, given in zip(streams, answers):
        assert all(np.array_equal(a, b) for a, b in zip(given, expected(stream), strict=True))


def test_a_changed_prompt_and_a_reset_clear_the_memory(robot: Client) -> None:
    first, other = look(1), look(2, "close the drawer")
    robot.infer(first)
    assert not robot.infer(first)["fresh"]
    answer = robot.infer(other)
    assert answer["fresh"]
    assert np.array_equal(answer["actions"], expected([other])[0])
    robot.infer(other)
    again = robot.infer({**other, "reset": True})
    assert again["fresh"]
    assert np.array_equal(again["actions"], expected([other])[0])


WRONG: dict[str, tuple[dict[str, Any], str, str]] = {
    "a camera is missing": ({"observation/static": None}, "bad_observation", "lacks observation/static"),
    "a camera that is not there": ({"observation/statik": 1}, "bad_observation", "did you mean 'observation/static'"),
    "a picture of another size": (
        {"observation/static": np.zeros((5, 8, 3), np.uint8)}, "bad_observation", "must be uint8[6, 8, 3]"),
    "channels first": ({"observation/static": np.zeros((3, 6, 8), np.uint8)}, "bad_observation", "channels first"),
    "a picture of floats": ({"observation/static": np.zeros((6, 8, 3), np.float32)}, "bad_observation", "float32"),
    "a state of another length": ({"observation/state": np.zeros(4, np.float32)}, "bad_observation", "3 numbers"),
    "a state that is not finite": (
        {"observation/state": np.array([0, np.nan, 0], np.float32)}, "bad_observation", "is not for y"),
    "a state of text": ({"observation/state": "zero"}, "bad_observation", "3 numbers"),
    "no prompt": ({"prompt": None}, "bad_observation", "lacks prompt"),
    "a prompt of numbers": ({"prompt": 3}, "bad_observation", "must be text"),
    "a long prompt": ({"prompt": "x" * 3000}, "bad_observation", "2000 characters"),
    "a foreign contract": ({"convention": "0123456789abcdef"}, "foreign_contract", "made for '0123456789abcdef'"),
    "a reset of text": ({"reset": "yes"}, "bad_message", "true or false"),
    "an age below 0": ({"age": -1.0}, "clock_jump", "below 0"),
    "an age of infinity": ({"age": float("inf")}, "bad_message", "finite"),
    "a policy that fails": ({"prompt": "fail"}, "internal", "cannot do that"),
    "actions that are not finite": ({"prompt": "break"}, "internal", "not finite"),
}  # fmt: skip


@pytest.mark.parametrize("what", WRONG)
def test_what_does_not_fit_is_refused_by_its_type_and_logged_and_nothing_else_happens(
    what: str, robot: Client, caplog: pytest.LogCaptureFixture
) -> None:
    changes, kind, text = WRONG[what]
    messages = [look(1), look(2)]
    first = robot.infer(messages[0])["actions"]
    wrong = {name: x for name, x in {**messages[1], **changes}.items() if x is not None}
    with caplog.at_level(logging.WARNING, logger="volition.serving"), pytest.raises(ServerError) as refused:
        robot.infer(wrong)
    assert refused.value.type == kind
    assert text in refused.value.message
    assert any(kind in record.getMessage() for record in caplog.records)
    second = robot.infer(messages[1])["actions"]
    if changes.get("prompt") is None:  # the memory is as if the request had never come
        assert all(np.array_equal(a, b) for a, b in zip((first, second), expected(messages)))


@pytest.mark.parametrize(
    "frame",
    [b"", b"\xc1", b"\x00", pack([1, 2]), pack("text"), pack(look(1))[:-7], pack(look(1)) + b"x", "text"],
    ids=["empty", "no msgpack", "a number", "a list", "a string", "torn", "more than one", "text frame"],
)
def test_a_frame_that_is_no_observation_gets_a_typed_error_and_the_connection_goes_on(
    frame: Any, server: Running
) -> None:
    with connect(server.addresses.websocket) as raw:
        raw.recv()
        raw.send(frame)
        assert json.loads(raw.recv())["error"]["type"] == "bad_message"
        raw.send(pack(look(1)))
        assert np.array_equal(unpack(raw.recv())["actions"], expected([look(1)])[0])


def test_an_oversized_message_ends_its_connection_only(server: Running, robot: Client) -> None:
    robot.infer(look(1))
    with connect(server.addresses.websocket) as raw:
        raw.recv()
        # The server closes before all of it has come, so sending may fail as well.
        with pytest.raises((websockets.exceptions.ConnectionClosed, OSError)):
            raw.send(bytes(17 << 20)), raw.recv()
    assert not robot.infer(look(1))["fresh"]


def test_our_client_does_not_send_what_is_too_large(robot: Client) -> None:
    with pytest.raises(ServerError, match="too_large"):
        robot.infer({**look(1), "observation/static": np.zeros((3000, 3000, 3), np.uint8)})
    assert robot.infer(look(1))["fresh"]
    assert robot.reconnects == 0


def test_a_client_that_vanishes_in_the_middle_of_a_request_is_dropped_and_others_go_on() -> None:
    actor = Recalling(seconds=0.3)
    with background(served(actor), ServeConfig(port=0)) as running, Client(running.addresses.websocket) as other:
        other.infer(look(1))
        with connect(running.addresses.websocket) as raw:
            raw.recv()
            raw.send(pack(look(2)))
            time.sleep(0.1)
            raw.socket.shutdown(socket.SHUT_RDWR)  # no closing handshake: as a robot that lost its power
        assert not other.infer(look(1))["fresh"]
        abandoned = running.server.service.metrics.requests
        deadline = time.monotonic() + 5
        while not abandoned.value("abandoned") and time.monotonic() < deadline:
            time.sleep(0.01)
        assert abandoned.value("abandoned") == 1


def test_half_a_frame_and_then_nothing_hurts_nobody(server: Running, robot: Client) -> None:
    host, port = server.addresses.websocket.removeprefix("ws://").split(":")
    with socket.create_connection((host, int(port))) as raw:
        raw.sendall(b"GET / HTTP/1.1\r\nHost: localhost\r\nUpgrade: websocket\r\nConnection: Upgr")
        assert robot.infer(look(1))["fresh"]
    assert not robot.infer(look(2))["fresh"]


def test_a_clock_that_jumps_is_refused_once_and_the_next_request_counts_from_there(robot: Client) -> None:
    robot.infer({**look(1), "time": 1000.0})
    for jump in (400.0, 9000.0):
        with pytest.raises(ServerError, match="clock_jump"):
            robot.infer({**look(2), "time": jump})
        robot.infer({**look(2), "time": jump + 0.01})


def test_a_policy_that_takes_too_long_is_an_error_and_leaves_the_memory_alone() -> None:
    actor = Recalling()
    with (
        background(served(actor), ServeConfig(port=0, request_seconds=0.2)) as running,
        Client(running.addresses.websocket) as client,
    ):
        messages = [look(1), look(2)]
        first = client.infer(messages[0])["actions"]
        actor.seconds = 0.5
        with pytest.raises(ServerError, match="timeout"):
            client.infer(messages[1])
        actor.seconds = 0.0
        time.sleep(0.5)
        second = client.infer(messages[1])["actions"]
        assert all(np.array_equal(a, b) for a, b in zip((first, second), expected(messages)))


def test_a_session_may_not_ask_faster_than_it_is_allowed() -> None:
    limits = SessionLimits(requests_per_second=0.001, burst=3)
    with (
        background(served(), ServeConfig(port=0, sessions=limits)) as running,
        Client(running.addresses.websocket) as c,
    ):
        for _ in range(3):
            c.infer(look(1))
        with pytest.raises(ServerError, match="too_many_requests"):
            c.infer(look(1))


def test_there_are_no_more_sessions_than_allowed_and_left_ones_make_room() -> None:
    with background(served(), ServeConfig(port=0, sessions=SessionLimits(sessions=2))) as running:
        first, second = Client(running.addresses.websocket), Client(running.addresses.websocket)
        with pytest.raises(websockets.exceptions.InvalidStatus, match="429"), connect(running.addresses.websocket):
            pass
        second.close()
        deadline = time.monotonic() + 5
        while len([s for s in running.server.service.sessions if s.connected]) > 1 and time.monotonic() < deadline:
            time.sleep(0.01)
        with Client(running.addresses.websocket) as third:
            third.infer(look(1))
            first.infer(look(1))
        first.close()


class Continuing(Recalling):
    """Answers with what is settled, where something is, and lists what it was told."""

    continues = True

    def act_on(self, observations: Any, states: Any, settled: Any) -> Any:
        chunks, after = self.act(observations, states)
        for chunk, known in zip(chunks, settled):
            if known is not None:
                weights = known.weights[:, None]
                chunk[: len(weights)] = weights * known.actions + (1 - weights) * chunk[: len(weights)]
        return chunks, after


@pytest.mark.parametrize("fixed", [False, True])
def test_a_policy_that_can_is_told_what_is_settled(fixed: bool, tmp_path: Path) -> None:
    config = ServeConfig(port=0, fixed_batch=fixed, record=tmp_path)
    plain = expected([look(1), look(2)])
    with background(served(Continuing()), config) as running, Client(running.addresses.websocket) as robot:
        assert robot.accepts("settled")
        robot.infer(look(1))
        robot.tell(2, np.full((2, 7), 0.25, np.float32), np.array([1.0, 0.5], np.float32))
        chunk = robot.infer(look(2))["actions"]
        assert np.allclose(chunk[0], 0.25)
        assert np.allclose(chunk[1], 0.125 + plain[1][1] / 2)
        assert np.array_equal(chunk[2:], plain[1][2:])
        assert np.array_equal(robot.infer(look(2))["actions"][0], expected([look(1), look(2), look(2)])[2][0])
    assert replay(served(Continuing()), tmp_path, tolerance=0.0).equal
    with pytest.raises(ValueError, match="this policy cannot continue it"):
        replay(served(), tmp_path, tolerance=0.0)


@pytest.mark.parametrize(
    ("settled", "weights"),
    [
        ([[0.0] * 7] * 5, [1.0] * 5),
        ([[0.0] * 6], [1.0]),
        ([[np.nan] * 7], [1.0]),
        ([[0.0] * 7], [2.0]),
        ([[0.0] * 7], None),
    ],
)
def test_settled_actions_that_do_not_fit_are_refused(settled: Any, weights: Any) -> None:
    with background(served(Continuing()), ServeConfig(port=0)) as running, Client(running.addresses.websocket) as robot:
        with pytest.raises(ServerError, match=r"bad_observation: (settled|weights) must be"):
            robot.infer({**look(1), "settled": settled, "weights": weights})
        assert robot.infer(look(1))["fresh"]
