"""Connections on which nobody asks anything are closed, so that they cannot keep others out.

uvicorn counts every open connection against its limit, and closes one that is idle after an answer; one that says
nothing from the start, or begins a request and never ends its head, it would keep for ever.
"""

from __future__ import annotations

import asyncio
from typing import Any

from uvicorn.protocols.http.auto import AutoHTTPProtocol

SILENT_SECONDS = 15.0  # a connection without a request under way is closed after one to two times as long

_Http: Any = AutoHTTPProtocol  # of either of uvicorn's parsers: the attributes used here are the same


class ImpatientHttp(_Http):
    """uvicorn's HTTP connection, which looks now and then whether a request has come."""

    _tick: asyncio.TimerHandle | None = None
    _seen: Any = False  # the last request, if none was under way at the last look

    def connection_made(self, transport: Any) -> None:
        super().connection_made(transport)
        self._look()

    def connection_lost(self, exc: Exception | None) -> None:
        if self._tick is not None:
            self._tick.cancel()
        super().connection_lost(exc)

    def _look(self) -> None:
        if self.transport.is_closing() or self not in self.connections:  # ended, or a websocket from here on
            return
        idle = self.cycle is None or self.cycle.response_complete
        if idle and self._seen is self.cycle:
            self.transport.close()
            return
        self._seen = self.cycle if idle else False
        self._tick = self.loop.call_later(SILENT_SECONDS, self._look)
