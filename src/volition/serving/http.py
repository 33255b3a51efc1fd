"""HTTP: actions for clients without websockets, and all that a person or a monitor asks of a server.

POST /v1/sessions            a session           POST /v1/actions     observation -> actions
DELETE /v1/sessions/ID       closes it           POST /v1/reload      the policy anew (admins)
GET /healthz /metrics /v1/metadata /v1/status /openapi.json /docs, and / : the page that shows all of it live
"""

from __future__ import annotations

import asyncio
import io
import logging
from collections.abc import Awaitable, Callable, Coroutine
from typing import Any

import numpy as np
from PIL import Image
from starlette.applications import Starlette
from starlette.exceptions import HTTPException
from starlette.requests import ClientDisconnect, Request
from starlette.responses import HTMLResponse, JSONResponse, PlainTextResponse, Response
from starlette.routing import Route, WebSocketRoute

from volition.serving import page
from volition.serving.access import Client, Tokens, is_loopback, require_known_host, require_same_origin
from volition.serving.http_body import MSGPACK, read_body, read_message
from volition.serving.metrics import CONTENT_TYPE
from volition.serving.openapi import document
from volition.serving.refusals import quoted
from volition.serving.service import Service
from volition.serving.sessions import Session
from volition.serving.websocket import WebsocketProtocol
from volition_client.codec import pack
from volition_client.errors import ServerError, to_document

logger = logging.getLogger(__name__)
STATUS = {
    **{"bad_message": 400, "unauthorized": 401, "forbidden": 403, "unknown_session": 404, "not_found": 404},
    **{"foreign_contract": 409, "busy": 409, "conflict": 409, "too_large": 413, "bad_observation": 422},
    **{"clock_jump": 422, "too_many_requests": 429, "too_many_sessions": 429},
    **{"internal": 500, "draining": 503, "timeout": 504},
}
SHORT_BODY = 4096  # bytes, where a request has next to nothing to say
Handler = Callable[[Request, Client], Awaitable[Response]]


class Http:
    def __init__(self, service: Service, tokens: Tokens):
        self._service, self._tokens = service, tokens
        self._only_loopback = is_loopback(service.config.host)

    def app(self) -> Starlette:
        guarded = self._guarded
        websockets = WebsocketProtocol(self._service, self._tokens, only_loopback=self._only_loopback)
        routes = [
            WebSocketRoute("/", websockets.run),
            Route("/", self._page),
            Route("/docs", self._docs),
            Route("/healthz", self._health),
            Route("/openapi.json", guarded(self._openapi)),
            Route("/metrics", guarded(self._metrics)),
            Route("/v1/metadata", guarded(self._metadata)),
            Route("/v1/status", guarded(self._status)),
            Route("/v1/sessions", guarded(self._open), methods=["POST"]),
            Route("/v1/sessions/{session}", guarded(self._close), methods=["DELETE"]),
            Route("/v1/sessions/{session}/cameras/{camera}", guarded(self._camera)),
            Route("/v1/actions", guarded(self._actions), methods=["POST"]),
            Route("/v1/reload", guarded(self._reload), methods=["POST"]),
        ]
        handlers: dict[Any, Any] = {ServerError: self._say, HTTPException: self._say_http, Exception: _say_defect}
        handlers[ClientDisconnect] = _say_nothing
        return Starlette(routes=routes, exception_handlers=handlers)

    def _guarded(self, handler: Handler) -> Callable[[Request], Awaitable[Response]]:
        async def run(request: Request) -> Response:
            host = request.headers.get("host", "")
            require_known_host(host, only_loopback=self._only_loopback)
            require_same_origin(request.headers.get("origin", ""), host)
            return await handler(request, self._tokens.client(request.headers.get("authorization", "")))

        return run

    async def _page(self, request: Request) -> Response:
        return _html(page.LIVE)

    async def _docs(self, request: Request) -> Response:
        return _html(page.DOCS)

    async def _health(self, request: Request) -> Response:
        """openpi's load balancers want 200 and OK."""
        return PlainTextResponse("draining\n", 503) if self._service.draining else PlainTextResponse("OK\n")

    async def _openapi(self, request: Request, client: Client) -> Response:
        return JSONResponse(document(self._service.served))

    async def _metrics(self, request: Request, client: Client) -> Response:
        text = self._service.metrics.text(self._service.gauges())
        return Response(text, headers={"content-type": CONTENT_TYPE})

    async def _metadata(self, request: Request, client: Client) -> Response:
        return JSONResponse(self._service.metadata)

    async def _status(self, request: Request, client: Client) -> Response:
        seen = [s for s in self._service.sessions if client.admin or s.owner == client.name]
        return JSONResponse(
            {
                "policy": self._service.served.name,
                "draining": self._service.draining,
                "sessions": [_session_status(session) for session in seen],
            }
        )

    async def _open(self, request: Request, client: Client) -> Response:
        await read_body(request, most=SHORT_BODY, seconds=self._service.config.request_seconds)
        if self._service.draining:
            raise ServerError("draining", "the server is about to stop; connect again in a moment")
        session = self._service.sessions.open(client.name, "http", _peer(request))
        return JSONResponse({"session": session.id}, 201)

    async def _close(self, request: Request, client: Client) -> Response:
        self._service.sessions.close(self._session(request.path_params["session"], client))
        return Response(status_code=204)

    async def _actions(self, request: Request, client: Client) -> Response:
        """Without a session the policy begins anew, and forgets again."""
        config = self._service.config
        message = await read_message(
            request, self._service.served.robot, most=config.max_message_bytes, seconds=config.request_seconds
        )
        name = message.pop("session", None)
        if name is not None and not isinstance(name, str):
            raise ServerError("bad_message", f"session must be text, got {type(name).__name__}")
        sessions, peer = self._service.sessions, _peer(request)
        if name is None:
            self._service.guard.require_session()
        session = sessions.open_once(client.name, "http", peer) if name is None else self._session(name, client)
        try:
            answer = await _while_connected(request, self._service.infer(session, lambda: message))
        finally:
            if name is None:
                sessions.close(session)
        if name is not None:
            answer = {**answer, "session": name}
        if MSGPACK in request.headers.get("accept", ""):
            return Response(pack(answer), media_type=MSGPACK)
        return JSONResponse({key: x.tolist() if isinstance(x, np.ndarray) else x for key, x in answer.items()})

    async def _camera(self, request: Request, client: Client) -> Response:
        session, name = self._session(request.path_params["session"], client), request.path_params["camera"]
        if name not in session.images:
            raise ServerError("not_found", f"the session has no picture of a camera {quoted(name)}")
        return Response(await asyncio.to_thread(_png, session.images[name]), media_type="image/png")

    async def _reload(self, request: Request, client: Client) -> Response:
        await read_body(request, most=SHORT_BODY, seconds=self._service.config.request_seconds)
        if not client.admin:
            raise ServerError("forbidden", f"the token {client.name!r} may not reload the policy")
        return JSONResponse({"policy": await self._service.reload()})

    def _session(self, name: str, client: Client) -> Session:
        """An admin may look at everybody's."""
        found = [s for s in self._service.sessions if s.id == name and client.admin]
        return found[0] if found else self._service.sessions.get(name, client.name)

    async def _say(self, request: Request, error: Exception) -> Response:
        assert isinstance(error, ServerError)
        refused = self._service.refused(error, "http", _peer(request))
        headers = {"www-authenticate": "Bearer"} if refused.type == "unauthorized" else {}
        return JSONResponse(to_document(refused.type, refused.message), STATUS[refused.type], headers)

    async def _say_http(self, request: Request, error: Exception) -> Response:
        """Starlette's own: no such address, or not with this method."""
        assert isinstance(error, HTTPException)
        kind = "not_found" if error.status_code == 404 else "bad_message"
        refused = self._service.refused(ServerError(kind, error.detail), "http", _peer(request))
        status = error.status_code if refused.type == kind else STATUS[refused.type]
        return JSONResponse(to_document(refused.type, refused.message), status, error.headers)


async def _while_connected(request: Request, work: Coroutine[Any, Any, dict[str, Any]]) -> dict[str, Any]:
    """Its result; where the client leaves before, the work is cancelled and ClientDisconnect raised."""

    async def leaves() -> None:
        while (await request.receive())["type"] != "http.disconnect":
            pass

    working, left = asyncio.ensure_future(work), asyncio.ensure_future(leaves())
    try:
        await asyncio.wait({working, left}, return_when=asyncio.FIRST_COMPLETED)
        if not working.done():
            working.cancel()
            await asyncio.gather(working, return_exceptions=True)
            raise ClientDisconnect
        return await working
    finally:
        working.cancel()
        left.cancel()


def _session_status(session: Session) -> dict[str, Any]:
    milliseconds = [1e3 * seconds for seconds in session.latencies]
    return {
        "session": session.id,
        "owner": session.owner,
        "protocol": session.protocol,
        "peer": session.peer,
        "connected": session.connected,
        "prompt": session.prompt,
        "requests": session.requests,
        "refusals": session.refusals,
        "interventions": session.interventions,
        "latency_ms": [round(x, 3) for x in milliseconds],
        "cameras": list(session.images),
        "actions": None if session.actions is None else session.actions.tolist(),
    }


def _png(image: np.ndarray) -> bytes:
    out = io.BytesIO()
    Image.fromarray(image).save(out, "PNG", compress_level=1)
    return out.getvalue()


def _html(text: str) -> Response:
    """Nothing from elsewhere is loaded, and nobody frames the page."""
    policy = (
        "default-src 'none'; style-src 'unsafe-inline'; script-src 'unsafe-inline'; connect-src 'self'; img-src blob:"
    )
    return HTMLResponse(
        text, headers={"content-security-policy": f"{policy}; frame-ancestors 'none'", "referrer-policy": "no-referrer"}
    )


def _peer(request: Request) -> str:
    return f"{request.client.host}:{request.client.port}" if request.client else "unknown"


async def _say_nothing(request: Request, error: Exception) -> Response:
    """Nobody is there to hear it."""
    return Response(status_code=499)


async def _say_defect(request: Request, error: Exception) -> Response:
    return JSONResponse(to_document("internal", "the server failed; its log has the traceback"), 500)
