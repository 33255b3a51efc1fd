"""openpi's protocol: websocket frames of msgpack, one session a connection.

    connect -> metadata; then  observation -> {"actions": [H, A], ...}  for as long as the connection lives

An error travels as a text frame, which openpi's client raises as it is; ours reads its type. `?session=ID` of a client
that lost its connection goes on with the session of that name, where it is still there; the connection that had it is
closed at once, as is that of a session that somebody closes.
"""

from __future__ import annotations

import asyncio
import json
import logging
from typing import Any

from starlette.responses import JSONResponse
from starlette.websockets import WebSocket, WebSocketDisconnect, WebSocketState

from volition.serving.access import Client, Tokens, require_known_host, require_same_origin
from volition.serving.service import Service
from volition.serving.sessions import Session
from volition_client.codec import DecodeError, DecodeLimits, pack, unpack
from volition_client.errors import ServerError, to_document

logger = logging.getLogger(__name__)
TOO_LARGE = 1009  # the code with which a connection is closed for a message above the limit
REFUSED = 1008  # and for these reasons, which our client reads as an error's type and text
CLOSED = "unknown_session: the session was closed"
OVERTAKEN = "another connection has this session"


class WebsocketProtocol:
    def __init__(self, service: Service, tokens: Tokens, *, only_loopback: bool):
        self._service, self._tokens, self._only_loopback = service, tokens, only_loopback
        self._limits = DecodeLimits(max_bytes=service.config.max_message_bytes)

    async def run(self, socket: WebSocket) -> None:
        try:
            client = self._admit(socket)
            session, resumed = self._session(socket, client)
            link = session.link
        except ServerError as error:
            error = self._service.refused(error, "websocket", _peer(socket))
            status = {"unauthorized": 401, "forbidden": 403, "draining": 503}.get(error.type, 429)
            await socket.send_denial_response(JSONResponse(to_document(error.type, error.message), status))
            return
        try:
            await socket.accept()
            await socket.send_bytes(pack({**self._service.metadata, "session": session.id, "resumed": resumed}))
            await self._talk(socket, session, link)
        except (WebSocketDisconnect, OSError, RuntimeError) as error:
            if not isinstance(error, WebSocketDisconnect) and socket.application_state is WebSocketState.CONNECTED:
                raise  # a RuntimeError of Starlette's means that the peer is gone; any other is a defect
        finally:
            self._service.sessions.leave(session, link)

    def _admit(self, socket: WebSocket) -> Client:
        headers = socket.headers
        require_known_host(headers.get("host", ""), only_loopback=self._only_loopback)
        require_same_origin(headers.get("origin", ""), headers.get("host", ""))
        client = self._tokens.client(headers.get("authorization", ""))
        if self._service.draining:
            raise ServerError("draining", "the server is about to stop; connect again in a moment")
        return client

    def _session(self, socket: WebSocket, client: Client) -> tuple[Session, bool]:
        sessions, peer = self._service.sessions, _peer(socket)
        found = sessions.resume(socket.query_params.get("session", ""), client.name, peer)
        return (found, True) if found else (sessions.open(client.name, "websocket", peer), False)

    async def _talk(self, socket: WebSocket, session: Session, link: asyncio.Event) -> None:
        """Until the client closes, the session is closed, or another connection has taken it over."""
        incoming, over = asyncio.ensure_future(socket.receive()), asyncio.ensure_future(link.wait())
        try:
            while True:
                await asyncio.wait({incoming, over}, return_when=asyncio.FIRST_COMPLETED)
                if incoming.done() and (message := incoming.result())["type"] == "websocket.disconnect":
                    break
                if over.done():
                    await socket.close(REFUSED, CLOSED if session.link is link else OVERTAKEN)
                    return
                incoming = asyncio.ensure_future(socket.receive())
                reply = asyncio.ensure_future(self._reply(session, message))
                if await _is_awaited(reply, incoming, over, session, link):
                    answer = reply.result()
                    await (socket.send_text(answer) if isinstance(answer, str) else socket.send_bytes(answer))
            if message.get("code") == TOO_LARGE:
                error = ServerError("too_large", f"a message may have {self._limits.max_bytes} bytes")
                self._service.refused(error, "websocket", _peer(socket))
        finally:
            incoming.cancel()
            over.cancel()

    async def _reply(self, session: Session, message: Any) -> bytes | str:
        """Bytes are an answer, text is an error."""
        try:
            return pack(await self._service.infer(session, lambda: self._read(message.get("bytes"))))
        except ServerError as error:
            return json.dumps(to_document(error.type, error.message))
        except Exception:  # a defect of ours: that client hears of it, the others go on
            logger.exception("websocket session %s: a request failed", session.id)
            return json.dumps(to_document("internal", "the server failed; its log has the traceback"))

    def _read(self, data: bytes | None) -> Any:
        if data is None:
            raise ServerError("bad_message", "requests are binary frames of msgpack, got text")
        try:
            return unpack(data, self._limits)
        except DecodeError as error:
            raise ServerError("bad_message", str(error)) from error


async def _is_awaited(
    reply: asyncio.Future[bytes | str],
    incoming: asyncio.Future[Any],
    over: asyncio.Future[Any],
    session: Session,
    link: asyncio.Event,
) -> bool:
    """Waits for the reply; where the client goes, or its session goes to another connection, it is dropped."""
    waiting: set[asyncio.Future[Any]] = {reply, incoming, over}
    while not reply.done():
        _, waiting = await asyncio.wait(waiting, return_when=asyncio.FIRST_COMPLETED)
        gone = incoming.done() and incoming.result()["type"] == "websocket.disconnect"
        if not reply.done() and (gone or session.link is not link):
            reply.cancel()
            await asyncio.gather(reply, return_exceptions=True)
            return False
    return True


def _peer(socket: WebSocket) -> str:
    return f"{socket.client.host}:{socket.client.port}" if socket.client else "unknown"
