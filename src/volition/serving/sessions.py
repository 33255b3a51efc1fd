"""Sessions: one for each robot that is connected, with all that the server remembers of it.

A websocket or ZeroMQ connection has a session of its own; over HTTP a client makes one. A session whose connection is
lost is kept for a while, so that a client that comes back finds its policy where it left it. One that is closed, by
whomever, is answered no more, and its connection is closed as well. HTTP and ZeroMQ do not say
that a client is gone: where there is no room, their sessions make some when nothing was asked in them for as long.
Times are of a clock that never goes back.
"""

from __future__ import annotations

import asyncio
import secrets
import time
from collections import deque
from collections.abc import Callable, Mapping
from dataclasses import dataclass, field
from typing import Any

import numpy as np

from volition.serving.batching import Memory
from volition.serving.refusals import quoted
from volition_client.envelope import Envelope, Kept
from volition_client.errors import ServerError

OF_A_REQUEST = (
    *("memory", "prompt", "request", "answer", "observed_at"),
    *("images", "actions", "requests", "interventions", "heard"),
)


@dataclass(frozen=True)
class Moment:
    """Of a session, between two requests."""

    kept: Mapping[str, Any]
    envelope: Kept | None


@dataclass(kw_only=True)
class Allowance:
    """Requests that may come at once; it fills with time."""

    left: float
    filled_at: float

    def take(self, now: float, rate: float, burst: int) -> bool:
        """Whether there was one left."""
        self.left = min(float(burst), self.left + (now - self.filled_at) * rate)
        self.filled_at = now
        if self.left < 1:
            return False
        self.left -= 1
        return True


@dataclass(kw_only=True)
class Session:
    id: str
    owner: str  # name of the token that opened it, "" where none is needed
    protocol: str
    peer: str
    envelope: Envelope | None = None
    connected: bool = True
    link: asyncio.Event = field(default_factory=asyncio.Event)  # of the connection that counts; set once it does not
    busy: bool = False
    memory: Memory | None = None  # None: the policy has seen nothing
    prompt: str | None = None
    request: int | None = None  # the newest that was answered, for clients that number them
    answer: dict[str, Any] | None = None
    observed_at: float = 0.0  # when the observation behind the answer was made
    # The newest answer that the robot is known to have (None: none is), and the envelope after it.
    heard: tuple[float | None, Kept] = (None, Kept(None))
    images: dict[str, np.ndarray] = field(default_factory=dict)  # newest, for the page
    actions: np.ndarray | None = None
    latencies: deque[float] = field(default_factory=lambda: deque(maxlen=200))  # seconds
    requests: int = 0
    refusals: int = 0
    interventions: int = 0
    robot_time: float | None = None  # newest of the robot's clock, and when it came
    heard_at: float = 0.0
    used_at: float = 0.0
    allowance: Allowance | None = None  # None: somebody else counts its requests

    def moment(self) -> Moment:
        """What a request changes, for `go_back`."""
        kept = {name: getattr(self, name) for name in OF_A_REQUEST}
        return Moment(kept, None if self.envelope is None else self.envelope.kept())

    def carried_out(self, executed: int | None, answered: float | None) -> None:
        """So many actions of the answer to the request `answered`; of the newest, where that is not said.

        What was answered since then never reached the robot and moved it no further: it still went by the older one,
        or where none had come (of a session that began anew, say), by none of ours. `executed` None: as was assumed.
        """
        if self.envelope is None:
            return
        if answered is None or answered == self.request:
            self.heard = (self.request, self.envelope.kept())
        else:
            number, kept = self.heard
            self.envelope.go_back(kept)
            if number != answered:
                return
        if executed is not None:
            self.envelope.executed(executed)

    def forget_target(self) -> None:
        """Where the robot was told to be; not how it moves, for it may be moving."""
        if self.envelope is not None:
            self.envelope.forget_target()
        number, kept = self.heard
        self.heard = (number, kept.without_target())

    def go_back(self, moment: Moment) -> None:
        """The request failed after all, and its actions are not sent: the robot is where it was."""
        for name, value in moment.kept.items():
            setattr(self, name, value)
        if self.envelope is not None and moment.envelope is not None:
            self.envelope.go_back(moment.envelope)


@dataclass(frozen=True, kw_only=True)
class SessionLimits:
    sessions: int = 256
    sessions_per_token: int = 64
    requests_per_second: float = 1000.0  # of one session; a simulator asks as fast as it is answered
    burst: int = 20  # requests that may come at once
    grace_seconds: float = 30.0  # a session whose connection is lost, or that makes room for others, is kept so long
    idle_seconds: float = 600.0  # a session that asks nothing for so long is closed

    def __post_init__(self) -> None:
        for name in self.__dataclass_fields__:
            if not getattr(self, name) > 0:
                raise ValueError(f"{name} must be above 0, got {getattr(self, name)}")


class Sessions:
    def __init__(
        self,
        limits: SessionLimits,
        make_envelope: Callable[[], Envelope | None],
        clock: Callable[[], float] = time.monotonic,
    ):
        self._limits, self._make_envelope, self._clock = limits, make_envelope, clock
        self._all: dict[str, Session] = {}
        self._without: dict[str, Allowance] = {}  # of those who ask without a session

    def __len__(self) -> int:
        return len(self._all)

    def __iter__(self) -> Any:
        return iter(list(self._all.values()))

    def open_once(self, owner: str, protocol: str, peer: str) -> Session:
        """For one request. A token, or without tokens a machine, may ask as often in this way as a session."""
        self.take_without(peer, owner)
        session = self.open(owner, protocol, peer)
        session.allowance = None
        return session

    def open(self, owner: str, protocol: str, peer: str) -> Session:
        """ServerError of type too_many_sessions where there is no room, not even in place of one that was left.

        Lost connections go first, then what was not used for longest.
        """
        self.expire()
        for what, most, mine in (
            ("the token", self._limits.sessions_per_token, [s for s in self if s.owner == owner]),
            ("the server", self._limits.sessions, list(self)),
        ):
            if len(mine) >= most:
                left = sorted((s for s in mine if self._was_left(s)), key=lambda s: (s.connected, s.used_at))
                if not left:
                    raise ServerError("too_many_sessions", f"{what} may have {most} sessions, and has as many")
                self.close(left[0])
        session = Session(
            id=secrets.token_urlsafe(12), owner=owner, protocol=protocol, peer=peer, envelope=self._make_envelope()
        )
        session.used_at, session.allowance = self._clock(), self._full()
        self._all[session.id] = session
        return session

    def get(self, name: str, owner: str) -> Session:
        """ServerError of type unknown_session; another's session is unknown as well."""
        session = self._all.get(name)
        if session is None or session.owner != owner:
            raise ServerError("unknown_session", f"there is no session {quoted(name)} (any more): open a new one")
        return session

    def resume(self, name: str, owner: str, peer: str) -> Session | None:
        """A session that lost its connection, connected again; None where there is none to be had.

        Who has its id takes it over from a connection that still seems to stand: where a network was cut, that is
        noticed here long after the robot has noticed.
        """
        session = self._all.get(name)
        if session is None or session.owner != owner:
            return None
        session.connected, session.peer, session.used_at = True, peer, self._clock()
        session.link.set()
        session.link = asyncio.Event()
        return session

    def leave(self, session: Session, link: asyncio.Event) -> None:
        """That connection of it is lost; it may come back."""
        if session.link is link:
            session.connected, session.used_at = False, self._clock()

    def close(self, session: Session) -> None:
        self._all.pop(session.id, None)
        session.link.set()

    def take(self, session: Session) -> None:
        """A request comes; ServerError of type unknown_session where it was closed meanwhile, and of type
        too_many_requests where they come too fast."""
        self.get(session.id, session.owner)
        session.used_at = self._clock()
        if session.allowance is not None:
            self._admit(session.allowance)

    def take_without(self, peer: str, owner: str = "") -> None:
        """A request without a session comes, of a token or machine; ServerError as `take`."""
        self._admit(self._without.setdefault(owner or peer.rpartition(":")[0] or peer, self._full()))

    def _was_left(self, session: Session) -> bool:
        """Whether its place may be given to another."""
        silent = not _bound(session) and self._clock() - session.used_at > self._limits.grace_seconds
        return not session.busy and (silent or not session.connected)

    def _full(self) -> Allowance:
        return Allowance(left=float(self._limits.burst), filled_at=self._clock())

    def _admit(self, allowance: Allowance) -> None:
        rate = self._limits.requests_per_second
        if not allowance.take(self._clock(), rate, self._limits.burst):
            raise ServerError("too_many_requests", f"a session may ask {rate:g} times a second")

    def expire(self) -> None:
        now, idle = self._clock(), self._limits.idle_seconds
        self._without = {who: one for who, one in self._without.items() if now - one.filled_at <= idle}
        for session in self:
            most = idle if session.connected else self._limits.grace_seconds
            if now - session.used_at > most and not session.busy and not (session.connected and _bound(session)):
                self.close(session)


def _bound(session: Session) -> bool:
    """Whether its life is that of a connection, which closes it."""
    return session.protocol == "websocket"
