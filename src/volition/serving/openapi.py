"""The OpenAPI document of the HTTP routes, with the sizes and names of the policy that is served."""

from __future__ import annotations

from typing import Any

from volition.serving.observations import LONGEST_PROMPT
from volition.serving.served import Served
from volition_client.errors import TYPES

_TEXT: dict[str, Any] = {"type": "string"}
_NUMBER: dict[str, Any] = {"type": "number"}
_ERRORS = {
    "400": "The request is malformed", "401": "No token, or an unknown one", "403": "The token may not do this",
    "404": "There is no such thing (any more)",
    "409": "It does not fit what is served, the session is busy, or there must be one",
    "413": "Too large", "422": "The observation does not fit the contract", "429": "Too many requests or sessions",
    "500": "A defect of the server", "503": "The server is about to stop", "504": "The policy was too slow",
}  # fmt: skip


def document(served: Served) -> dict[str, Any]:
    action, reload = _actions(served), _reload()
    return {
        "openapi": "3.1.0",
        "info": {
            "title": "Volition policy server",
            "version": "1",
            "description": f"Actions of {served.name or 'a policy'} at {served.robot.control_hz:g} Hz.",
        },
        "paths": {
            "/v1/actions": {"post": action},
            "/v1/sessions": {"post": _open()},
            "/v1/sessions/{session}": {"delete": _close()},
            "/v1/sessions/{session}/cameras/{camera}": {"get": _camera()},
            "/v1/reload": {"post": reload},
            "/v1/metadata": {"get": _plain("What the policy sees and does", {"type": "object"})},
            "/v1/status": {"get": _plain("Sessions, latencies and newest actions", {"type": "object"})},
            "/metrics": {"get": _text("For Prometheus", "text/plain")},
            "/healthz": {"get": _text("OK, or 503 while the server is about to stop", "text/plain", errors=("503",))},
            "/openapi.json": {"get": _plain("This document", {"type": "object"})},
        },
        "components": {
            "schemas": {"Error": _error()},
            "securitySchemes": {"token": {"type": "http", "scheme": "bearer"}},
        },
        "security": [{}, {"token": []}],
    }


def _actions(served: Served) -> dict[str, Any]:
    wrong = ("400", "401", "403", "404", "409", "413", "422", "429", "500", "503", "504")
    return _operation(
        "An observation -> the next actions", "200", "Actions in robot units", _answer(served), wrong,
        body=_request(served),
    )  # fmt: skip


def _request(served: Served) -> dict[str, Any]:
    robot = served.robot
    cameras = {
        camera.name: {
            **_TEXT,
            "contentEncoding": "base64",
            "description": f"PNG or JPEG of {camera.width}x{camera.height} pixels, RGB",
        }
        for camera in robot.cameras
    }
    state = {
        "type": "array", "items": _NUMBER, "minItems": len(robot.state), "maxItems": len(robot.state),
        "description": ", ".join(robot.state) or "this robot has no state",
    }  # fmt: skip
    return _object(
        {
            "session": {**_TEXT, "description": "From POST /v1/sessions. Without, the policy remembers nothing."},
            "prompt": {**_TEXT, "maxLength": LONGEST_PROMPT, "description": "A changed prompt clears the memory."},
            "images": _object(cameras, required=list(cameras)),
            "state": state,
            "reset": {"type": "boolean", "description": "Clears the memory before this observation"},
            "age": {**_NUMBER, "minimum": 0, "description": "Seconds since the observation was made"},
            "time": {**_NUMBER, "description": "The robot's own clock, seconds; a jump of it is refused"},
            "request": {**_NUMBER, "description": "A repeated number gets the same answer again"},
            "executed": {
                **_NUMBER,
                "minimum": 0,
                "description": "Of the last answer's actions: counted by the envelope",
            },
            "answered": {**_NUMBER, "description": "The newest request whose answer came, 0: none"},
            "settled": {
                "type": "array",
                "items": {"type": "array", "items": _NUMBER},
                "description": "Actions that will be executed anyway, where the policy accepts that (metadata)",
            },
            "weights": {"type": "array", "items": _NUMBER, "description": "Of each of these, 1: whatever is answered"},
            "convention": {**_TEXT, "description": "The client's; another one than the policy's is refused"},
        },
        required=["prompt", "images", *(["state"] if robot.state else [])],
    )


def _answer(served: Served) -> dict[str, Any]:
    dimensions = [f"{d.name} ({d.unit})" for d in served.robot.action_space.dimensions]
    row = {"type": "array", "items": _NUMBER, "minItems": len(dimensions), "maxItems": len(dimensions)}
    return {
        "type": "object",
        "properties": {
            "actions": {
                "type": "array", "items": row, "minItems": served.action_horizon, "maxItems": served.action_horizon,
                "description": f"One row a control step: {', '.join(dimensions)}",
            },
            "confidence": {"type": "array", "items": _NUMBER, "description": "Of every step, 0..1"},
            "fresh": {"type": "boolean", "description": "The policy began anew with this observation"},
            "interventions": {"type": "array", "items": _TEXT, "description": "Of the safety envelope"},
            "session": _TEXT,
            "policy": _TEXT,
        },
        "required": ["actions", "fresh"],
    }  # fmt: skip


def _open() -> dict[str, Any]:
    made = _object({"session": _TEXT}, required=["session"])
    return _operation(
        "Open a session: a robot's own memory", "201", "Its name", made, ("401", "403", "413", "429", "503")
    )


def _close() -> dict[str, Any]:
    return {
        "summary": "Close a session",
        "parameters": [_path_parameter("session")],
        "responses": {"204": {"description": "It is closed"}, **_errors("401", "403", "404")},
    }


def _camera() -> dict[str, Any]:
    return {
        "summary": "The newest picture of a session's camera",
        "parameters": [_path_parameter("session"), _path_parameter("camera")],
        "responses": {
            "200": {"description": "PNG", "content": {"image/png": {"schema": {}}}},
            **_errors("401", "403", "404"),
        },
    }


def _reload() -> dict[str, Any]:
    named = _object({"policy": _TEXT}, required=["policy"])
    return _operation(
        "Read the checkpoint anew (admins)", "200", "What is served now", named, ("401", "403", "409", "413")
    )


def _operation(
    summary: str,
    status: str,
    text: str,
    schema: dict[str, Any],
    errors: tuple[str, ...],
    *,
    body: dict[str, Any] | None = None,
) -> dict[str, Any]:
    found: dict[str, Any] = {
        "summary": summary,
        "responses": {
            status: {"description": text, "content": {"application/json": {"schema": schema}}},
            **_errors(*errors),
        },
    }
    if body is not None:
        found["requestBody"] = {"required": True, "content": {"application/json": {"schema": body}}}
    return found


def _plain(summary: str, schema: dict[str, Any]) -> dict[str, Any]:
    return _operation(summary, "200", "Plain values", schema, ("401", "403"))


def _text(summary: str, kind: str, errors: tuple[str, ...] = ()) -> dict[str, Any]:
    content = {kind: {"schema": _TEXT}}
    refused = {status: {"description": _ERRORS[status], "content": content} for status in errors}
    guarded = _errors("401", "403") if not errors else {}
    return {"summary": summary, "responses": {"200": {"description": "Text", "content": content}, **refused, **guarded}}


def _errors(*status: str) -> dict[str, Any]:
    content = {"application/json": {"schema": {"$ref": "#/components/schemas/Error"}}}
    return {one: {"description": _ERRORS[one], "content": content} for one in status}


def _error() -> dict[str, Any]:
    kinds = {**_TEXT, "enum": list(TYPES), "description": "; ".join(f"{name}: {text}" for name, text in TYPES.items())}
    inner = _object({"type": kinds, "message": _TEXT}, required=["type", "message"])
    return _object({"error": inner}, required=["error"])


def _object(properties: dict[str, Any], required: list[str]) -> dict[str, Any]:
    return {"type": "object", "properties": properties, "required": required, "additionalProperties": False}


def _path_parameter(name: str) -> dict[str, Any]:
    return {"name": name, "in": "path", "required": True, "schema": _TEXT}
