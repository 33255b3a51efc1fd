"""Sessions by a clock of the test's own: how often one may ask, and whose place a newcomer gets."""

from __future__ import annotations

import pytest

from volition.serving.sessions import SessionLimits, Sessions
from volition_client import ServerError


def test_what_a_session_may_ask_comes_back_with_time() -> None:
    now = [0.0]
    sessions = Sessions(SessionLimits(requests_per_second=2.0, burst=3), lambda: None, clock=lambda: now[0])
    session = sessions.open("", "websocket", "test")
    for wait, allowed in ((0.0, 3), (0.4, 0), (0.2, 1), (100.0, 3)):
        now[0] += wait
        for _ in range(allowed):
            sessions.take(session)
        with pytest.raises(ServerError, match="too_many_requests"):
            sessions.take(session)


def test_sessions_that_were_left_without_a_word_make_room() -> None:
    """HTTP and ZeroMQ do not tell that a client is gone; who asked a moment ago, or is being answered, is not gone."""
    now = [0.0]
    limits = SessionLimits(sessions=4, sessions_per_token=4, grace_seconds=30.0)
    sessions = Sessions(limits, lambda: None, clock=lambda: now[0])
    robot, busy, oldest, newest = (sessions.open("", name, "test") for name in ("websocket", "http", "http", "zmq"))
    busy.busy = True
    now[0] = 20.0
    sessions.take(newest)
    with pytest.raises(ServerError, match="too_many_sessions"):
        sessions.open("", "websocket", "test")
    now[0] = 40.0
    sessions.open("", "websocket", "test")
    assert oldest not in list(sessions)
    with pytest.raises(ServerError, match="too_many_sessions"):
        sessions.open("", "websocket", "test")
    now[0] = 51.0
    sessions.open("", "websocket", "test")
    assert {session.id for session in sessions} > {robot.id, busy.id}
    assert newest not in list(sessions)
