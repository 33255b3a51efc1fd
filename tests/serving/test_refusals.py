"""What is refused, by whichever protocol: one short line in the log, one count, and one of what its sender may ask."""

from __future__ import annotations

import json
import logging
from collections.abc import Callable, Iterator
from typing import Any

import msgpack
import numpy as np
import pytest
from websockets.exceptions import ConnectionClosed, InvalidStatus
from websockets.sync.client import connect

from tests.serving.process import wait_until
from tests.serving.robots import ROBOT, look, served
from tests.serving.test_http import ask, body
from tests.serving.test_zeromq import Gr00tLike, nested
from volition.serving.config import ServeConfig
from volition.serving.http_body import from_document, read_json
from volition.serving.observations import read, settled
from volition.serving.server import Running, background
from volition.serving.sessions import SessionLimits
from volition_client import ServerError, pack

TOKEN = "first-secret-0123456"


@pytest.fixture(scope="module")
def guarded(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Running]:
    tokens = tmp_path_factory.mktemp("access") / "tokens"
    tokens.write_text(f"arm {TOKEN}\n")
    with background(served(), ServeConfig(port=0, zmq_port=0, tokens=tokens)) as running:
        yield running


def post(
    running: Running, data: Any, kind: str = "application/json", token: str = TOKEN, path: str = "actions"
) -> None:
    headers = {"content-type": kind, "authorization": f"Bearer {token}"}
    ask(f"{running.addresses.url}/v1/{path}", data, headers=headers)


def send(running: Running, request: Any, token: str = TOKEN) -> None:
    client = Gr00tLike(str(running.addresses.zmq))
    data = request if isinstance(request, bytes) else msgpack.packb({**request, "api_token": token})
    assert "error" in client.send(data)
    client.close()


def frame(running: Running, data: Any, token: str = TOKEN) -> None:
    with connect(running.addresses.websocket, additional_headers={"authorization": f"Bearer {token}"}) as raw:
        raw.recv()
        raw.send(data)
        raw.recv()


def refused_connection(running: Running) -> None:
    with pytest.raises(InvalidStatus, match="401"):
        frame(running, b"", "another-secret-01234")


def large_frame(running: Running) -> None:
    with pytest.raises((ConnectionClosed, OSError)):
        frame(running, bytes(17 << 20))


REFUSED: dict[str, tuple[Callable[[Running], None], str]] = {
    "http: torn JSON": (lambda r: post(r, b'{"a":'), "bad_message"),
    "http: torn msgpack": (lambda r: post(r, b"\xff\xc1", "application/msgpack"), "bad_message"),
    "http: no picture": (lambda r: post(r, {"prompt": "a", "images": {"static": "AAAA"}}), "bad_observation"),
    "http: too large": (lambda r: post(r, b" " * (17 << 20)), "too_large"),
    "http: an unknown session": (lambda r: post(r, body(look(1), session="nobody")), "unknown_session"),
    "http: another token": (lambda r: post(r, {}, token="another-secret-01234"), "unauthorized"),
    "http: an observation": (lambda r: post(r, {"prompt": "a", "images": {}}), "bad_observation"),
    "http: no admin": (lambda r: post(r, {}, path="reload"), "forbidden"),
    "http: nothing there": (lambda r: post(r, {}, path="nothing"), "not_found"),
    "zmq: garbage": (lambda r: send(r, b"\xc1\xff"), "bad_message"),
    "zmq: an unknown endpoint": (lambda r: send(r, {"endpoint": "kill"}), "bad_message"),
    "zmq: another token": (lambda r: send(r, {"endpoint": "ping"}, "another-secret-01234"), "unauthorized"),
    "zmq: an observation": (lambda r: send(r, {"data": {"observation": {"video": {"x": 3}}}}), "bad_observation"),
    "websocket: torn": (lambda r: frame(r, b"\xc1"), "bad_message"),
    "websocket: text": (lambda r: frame(r, "text"), "bad_message"),
    "websocket: an observation": (lambda r: frame(r, pack({"prompt": "a"})), "bad_observation"),
    "websocket: another token": (refused_connection, "unauthorized"),
    "websocket: too large": (large_frame, "too_large"),
}


@pytest.mark.parametrize("what", REFUSED)
def test_every_refusal_is_logged_and_counted_once(
    what: str, guarded: Running, caplog: pytest.LogCaptureFixture
) -> None:
    refuse, kind = REFUSED[what]
    counted = guarded.server.service.metrics.requests
    before = counted.value(kind)
    with caplog.at_level(logging.WARNING, logger="volition.serving"):
        refuse(guarded)
        wait_until(lambda: counted.value(kind) > before, seconds=10)
    assert counted.value(kind) == before + 1
    (line,) = [record.getMessage() for record in caplog.records if record.name.startswith("volition")]
    assert line.startswith(what.partition(":")[0])
    assert kind in line
    assert "secret" not in line


LONG = "x" * 1_000_000


@pytest.mark.parametrize(
    "change",
    [
        {"reset": LONG.encode()},
        {"reset": np.zeros(1_000_000, np.uint8)},
        {"convention": LONG},
        {LONG: 1},
        {f"{i}{LONG[:100]}": 1 for i in range(1000)},
        {"age": LONG},
        {"prompt": LONG},
        {"observation/state": LONG},
    ],
    ids=["bytes", "an array", "a convention", "a name", "names", "a number", "a prompt", "a state"],
)
def test_what_is_long_is_quoted_shortly(change: dict[Any, Any], server: Running) -> None:
    service = server.server.service
    session = service.sessions.open("", "websocket", "test")
    with pytest.raises(ServerError) as refused:
        server.run(lambda: service.infer(session, lambda: {**look(1), **change}))
    assert len(refused.value.message) < 400


@pytest.mark.parametrize("document", [{LONG: 1}, {"images": {LONG: ""}}])
def test_what_is_long_in_json_is_quoted_shortly(document: dict[str, Any]) -> None:
    with pytest.raises(ServerError) as refused:
        from_document(document, ROBOT)
    assert len(refused.value.message) < 200


class Endless(list[Any]):
    """Longer than anybody may read."""

    def __len__(self) -> int:
        return 10_000_000

    def __iter__(self) -> Iterator[Any]:
        raise AssertionError("it was read before its length was looked at")

    __array__ = None


@pytest.mark.parametrize("given", [Endless([1]), [Endless([1])]])
def test_lists_that_are_too_long_are_not_converted(given: Any) -> None:
    with pytest.raises(ServerError, match="settled must be"):
        settled({"settled": given, "weights": [1.0]}, 4, 7)
    with pytest.raises(ServerError, match="weights must be"):
        settled({"settled": [[0.0] * 7], "weights": given}, 4, 7)
    with pytest.raises(ServerError, match="state must be"):
        read({**look(1), "observation/state": given}, ROBOT)
    with pytest.raises(ServerError, match="state must be"):
        from_document({"state": given}, ROBOT)


def test_json_of_too_many_parts_is_not_read(monkeypatch: pytest.MonkeyPatch) -> None:
    with monkeypatch.context() as patched:
        patched.setattr(json, "loads", lambda data: pytest.fail("it was read"))
        with pytest.raises(ServerError, match="so many lists"):
            read_json(json.dumps({"settled": [[0]] * 5000}).encode())
    assert read_json(json.dumps({"settled": [[0.0] * 7] * 100}).encode())["settled"]


@pytest.mark.parametrize("protocol", ["http", "zmq", "websocket"])
def test_what_cannot_be_read_counts_as_a_request(protocol: str) -> None:
    """Three at once, and then none for long, whatever they are."""
    limits = SessionLimits(requests_per_second=0.001, burst=3)
    with background(served(), ServeConfig(port=0, zmq_port=0, sessions=limits)) as running:
        if protocol == "http":
            url = f"{running.addresses.url}/v1/actions"
            found = [ask(url, b"{")[1]["error"]["type"] for _ in range(5)]
            found.append(ask(url, body(look(1)))[1]["error"]["type"])
        elif protocol == "zmq":
            client = Gr00tLike(str(running.addresses.zmq))
            found = [client.act({"audio": 1})["error"].partition(":")[0] for _ in range(5)]
            found.append(client.act(nested(look(1)))["error"].partition(":")[0])
            client.close()
        else:
            with connect(running.addresses.websocket) as raw:
                raw.recv()
                for data in [b"\xc1"] * 5 + [pack(look(1))]:
                    raw.send(data)
                found = [json.loads(raw.recv())["error"]["type"] for _ in range(6)]
    assert len(set(found[:3])) == 1
    assert found[3:] == ["too_many_requests"] * 3


def test_garbage_over_zeromq_counts_as_requests_of_its_connection() -> None:
    limits = SessionLimits(requests_per_second=0.001, burst=3)
    with background(served(), ServeConfig(port=0, zmq_port=0, sessions=limits)) as running:
        client, other = (Gr00tLike(str(running.addresses.zmq)) for _ in range(2))
        found = [client.send(b"\xc1")["error"].partition(":")[0] for _ in range(5)]
        assert found == ["bad_message"] * 3 + ["too_many_requests"] * 2
        assert "error" not in other.act(nested(look(1)))
        client.close()
        other.close()
