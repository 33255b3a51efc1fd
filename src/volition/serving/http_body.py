"""Bodies of HTTP requests: read within limits, and turned into messages as the other protocols have them.

JSON:  {"session": "...", "prompt": "open the drawer", "state": [0.1, ...], "images": {"static": "<base64 of a PNG>"}}
msgpack (Content-Type: application/msgpack): the message of the websocket protocol
"""

from __future__ import annotations

import asyncio
import base64
import binascii
import io
import json
from typing import Any

import numpy as np
from PIL import Image
from starlette.requests import Request

from volition.contract import RobotSpec
from volition.serving.observations import CONTROL, PREFIX, PROMPT, STATE
from volition.serving.refusals import listed, quoted
from volition_client.codec import DecodeError, DecodeLimits, unpack
from volition_client.errors import ServerError

MSGPACK = "application/msgpack"


async def read_body(request: Request, *, most: int, seconds: float) -> bytes:
    """ServerError of type too_large or timeout."""
    parts, size = [], 0
    try:
        async with asyncio.timeout(seconds):
            async for part in request.stream():
                size += len(part)
                if size > most:
                    raise ServerError("too_large", f"a body may have {most} bytes")
                parts.append(part)
    except TimeoutError as error:
        raise ServerError("timeout", f"a body must arrive within {seconds:g} s") from error
    return b"".join(parts)


async def read_message(request: Request, robot: RobotSpec, *, most: int, seconds: float) -> dict[str, Any]:
    """The message of a request for actions. JSON and pictures are read in another thread: others do not wait."""
    data = await read_body(request, most=most, seconds=seconds)
    kind = request.headers.get("content-type", "").partition(";")[0].strip().lower()
    if kind == MSGPACK:
        try:
            message = unpack(data, DecodeLimits(max_bytes=most))
        except DecodeError as error:
            raise ServerError("bad_message", str(error)) from error
        if not isinstance(message, dict):
            raise ServerError("bad_message", f"the body must be a map, got {type(message).__name__}")
        return message
    if kind != "application/json":
        raise ServerError("bad_message", f"Content-Type must be application/json or {MSGPACK}, got {quoted(kind)}")
    return await asyncio.to_thread(lambda: from_document(read_json(data), robot))


def read_json(data: bytes) -> dict[str, Any]:
    """What has more parts than msgpack may have is not read: Python's reader lets nobody else run meanwhile."""
    if sum(map(data.count, (b",", b"[", b"{"))) > DecodeLimits().max_items:
        raise ServerError("bad_message", "a body must not have so many lists, objects and entries")
    try:
        document = json.loads(data)
    except (ValueError, RecursionError) as error:
        raise ServerError("bad_message", f"the body must be JSON: {error}") from error
    if not isinstance(document, dict):
        raise ServerError("bad_message", f"the body must be a JSON object, got {type(document).__name__}")
    return document


def from_document(document: dict[str, Any], robot: RobotSpec) -> dict[str, Any]:
    message: dict[str, Any] = {name: document[name] for name in (PROMPT, *CONTROL) if document.get(name) is not None}
    unknown = sorted(document.keys() - {PROMPT, *CONTROL, "images", "state"})
    if unknown:
        raise ServerError("bad_observation", f"there is no field {listed(unknown)}; see /openapi.json")
    if document.get("state") is not None:
        state = document["state"]
        fits = isinstance(state, list) and len(state) <= len(robot.state)
        numbers = fits and all(type(x) in (int, float) and abs(x) < 1e38 for x in state)
        if not numbers:
            raise ServerError("bad_observation", f"state must be a list of {len(robot.state)} finite numbers")
        message[STATE] = np.array(state, np.float64)
    images = document.get("images")
    if not isinstance(images, dict):
        raise ServerError("bad_observation", "images must be an object: camera -> base64 of a PNG or JPEG")
    sizes = robot.image_sizes
    for name, text in images.items():
        if name not in sizes:
            raise ServerError("bad_observation", f"there is no camera {quoted(name)}; there are {', '.join(sizes)}")
        message[PREFIX + name] = open_picture(name, text, *sizes[name])
    return message


def open_picture(name: str, text: Any, height: int, width: int) -> np.ndarray:
    """uint8[height, width, 3] from base64; the size is looked at before anything is unpacked."""
    wanted = f"the picture of {name!r} must be base64 of a PNG or JPEG of {width}x{height} pixels in RGB"
    if not isinstance(text, str):
        raise ServerError("bad_observation", f"{wanted}, got {type(text).__name__}")
    try:
        with Image.open(io.BytesIO(base64.b64decode(text, validate=True)), formats=("PNG", "JPEG")) as picture:
            if picture.size != (width, height) or picture.mode != "RGB":
                found = f"{picture.size[0]}x{picture.size[1]} in {picture.mode}"
                raise ServerError("bad_observation", f"{wanted}, got {found}")
            return np.asarray(picture)
    except (binascii.Error, ValueError, OSError, SyntaxError, Image.DecompressionBombError) as error:
        raise ServerError("bad_observation", f"{wanted}: {error}") from error
