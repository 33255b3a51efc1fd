"""When an observation was made, by this machine's clock: from its `age`, or from how the robot's own `time` goes on."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

from volition.serving import observations
from volition.serving.sessions import Session
from volition_client.ages import fresh
from volition_client.errors import ServerError


def observed_at(session: Session, message: Mapping[str, Any], now: float, most: float) -> float:
    """ServerError of type clock_jump where the robot's clock departs from ours by more than `most` seconds."""
    age = observations.number(message, "age") or 0.0
    if age < 0:
        raise ServerError("clock_jump", f"an observation's age must not be below 0 s, got {age:g}")
    theirs = observations.number(message, "time")
    if theirs is None:
        return now - age
    before, heard = session.robot_time, session.heard_at
    session.robot_time, session.heard_at = theirs, now
    if before is None:
        return now - age
    passed, expected = theirs - before, now - heard
    if passed < 0 or abs(passed - expected) > most:
        raise ServerError(
            "clock_jump",
            f"the robot's clock went on by {passed:g} s while {expected:g} s passed here; "
            "send times of a clock that never jumps. The next request is measured from here",
        )
    return now - age


def is_too_late(session: Session, message: Mapping[str, Any], now: float) -> bool:
    """Whether a repeated request's observation has become too old meanwhile for the session's safety envelope.

    It is as old as when it first came, and what has passed since, whatever the repetition says; older where it says so.
    """
    session.observed_at = min(session.observed_at, now - (observations.number(message, "age") or 0.0))
    return session.envelope is not None and not fresh(now - session.observed_at, session.envelope.limits.stale_seconds)
