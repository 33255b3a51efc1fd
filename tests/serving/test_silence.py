"""Connections that say nothing: closed after a while, whoever holds them; those that ask, or will, are not."""

from __future__ import annotations

import http.client
import json
import socket
import time
from urllib.parse import urlsplit

import numpy as np
import pytest

from tests.serving.robots import expected, look, served
from tests.serving.test_http import body
from volition.serving import silence
from volition.serving.config import ServeConfig
from volition.serving.server import background
from volition_client import Client

HALF_A_HEAD = b"POST /v1/actions HTTP/1.1\r\nhost: 127.0.0.1\r\ncontent-le"


def closed_within(connection: socket.socket, seconds: float) -> bool:
    connection.settimeout(seconds)
    try:
        while connection.recv(4096):
            pass
    except TimeoutError:
        return False
    return True


@pytest.mark.parametrize("said", [b"", b"GET", HALF_A_HEAD, b"GET /healthz HTTP/1.1\r\nhost: 127.0.0.1\r\n\r\nGET"])
def test_who_never_ends_a_request_is_cut_off(said: bytes, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(silence, "SILENT_SECONDS", 0.2)
    with background(served(), ServeConfig(port=0)) as running:
        address = urlsplit(running.addresses.url)
        with socket.create_connection((str(address.hostname), address.port or 0)) as connection:
            connection.sendall(said)
            assert closed_within(connection, 5)


def test_who_asks_now_and_then_stays_connected(monkeypatch: pytest.MonkeyPatch) -> None:
    """A websocket between two requests, however long, and an HTTP connection that is used again."""
    monkeypatch.setattr(silence, "SILENT_SECONDS", 0.4)
    with background(served(), ServeConfig(port=0)) as running, Client(running.addresses.websocket) as client:
        address = urlsplit(running.addresses.url)
        kept = http.client.HTTPConnection(str(address.hostname), address.port)
        kept.connect()
        first = kept.sock.getsockname()
        for _ in range(6):
            kept.request("POST", "/v1/actions", json.dumps(body(look(1))), {"content-type": "application/json"})
            with kept.getresponse() as answer:
                assert np.allclose(json.load(answer)["actions"], expected([look(1)])[0], atol=0)
            time.sleep(0.2)
            assert kept.sock.getsockname() == first
        kept.close()
        assert np.array_equal(client.infer(look(2))["actions"], expected([look(2)])[0])
        assert client.reconnects == 0
