"""Servers over real sockets."""

from __future__ import annotations

from collections.abc import Iterator

import pytest

from tests.serving.robots import served
from volition.serving.config import ServeConfig
from volition.serving.server import Running, background
from volition_client import Client


@pytest.fixture
def server() -> Iterator[Running]:
    with background(served(), ServeConfig(port=0, zmq_port=0)) as running:
        yield running


@pytest.fixture
def robot(server: Running) -> Iterator[Client]:
    with Client(server.addresses.websocket) as client:
        yield client
