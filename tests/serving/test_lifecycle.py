"""A server's life as a process and as its clients see it: drain, restart, resume, reload."""

from __future__ import annotations

import json
import signal
import threading
import time
from dataclasses import replace
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from websockets.exceptions import ConnectionClosed
from websockets.sync.client import connect

from tests.serving.process import Process, wait_until
from tests.serving.robots import ROBOT, Recalling, expected, look, served
from tests.serving.test_http import ask
from volition.serving.config import ServeConfig
from volition.serving.served import Served
from volition.serving.server import background
from volition.serving.sessions import SessionLimits
from volition_client import Client, ConnectionLostError, ServerError
from volition_client.codec import pack


def test_sigterm_answers_what_is_under_way_and_refuses_the_rest(tmp_path: Path) -> None:
    server = Process(tmp_path, seconds=0.5)
    answers: list[Any] = []
    with Client(server.url, patience=60) as client:
        thread = threading.Thread(target=lambda: answers.append(client.infer(look(1))))
        thread.start()
        time.sleep(0.2)
        status, said = server.end(signal.SIGTERM)
        thread.join()
        assert status == 0, said
        assert np.array_equal(answers[0]["actions"], expected([look(1)])[0])
    with pytest.raises(ConnectionLostError, match="is the server running there"):
        Client(server.url, patience=0.3)


@pytest.mark.slow
def test_a_killed_and_restarted_server_gets_its_clients_back(tmp_path: Path) -> None:
    first = Process(tmp_path)
    with Client(first.url, patience=60) as client:
        messages = [look(1), look(2)]
        client.infer(messages[0])
        first.end(signal.SIGKILL)
        answers: list[Any] = []
        thread = threading.Thread(target=lambda: answers.append(client.infer(messages[1])))
        thread.start()  # it knocks while nobody is there
        second = Process(tmp_path, port=first.port)
        thread.join()
        assert np.array_equal(answers[0]["actions"], expected(messages[1:])[0])
        assert answers[0]["fresh"]
        assert (client.reconnects, client.fresh_starts) == (1, 1)
    assert second.end(signal.SIGTERM)[0] == 0


def test_a_lost_connection_is_resumed_where_the_policy_was() -> None:
    with background(served(), ServeConfig(port=0)) as running, Client(running.addresses.websocket) as client:
        messages = [look(seed) for seed in range(3)]
        answers = [client.infer(messages[0])["actions"]]
        for message in messages[1:]:
            client._drop()  # as a broken network does
            wait_until(lambda: not any(s.connected for s in running.server.service.sessions))
            answers.append(client.infer(message)["actions"])
        assert all(np.array_equal(a, b) for a, b in zip(answers, expected(messages)))
        assert (client.reconnects, client.fresh_starts) == (2, 0)


def test_a_connection_that_only_seems_to_stand_is_taken_over() -> None:
    """As after a network was cut: the robot has noticed, the server has not."""
    with background(served(), ServeConfig(port=0)) as running, Client(running.addresses.websocket) as client:
        messages = [look(seed) for seed in range(3)]
        answers = [client.infer(messages[0])["actions"]]
        old, client._connection = client._connection, None
        answers += [client.infer(message)["actions"] for message in messages[1:]]
        assert all(np.array_equal(a, b) for a, b in zip(answers, expected(messages)))
        assert (client.reconnects, client.fresh_starts) == (1, 0)
        assert old is not None
        with pytest.raises(ConnectionClosed, match="another connection has this session"):
            old.recv(timeout=10)  # at once: nothing has to come on it
        assert [session.connected for session in running.server.service.sessions] == [True]
        assert client.infer(look(3))["fresh"] is False


def test_a_repeated_request_takes_no_second_step() -> None:
    with background(served(), ServeConfig(port=0)) as running, Client(running.addresses.websocket) as client:
        messages = [look(1), look(2)]
        first = client.infer(messages[0])
        client._number -= 1  # its answer was lost on the way, so it is asked again
        assert np.array_equal(client.infer(messages[0])["actions"], first["actions"])
        assert np.array_equal(client.infer(messages[1])["actions"], expected(messages)[1])


def test_a_session_that_was_left_for_too_long_is_forgotten() -> None:
    limits = SessionLimits(grace_seconds=0.05)
    with (
        background(served(), ServeConfig(port=0, sessions=limits)) as running,
        Client(running.addresses.websocket) as client,
    ):
        client.infer(look(1))
        client._drop()
        time.sleep(0.3)
        running.run(lambda: expire(running))
        assert client.infer(look(1))["fresh"]
        assert client.fresh_starts == 1
        client.reset()
        assert client.infer(look(1))["fresh"]


async def expire(running: Any) -> None:
    running.server.service.sessions.expire()


class Broken(Recalling):
    def act(self, observations: Any, states: Any) -> Any:
        raise RuntimeError("its weights are of another size")


def test_a_reload_lets_sessions_go_on_and_is_refused_for_another_contract() -> None:
    loaded = [served(Recalling(gain=2.0), name="test/step_2")]
    with (
        background(served(), ServeConfig(port=0), load=lambda: loaded[0]) as running,
        Client(running.addresses.websocket) as client,
    ):
        url = f"{running.addresses.url}/v1/reload"
        messages = [look(1), look(2), look(3), look(4)]
        client.infer(messages[0])
        assert ask(url, {}) == (200, {"policy": "test/step_2"})
        answer = client.infer(messages[1])
        assert np.allclose(answer["actions"], 2 * expected(messages)[1])
        assert (answer["policy"], answer["fresh"]) == ("test/step_2", False)
        loaded[0] = served(contract=replace(ROBOT, control_hz=10.0))
        status, refused = ask(url, {})
        assert (status, refused["error"]["type"]) == (409, "conflict")
        assert "control_hz: 30.0 != 10.0" in refused["error"]["message"]
        loaded[0] = served(Broken())  # no warm-up comes through it
        status, refused = ask(url, {})
        assert (status, refused["error"]["message"]) == (409, "its weights are of another size")
        assert np.allclose(client.infer(messages[2])["actions"], 2 * expected(messages)[2])
        loaded[0] = served(memory="another head", name="test/step_3")
        assert ask(url, {})[0] == 200
        answer = client.infer(messages[3])
        assert answer["fresh"]
        assert np.array_equal(answer["actions"], expected(messages[3:])[0])


class UnheardOfError(Exception):
    """As safetensors has one: of no kind that anybody expects."""


@pytest.mark.parametrize("error", [KeyError("window"), UnheardOfError("the header is too large")])
def test_a_load_that_fails_in_any_way_is_a_conflict_with_a_traceback_and_counted(
    error: Exception, caplog: pytest.LogCaptureFixture
) -> None:
    def load() -> Served:
        raise error

    with (
        background(served(), ServeConfig(port=0), load=load) as running,
        Client(running.addresses.websocket) as client,
    ):
        status, refused = ask(f"{running.addresses.url}/v1/reload", {})
        assert (status, refused["error"]["type"]) == (409, "conflict")
        assert type(error).__name__ in refused["error"]["message"]
        running.loop.call_soon_threadsafe(running.server._reload)  # as SIGHUP does
        wait_until(lambda: running.server.service.metrics.reloads.value("refused") == 2, seconds=10)
        assert np.array_equal(client.infer(look(1))["actions"], expected([look(1)])[0])
    told = [record for record in caplog.records if "was not reloaded" in record.getMessage()]
    assert [record.exc_info is not None for record in told] == [True, True]


def test_a_server_that_stops_takes_no_other_policy() -> None:
    with background(served(), ServeConfig(port=0), load=lambda: pytest.fail("it was loaded")) as running:
        service = running.server.service
        running.run(service.drain)
        with pytest.raises(ServerError, match="conflict: the server is about to stop"):
            running.run(service.reload)


class Hanging(Recalling):
    """Its calls do not end while it is told to hang."""

    def __init__(self) -> None:
        super().__init__()
        self.goes_on = threading.Event()
        self.goes_on.set()

    def act(self, observations: Any, states: Any) -> Any:
        self.goes_on.wait(60)
        return super().act(observations, states)


def test_a_policy_that_hangs_does_not_keep_a_server_from_stopping(caplog: pytest.LogCaptureFixture) -> None:
    """Who waits for it hears so, and the log tells who that was; the time is that of the drain, and once."""
    actor, answers = Hanging(), list[Any]()
    with background(served(actor), ServeConfig(port=0, drain_seconds=0.3)) as running:
        actor.goes_on.clear()

        def ask_in_vain() -> None:
            with connect(running.addresses.websocket) as raw:
                raw.recv()
                raw.send(pack(look(1)))
                answers.append(raw.recv(timeout=60))

        robot = threading.Thread(target=ask_in_vain)
        robot.start()
        service = running.server.service
        wait_until(lambda: any(session.busy for session in service.sessions))
        (session,) = service.sessions
        began = time.monotonic()
    took = time.monotonic() - began
    actor.goes_on.set()
    robot.join()
    assert took < 10, "a connection is cut after 5 s at most, and everything else at once"
    assert json.loads(answers[0])["error"]["type"] == "draining"
    told = [record.getMessage() for record in caplog.records]
    assert any(session.id in line and "the policy has not answered in time" in line for line in told)
    assert any("is given up" in line for line in told)


def test_sighup_reloads_a_process(tmp_path: Path) -> None:
    server = Process(tmp_path)
    with Client(server.url) as client:
        client.infer(look(1))
        server.process.send_signal(signal.SIGHUP)
        reloaded = f"http://127.0.0.1:{server.port}/metrics"
        wait_until(lambda: b'volition_reloads_total{outcome="done"} 1' in ask(reloaded)[1])
        assert not client.infer(look(1))["fresh"]
    assert server.end(signal.SIGTERM)[0] == 0


def test_a_reload_under_fire_loses_nothing() -> None:
    wanted = [look(seed) for seed in range(60)]
    answers: list[np.ndarray] = []
    with (
        background(served(Recalling(seconds=0.002)), ServeConfig(port=0), load=served) as running,
        Client(running.addresses.websocket) as client,
    ):
        thread = threading.Thread(target=lambda: answers.extend(client.infer(m)["actions"] for m in wanted))
        thread.start()
        for _ in range(5):
            running.run(running.server.service.reload)
        thread.join()
    assert all(np.array_equal(a, b) for a, b in zip(answers, expected(wanted), strict=True))


def test_an_address_that_is_taken_is_an_error_and_leaves_nothing_behind() -> None:
    with background(served(), ServeConfig(port=0)) as running:
        port = int(running.addresses.url.rpartition(":")[2])
        before = threading.active_count()
        with pytest.raises(ValueError, match="name another --port"), background(served(), ServeConfig(port=port)):
            pass
        wait_until(lambda: threading.active_count() <= before)
