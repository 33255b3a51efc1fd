"""A websocket client of a policy server: one robot, one session, one request at a time.

    infer(observation) -> send -> answer
         └ connection lost -> connect again, wait a little longer each time -> resume the session -> send again

The server answers a repeated request (same sequence number) with what it answered before, so a policy's memory takes no
step twice. A server that was started anew does not know the session: the policy then begins anew, and
`Client.fresh_starts` counts it. One that has another contract now is refused for good: what was made of the first
metadata (an envelope, a broker) would read its numbers in the old units. Servers that speak openpi's protocol only work
as well; they have no sessions.
"""

from __future__ import annotations

import contextlib
import logging
import math
import random
import socket
import ssl
import threading
import time
from types import TracebackType
from typing import Any, Callable, Mapping
from urllib.parse import quote

import numpy as np
import websockets.exceptions
from websockets.sync.client import ClientConnection, connect

from volition_client.codec import DecodeError, DecodeLimits, pack, unpack
from volition_client.errors import TYPES, ConnectionLostError, ServerError, from_text

logger = logging.getLogger(__name__)
FIRST_PAUSE, LONGEST_PAUSE = 0.05, 2.0  # seconds between attempts to connect
GLANCE_SECONDS = 0.1  # between two looks whether a message leaves
# Refusals that pass: worth another attempt while time is left.
_PASSING = ("draining", "busy", "too_many_sessions")
# Of the metadata: what the actions mean, and how many of them come and are carried out.
_CONTRACT = ("convention", "action_horizon", "replan_steps")


class Client:
    """`metadata` is what the server says about its policy: names, units and sizes of observations and actions."""

    def __init__(
        self,
        url: str,
        *,
        token: str = "",
        patience: float = 10.0,
        request_seconds: float = 5.0,
        context: ssl.SSLContext | None = None,
        limits: DecodeLimits = DecodeLimits(),  # noqa: B008  frozen
        clock: Callable[[], float] = time.monotonic,
    ) -> None:
        """`url`: ws://host:port or wss://. `patience`: seconds that connecting, or a request with all that it takes,
        may last before ConnectionLostError. `request_seconds`: a connection is given up over which a message does not
        leave, or no answer comes, for longer."""
        self._url, self._token, self._patience, self._request_seconds = url, token, patience, request_seconds
        self._context, self._limits, self._clock = context, limits, clock
        self._connection: ClientConnection | None = None
        self._sends: _Sends | None = None
        self._open = contextlib.ExitStack()  # closes both
        self._number = 0
        self._answered = 0  # the number of the session's newest request whose answer came; 0: none did
        self._told: dict[str, Any] = {}  # with the next request
        self.metadata: dict[str, Any] = {}
        self.session = ""
        self.reconnects = 0
        self.fresh_starts = 0  # times that a lost session could not be resumed: the policy had forgotten
        self._ensure_connected(self._clock() + patience)

    def infer(self, observation: Mapping[str, Any]) -> dict[str, Any]:
        """Observation by the contract's names -> {"actions": float32[H, A], ...}.

        Raises ServerError for what the server refuses, ConnectionLostError when none answers in `patience` seconds.
        """
        self._number += 1
        told, self._told = self._told, {}
        begun = self._clock()
        deadline = begun + self._patience
        while True:
            self._ensure_connected(deadline)
            data = pack({**observation, **told, **self._about(observation, self._clock() - begun)})
            most = int(self.metadata.get("max_message_bytes", len(data)))
            if len(data) > most:
                raise ServerError("too_large", f"the server takes messages of {most} bytes, this one has {len(data)}")
            try:
                answer = self._ask(data, deadline)
            except ServerError as error:
                if error.type not in _PASSING or self._clock() >= deadline:
                    raise
                self._drop()
                time.sleep(FIRST_PAUSE)
            except (OSError, websockets.exceptions.WebSocketException) as error:
                logger.warning("the connection to %s was lost (%s)", self._url, error or type(error).__name__)
                self._drop()
                refused = _reason(error)
                if refused is not None:
                    self.session = ""  # the next request opens a new one
                    raise refused from error
                if self._clock() >= deadline:
                    raise ConnectionLostError(
                        f"{self._url} must answer within {self._patience:g} s and did not ({str(error) or 'silence'})"
                    ) from error
            except BaseException:  # interrupted: the answer that is under way must not be the next one's
                self._drop()
                raise
            else:
                self._answered = self._number
                return answer

    def accepts(self, what: str) -> bool:
        """Whether the server has a use for it: "executed" or "settled"."""
        return what in (self.metadata.get("accepts") or ())

    def tell(self, executed: int, settled: np.ndarray | None = None, weights: np.ndarray | None = None) -> None:
        """With the next request, where the server accepts it.

        executed          how many actions of the last answer that came were carried out: its safety envelope counts
                          from there, also where a later answer was given up on
        settled, weights  [P, A] and [P]: actions that are carried out while it thinks (weight 1) and perhaps after
        """
        self._told = {"executed": executed} if self.accepts("executed") else {}
        if settled is not None and self.accepts("settled"):
            self._told.update(settled=settled, weights=weights)

    def reset(self) -> None:
        """A new session: the policy has seen nothing. Brokers call it between episodes."""
        self._drop()
        self.session, self._told = "", {}
        self._ensure_connected(self._clock() + self._patience)

    def close(self) -> None:
        self._drop()

    def __enter__(self) -> Client:
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        self.close()

    def _about(self, observation: Mapping[str, Any], waited: float) -> dict[str, Any]:
        """What goes with an observation that has waited for a connection; only our servers have a use for it."""
        if not self.session:
            return {}
        times = {"age": float(observation.get("age") or 0.0) + waited}
        if "time" in observation:
            times["time"] = float(observation["time"]) + waited
        answered = {"answered": self._answered} if self.accepts("answered") else {}
        return {"request": self._number, **answered, **times}

    def _ask(self, data: bytes, deadline: float) -> dict[str, Any]:
        assert self._connection is not None
        assert self._sends is not None
        self._sends.send(data, self._seconds(deadline))
        return self._read(self._connection.recv(timeout=self._seconds(deadline)))

    def _seconds(self, deadline: float) -> float:
        """How long one thing may take before the deadline."""
        return max(0.1, min(self._request_seconds, deadline - self._clock()))

    def _read(self, answer: Any) -> dict[str, Any]:
        if isinstance(answer, str):
            raise from_text(answer)
        try:
            message = unpack(answer, self._limits)
        except DecodeError as error:
            raise ServerError("bad_message", f"from the server: {error}") from error
        if not isinstance(message, dict):
            raise ServerError("bad_message", f"a server must answer with a map, got {type(message).__name__}")
        return message

    def _ensure_connected(self, deadline: float) -> None:
        pause = FIRST_PAUSE
        while self._connection is None:
            try:
                self._connect(self._seconds(deadline))
            except (OSError, websockets.exceptions.WebSocketException, ServerError) as raised:  # noqa: PERF203
                self._drop()
                error = _refusal(raised)
                if isinstance(error, ServerError) and error.type not in _PASSING:
                    raise error from raised
                if isinstance(error, (websockets.exceptions.InvalidURI, ssl.SSLCertVerificationError)):
                    raise
                left = deadline - self._clock()
                if left <= 0:
                    raise ConnectionLostError(
                        f"{self._url} must answer within {self._patience:g} s and did not ({error}); "
                        "is the server running there?"
                    ) from error
                time.sleep(min(left, pause * random.uniform(0.5, 1.0)))  # many robots must not come back all at once
                pause = min(2 * pause, LONGEST_PAUSE)

    def _connect(self, timeout: float) -> None:
        headers = {"Authorization": f"Bearer {self._token}"} if self._token else {}
        url = f"{self._url}?session={quote(self.session)}" if self.session else self._url
        opening = connect(
            url,
            ssl=self._context,
            compression=None,
            max_size=self._limits.max_bytes,
            additional_headers=headers,
            open_timeout=timeout,
            close_timeout=1.0,
        )
        self._connection = self._open.enter_context(opening)
        self._sends = self._open.enter_context(contextlib.closing(_Sends(self._connection)))
        before = self.session
        metadata = self._read(self._connection.recv(timeout=timeout))
        _require_same_contract(self._url, self.metadata, metadata)
        self.metadata = metadata
        self.session = str(self.metadata.get("session", ""))
        anew = not self.metadata.get("resumed")
        if anew:
            self._answered = 0
        if before:
            self.reconnects += 1
            if anew:
                self.fresh_starts += 1
                logger.warning("%s does not know the session any more: the policy begins anew", self._url)

    def _drop(self) -> None:
        self._connection = self._sends = None
        self._open.close()


class _Sends:
    """Sends over a connection, and cuts it where that lasts: to a peer that stopped reading a `send` waits without end,
    and knows no timeout.

    One thread looks on for as long as the connection stands, so that none has to be started in a control step.
    """

    def __init__(self, connection: ClientConnection) -> None:
        self._connection, self._until, self._closed = connection, math.inf, threading.Event()
        threading.Thread(target=self._watch, name="volition-sends", daemon=True).start()

    def send(self, data: bytes, seconds: float) -> None:
        self._until = time.monotonic() + seconds
        try:
            self._connection.send(data)
        finally:
            self._until = math.inf

    def close(self) -> None:
        self._closed.set()

    def _watch(self) -> None:
        while not self._closed.wait(GLANCE_SECONDS):
            if time.monotonic() > self._until:
                with contextlib.suppress(OSError):  # closed already
                    self._connection.socket.shutdown(socket.SHUT_RDWR)
                return


def _require_same_contract(url: str, before: Mapping[str, Any], now: Mapping[str, Any]) -> None:
    """ServerError of type foreign_contract for another one than before; a server that told none is not held to it."""
    changed = [
        f"{name} was {before[name]} and is {now.get(name)}"
        for name in _CONTRACT
        if before.get(name) is not None and before[name] != now.get(name)
    ]
    if changed:
        raise ServerError(
            "foreign_contract",
            f"{url} must serve the contract that this client began with, and serves another ({'; '.join(changed)}): "
            "make a new Client, and what was made of the old one's metadata (brokers, envelopes)",
        )


def _reason(error: Exception) -> ServerError | None:
    """Why a server closed the connection, where it says so by a type of error: it closed the session with it."""
    closed = getattr(error, "rcvd", None)
    kind, _, text = (closed.reason if closed is not None else "").partition(": ")
    return ServerError(kind, text) if kind in TYPES else None


def _refusal(error: Exception) -> Exception:
    """What a server said when it refused the connection for good, or the error as it is: worth another attempt."""
    response = getattr(error, "response", None)
    if response is None or not 400 <= response.status_code < 500:
        return error
    return from_text(bytes(response.body or b"").decode("utf-8", "replace") or f"HTTP {response.status_code}")
