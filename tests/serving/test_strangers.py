"""Clients that leave, press, or send what no policy can have: over HTTP, where anybody may come by."""

from __future__ import annotations

import json
import socket
import time
import urllib.parse
from typing import Any

import numpy as np
import pytest

from tests.serving.robots import Recalling, expected, look, served
from tests.serving.test_http import ask, body
from volition.serving.config import ServeConfig
from volition.serving.metrics import Counter
from volition.serving.server import Running, background
from volition.serving.sessions import SessionLimits
from volition_client import pack


def test_a_client_that_leaves_takes_its_step_with_it() -> None:
    """Its connection is closed while the policy works: the memory stays where it was."""
    actor = Recalling(seconds=0.5)
    with background(served(actor), ServeConfig(port=0)) as running:
        actor.seconds, service = 0.5, running.server.service
        made = ask(f"{running.addresses.url}/v1/sessions", {})[1]
        data = json.dumps(body(look(1), session=made["session"])).encode()
        address = urllib.parse.urlsplit(running.addresses.url)
        with socket.create_connection((address.hostname, address.port)) as robot:
            head = "POST /v1/actions HTTP/1.1\r\nhost: localhost\r\ncontent-type: application/json\r\n"
            robot.sendall(f"{head}content-length: {len(data)}\r\n\r\n".encode() + data)
            time.sleep(0.2)
        deadline = time.monotonic() + 20
        while not service.metrics.requests.value("abandoned"):
            assert time.monotonic() < deadline
            time.sleep(0.01)
        (session,) = service.sessions
        assert session.requests == 0
        assert session.memory is None
        status, answer = ask(f"{running.addresses.url}/v1/actions", body(look(2), session=made["session"]))
        assert status == 200
        assert np.allclose(answer["actions"], expected([look(2)])[0], atol=0)


def test_without_a_session_nobody_asks_faster_than_in_one() -> None:
    limits = SessionLimits(requests_per_second=0.001, burst=3)
    with background(served(), ServeConfig(port=0, sessions=limits)) as running:
        found = [ask(f"{running.addresses.url}/v1/actions", body(look(1)))[0] for _ in range(5)]
    assert found == [200, 200, 200, 429, 429]


def test_counters_stay_exact() -> None:
    counter = Counter("all", "of them")
    counter.add(amount=1_000_000)
    counter.add()
    assert list(counter.lines())[-1] == "all 1000001"


@pytest.mark.parametrize(
    ("change", "kind"),
    [
        ({"prompt": "\ud800 go"}, "bad_observation"),
        ({"convention": [1]}, "bad_message"),
        ({"settled": [[0.0] * 7], "weights": [1.0]}, "bad_observation"),
        ({"executed": "two"}, "bad_message"),
        ({"answered": "one"}, "bad_message"),
    ],
)
def test_what_no_policy_can_have_is_the_clients_error(change: dict[str, Any], kind: str, server: Running) -> None:
    status, answer = ask(f"{server.addresses.url}/v1/actions", body(look(1), **change))
    assert (status < 500, answer["error"]["type"]) == (True, kind)
    assert ask(f"{server.addresses.url}/v1/status")[0] == 200


@pytest.mark.parametrize("state", [[[1], [2, 3]], [1, [2], 3], "low"])
def test_states_that_are_no_row_of_numbers_are_the_clients_error(state: Any, server: Running) -> None:
    message = {**look(1), "observation/state": state}
    headers = {"content-type": "application/msgpack"}
    status, answer = ask(f"{server.addresses.url}/v1/actions", pack(message), headers=headers)
    assert (status, answer["error"]["type"]) == (422, "bad_observation")
