"""Errors that travel: what a server tells a client as a text frame, and how the client raises it.

{"error": {"type": "bad_observation", "message": "observation/static must be uint8[96, 96, 3], ..."}}
"""

from __future__ import annotations

import json
from typing import Any

# type -> what it means; `ServerError.type` is one of these.
TYPES: dict[str, str] = {
    "bad_message": "the message is not one of the protocol",
    "bad_observation": "an observation that does not fit the policy's contract",
    "foreign_contract": "the client was made for another contract than this policy's",
    "clock_jump": "the robot's clock went backwards or leapt",
    "unknown_session": "there is no such session (any more)",
    "unauthorized": "no token, or one that the server does not know",
    "forbidden": "the token may not do this",
    "too_large": "a message or picture above the limits",
    "too_many_requests": "more requests a second than a session may make",
    "too_many_sessions": "more sessions than the token or the server may have",
    "busy": "the session has a request under way, or the server has too many",
    "timeout": "the policy did not answer in time",
    "draining": "the server is about to stop; connect again in a moment",
    "not_found": "no such address",
    "conflict": "what was asked for does not fit what is served",
    "internal": "a defect of the server; its log has the traceback",
}


class ServerError(RuntimeError):
    """The server refused, and said why."""

    def __init__(self, kind: str, message: str) -> None:
        super().__init__(f"{kind}: {message}")
        self.type = kind
        self.message = message


class ConnectionLostError(ConnectionError):
    """No server answered within the time that the client was given."""


def to_document(kind: str, message: str) -> dict[str, Any]:
    assert kind in TYPES, f"unknown type of error {kind!r}"
    return {"error": {"type": kind, "message": message}}


def from_text(text: str) -> ServerError:
    """Of any server: one that sends something else than our document (a traceback) is quoted."""
    try:
        error = json.loads(text)["error"]
        return ServerError(str(error["type"]), str(error["message"]))
    except (ValueError, KeyError, TypeError):
        return ServerError("internal", text)
