"""A server that cannot start says why, and lets go of everything it took."""

from __future__ import annotations

import socket
from pathlib import Path
from typing import Any

import pytest

from tests.serving.robots import served
from volition.serving.config import ServeConfig
from volition.serving.server import background


def test_a_certificate_that_is_none_is_said_before_anybody_is_told_an_address(tmp_path: Path) -> None:
    (tmp_path / "key.pem").write_text("no key")
    for key in ("key.pem", "none.pem"):
        with pytest.raises(ValueError, match="must be a PEM certificate and its key"):
            ServeConfig(tls_certificate=tmp_path / "key.pem", tls_key=tmp_path / key)


def test_a_server_that_cannot_start_leaves_its_port(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    async def fail(*_: Any, **__: Any) -> None:
        raise RuntimeError("the web server has a defect")

    with socket.create_server(("127.0.0.1", 0)) as found:
        port = found.getsockname()[1]
    monkeypatch.setattr("volition.serving.server._Uvicorn.serve", fail)
    with pytest.raises(RuntimeError, match="has a defect"), background(served(), ServeConfig(port=port)):
        pass
    monkeypatch.undo()
    with background(served(), ServeConfig(port=port)) as running:
        assert running.addresses.url.endswith(str(port))


def test_a_zeromq_port_that_is_taken_is_said_and_everything_else_let_go(tmp_path: Path) -> None:
    pytest.importorskip("zmq")
    with socket.create_server(("127.0.0.1", 0)) as found:
        port = found.getsockname()[1]
    with socket.create_server(("127.0.0.1", 0)) as taken:
        busy = ServeConfig(port=port, zmq_port=taken.getsockname()[1], record=tmp_path)
        with pytest.raises(ValueError, match="name another --zmq-port") as raised, background(served(), busy):
            pass
        with background(served(), ServeConfig(port=port)) as running:  # while the error is still at hand
            assert running.addresses.url.endswith(str(port))
        assert raised.value is not None
