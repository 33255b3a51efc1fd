"""A session and its connection: there is one, and it ends with the session."""

from __future__ import annotations

import contextlib

import numpy as np
import pytest
from websockets.exceptions import ConnectionClosed
from websockets.sync.client import connect

from tests.serving.process import wait_until
from tests.serving.robots import Recalling, expected, look, served
from tests.serving.test_http import ask
from volition.serving.config import ServeConfig
from volition.serving.server import background
from volition_client import Client, ServerError
from volition_client.codec import pack, unpack


def test_a_session_may_be_taken_over_any_number_of_times_and_has_one_connection() -> None:
    """Also while a request is under way on the one before, which nobody waits for any more."""
    actor = Recalling()
    with background(served(actor), ServeConfig(port=0)) as running, contextlib.ExitStack() as opened:
        service, url = running.server.service, running.addresses.websocket
        first = opened.enter_context(connect(url))
        session = unpack(first.recv())["session"]
        actor.seconds = 0.5
        first.send(pack(look(1)))
        wait_until(lambda: any(one.busy for one in service.sessions))
        newest = first
        for _ in range(3):
            before, newest = newest, opened.enter_context(connect(f"{url}?session={session}"))
            assert unpack(newest.recv())["resumed"] is True
            with pytest.raises(ConnectionClosed, match="another connection has this session"):
                before.recv(timeout=10)
        actor.seconds = 0.0
        newest.send(pack(look(2)))
        assert np.array_equal(unpack(newest.recv())["actions"], expected([look(2)])[0]), "the other took no step"
        assert service.metrics.requests.value("abandoned") == 1
        assert [one.connected for one in service.sessions] == [True]


def test_the_connection_of_a_session_that_is_closed_is_closed_as_well() -> None:
    """The robot hears of it, and begins anew only when it asks again."""
    with background(served(), ServeConfig(port=0)) as running, Client(running.addresses.websocket) as client:
        client.infer(look(1))
        with connect(running.addresses.websocket) as raw:
            for session in (unpack(raw.recv())["session"], client.session):
                assert ask(f"{running.addresses.url}/v1/sessions/{session}", method="DELETE")[0] == 204
            with pytest.raises(ConnectionClosed, match="unknown_session: the session was closed"):
                raw.recv(timeout=10)
        with pytest.raises(ServerError, match="unknown_session: the session was closed"):
            client.infer(look(2))
        assert np.array_equal(client.infer(look(2))["actions"], expected([look(2)])[0])
        assert [session.id for session in running.server.service.sessions] == [client.session]


def test_a_session_that_is_closed_answers_what_is_under_way_and_nothing_more() -> None:
    actor = Recalling()
    with background(served(actor), ServeConfig(port=0)) as running, connect(running.addresses.websocket) as raw:
        service, told = running.server.service, unpack(raw.recv())
        (session,) = service.sessions
        actor.seconds = 0.5
        raw.send(pack(look(1)))
        wait_until(lambda: session.busy)
        raw.send(pack(look(2)))  # this one waits for its turn
        assert ask(f"{running.addresses.url}/v1/sessions/{told['session']}", method="DELETE")[0] == 204
        assert np.array_equal(unpack(raw.recv())["actions"], expected([look(1)])[0])
        with pytest.raises(ConnectionClosed, match="the session was closed"):
            raw.recv(timeout=10)
        with pytest.raises(ServerError, match="unknown_session"):
            running.run(lambda: service.infer(session, lambda: look(3)))
        assert session.requests == 1
