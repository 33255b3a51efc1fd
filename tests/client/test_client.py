"""The client against servers that do what servers do at their worst."""

from __future__ import annotations

import contextlib
import socket
import threading
import time
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from typing import Any

import numpy as np
import pytest
from websockets.server import ServerProtocol
from websockets.sync.server import ServerConnection, serve

from volition_client import Client
from volition_client.codec import pack, unpack
from volition_client.errors import ConnectionLostError, ServerError

Handler = Callable[[ServerConnection], None]


@contextmanager
def serving(handler: Handler) -> Iterator[str]:
    with serve(handler, "127.0.0.1", 0) as server:
        thread = threading.Thread(target=server.serve_forever)
        thread.start()
        try:
            yield f"ws://127.0.0.1:{server.socket.getsockname()[1]}"
        finally:
            server.shutdown()
            thread.join()


def echoing(connection: ServerConnection) -> None:
    """Answers with what it was asked."""
    connection.send(pack({"session": "one"}))
    for message in connection:
        assert isinstance(message, bytes)
        connection.send(pack({"asked": unpack(message)}))


def test_a_server_that_never_answers_is_given_up_after_the_patience() -> None:
    def silent(connection: ServerConnection) -> None:
        connection.send(pack({"session": "one"}))
        for _ in connection:
            pass

    with serving(silent) as url, Client(url, patience=0.5, request_seconds=30) as client:
        began = time.monotonic()
        with pytest.raises(ConnectionLostError, match=r"must answer within 0\.5 s and did not"):
            client.infer({})
        assert time.monotonic() - began < 10


@contextmanager
def greeting_and_no_more() -> Iterator[str]:
    """A server that is gone from the network once it has greeted: what it is sent stays in the buffers between."""
    kept: list[socket.socket] = []

    def greet() -> None:
        with contextlib.suppress(OSError):  # closed: the test has ended
            while True:
                connection, _ = listening.accept()
                kept.append(connection)
                protocol = ServerProtocol()
                protocol.receive_data(connection.recv(65536))
                [request] = protocol.events_received()
                protocol.send_response(protocol.accept(request))  # type: ignore[arg-type]
                protocol.send_binary(pack({"session": "one"}))
                connection.sendall(b"".join(protocol.data_to_send()))

    with socket.create_server(("127.0.0.1", 0)) as listening:
        thread = threading.Thread(target=greet)
        thread.start()
        try:
            yield f"ws://127.0.0.1:{listening.getsockname()[1]}"
        finally:
            listening.shutdown(socket.SHUT_RDWR)
            thread.join()
            for connection in kept:
                connection.close()


def test_a_network_that_is_cut_in_the_middle_of_a_message_is_given_up_after_the_patience() -> None:
    raised: list[BaseException] = []
    with greeting_and_no_more() as url:
        client = Client(url, patience=0.6, request_seconds=0.2)

        def ask() -> None:
            try:
                client.infer({"observation/static": np.zeros((2000, 2000, 3), np.uint8)})
            except ConnectionLostError as error:
                raised.append(error)

        asking = threading.Thread(target=ask, daemon=True)  # it would wait for ever
        asking.start()
        asking.join(20)
        assert [type(error) for error in raised] == [ConnectionLostError]
        assert client.reconnects >= 1, "another connection might have been a better one"


def test_no_thread_is_started_in_a_control_step(monkeypatch: pytest.MonkeyPatch) -> None:
    with serving(echoing) as url, Client(url) as client:
        before = set(threading.enumerate())
        with monkeypatch.context() as patch:
            patch.delattr(threading.Thread, "start")
            assert client.infer({"number": 1})["asked"]["number"] == 1
        client.close()
        watching = [thread for thread in before if thread.name == "volition-sends"]
        assert len(watching) == 1
        watching[0].join(5)
        assert not watching[0].is_alive(), "it outlives its connection"


def test_after_an_interruption_the_next_answer_is_the_next_ones(monkeypatch: pytest.MonkeyPatch) -> None:
    with serving(echoing) as url, Client(url) as client:

        def interrupted(*given: Any, **how: Any) -> bytes:
            raise KeyboardInterrupt

        with monkeypatch.context() as patch:
            patch.setattr(client._connection, "recv", interrupted)
            with pytest.raises(KeyboardInterrupt):
                client.infer({"number": 1})
        assert client.infer({"number": 2})["asked"]["number"] == 2


def test_an_observation_grows_older_while_it_waits_for_a_connection() -> None:
    seen: list[dict[str, Any]] = []

    def dropping(connection: ServerConnection) -> None:
        """The first request is lost, as the second answers half a second later."""
        connection.send(pack({"session": "one", "resumed": True}))
        message = connection.recv()
        assert isinstance(message, bytes)
        asked = unpack(message)
        assert isinstance(asked, dict)
        seen.append(asked)
        if len(seen) == 1:
            time.sleep(0.5)
            return
        connection.send(pack({}))

    with serving(dropping) as url, Client(url) as client:
        client.infer({"age": 0.25, "time": 100.0})
    assert seen[0]["age"] == pytest.approx(0.25, abs=0.2)
    assert seen[1]["age"] >= 0.75
    assert seen[1]["time"] - seen[0]["time"] == pytest.approx(seen[1]["age"] - seen[0]["age"], abs=1e-6)
    assert seen[0]["request"] == seen[1]["request"]


CONTRACT = {"session": "one", "convention": "0123456789abcdef", "action_horizon": 8, "replan_steps": 4}


@contextmanager
def changing(told: list[dict[str, Any]]) -> Iterator[str]:
    """Greets with what is told at the time, and answers one request a connection."""

    def answering(connection: ServerConnection) -> None:
        connection.send(pack(told[-1]))
        connection.recv()
        connection.send(pack({"served": told[-1]}))

    with serving(answering) as url:
        yield url


@pytest.mark.parametrize(
    ("changes", "said"),
    [
        ({"convention": "fedcba9876543210"}, "convention was 0123456789abcdef and is fedcba9876543210"),
        ({"action_horizon": 16}, "action_horizon was 8 and is 16"),
        ({"replan_steps": 2}, "replan_steps was 4 and is 2"),
        ({"convention": None}, "convention was 0123456789abcdef and is None"),
    ],
)
def test_a_server_that_comes_back_with_another_contract_is_refused_at_once_and_for_good(
    changes: dict[str, Any], said: str
) -> None:
    """Its numbers would be read in the units of the first: by an envelope, a broker, the robot."""
    told = [dict(CONTRACT)]
    with changing(told) as url, Client(url, patience=20) as client:
        client.infer({})
        told.append({**CONTRACT, **changes})
        began = time.monotonic()
        for ask in (lambda: client.infer({}), lambda: client.infer({}), client.reset):
            with pytest.raises(ServerError, match=said) as refused:
                ask()
            assert refused.value.type == "foreign_contract"
            assert "make a new Client" in refused.value.message
        assert time.monotonic() - began < 10, "it was tried again"
        assert client.metadata == CONTRACT
        told.append(dict(CONTRACT))
        assert client.infer({})["served"] == CONTRACT


def test_a_server_that_tells_no_contract_is_held_to_none_and_a_reload_may_change_the_rest() -> None:
    told: list[dict[str, Any]] = [{"policy": "step_1"}]
    with changing(told) as url, Client(url) as client:
        client.infer({})
        for other in ({"policy": "step_2"}, {**CONTRACT, "policy": "a"}, {**CONTRACT, "policy": "b"}):
            told.append(other)
            assert client.infer({})["served"] == other
