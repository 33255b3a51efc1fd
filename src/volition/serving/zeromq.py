"""ZeroMQ, as the clients of Isaac GR00T speak it: one request, one answer, msgpack with arrays as .npy.

    {"endpoint": "get_action", "data": {"observation": {...}, "options": {...}}, "api_token": "..."} -> [actions, info]

Endpoints: ping, get_action, reset, get_modality_config. (`kill` is refused: a client may not stop a server that others
use.) Observations and actions are nested by modality, with batch and time axes of 1:

    video.CAMERA uint8[1, 1, H, W, 3]   state.state float32[1, 1, S]   language.task [["open the drawer"]]
    action.actions float32[1, H, A]

The state and the actions may be named apart as well: state.NAME [1, 1, 1]; actions come both ways. A client is known by
its connection, so each has its own memory here too; `reset` clears it. Of one that does not wait for its answers one
message is taken at a time, between those of everybody else.
"""

from __future__ import annotations

import asyncio
import io
import logging
import tokenize
from collections.abc import Mapping
from typing import Any

import msgpack
import numpy as np
from zmq import SocketOption, SocketType, ZMQError
from zmq.asyncio import Context

from volition.serving.access import Tokens
from volition.serving.observations import PREFIX, PROMPT, STATE
from volition.serving.refusals import quoted
from volition.serving.service import Service
from volition.serving.sessions import Session
from volition_client.errors import ServerError

logger = logging.getLogger(__name__)
NPY, ARRAY = "as_npy", "__ndarray_class__"
_HEADER_BYTES = 4096  # of an .npy file; longer ones are not opened
WAITING_MESSAGES = 4  # of one connection, unread; a client has one under way, and each may be as large as is allowed


class ZmqProtocol:
    def __init__(self, service: Service, tokens: Tokens, host: str, port: int):
        self._service, self._tokens = service, tokens
        self._sessions: dict[bytes, Session] = {}
        self._context = Context()
        self._socket = self._context.socket(SocketType.ROUTER)
        self._socket.setsockopt(SocketOption.MAXMSGSIZE, service.config.max_message_bytes)
        self._socket.setsockopt(SocketOption.RCVHWM, WAITING_MESSAGES)
        self._socket.setsockopt(SocketOption.LINGER, 1000)
        if ":" in host:
            self._socket.setsockopt(SocketOption.IPV6, 1)
        try:
            self._socket.bind(f"tcp://{f'[{host}]' if ':' in host else host}:{port or '*'}")
        except ZMQError as error:
            self._context.destroy(linger=0)
            raise ValueError(f"nobody can be served at {host}:{port} ({error}): name another --zmq-port") from error
        self.port = int(self._socket.getsockopt_string(SocketOption.LAST_ENDPOINT).rpartition(":")[2])
        self._running: set[asyncio.Task[None]] = set()

    async def run(self) -> None:
        """Until it is cancelled."""
        most = self._service.config.sessions.sessions  # each has one request under way; what is more is refused at once
        while True:
            self._begin(await self._socket.recv_multipart())
            await asyncio.sleep(0)  # a message that is there already is received without giving way to anybody
            while len(self._running) > most:
                await asyncio.wait(self._running, return_when=asyncio.FIRST_COMPLETED)

    def _begin(self, frames: list[bytes]) -> None:
        if len(frames) != 3 or frames[1]:
            text = f"a message of {len(frames)} frames is no request, and is left unanswered"
            self._service.refused(ServerError("bad_message", text), "zmq", frames[0].hex())
            return
        task = asyncio.create_task(self._serve(frames[0], frames[2]))
        self._running.add(task)
        task.add_done_callback(self._running.discard)

    async def close(self) -> None:
        await asyncio.gather(*self._running, return_exceptions=True)
        self._socket.close()
        self._context.term()

    async def _serve(self, peer: bytes, data: bytes) -> None:
        try:
            answer = await self._answer(peer, decode(data))
        except ServerError as error:
            answer = {"error": str(self._service.refused(error, "zmq", peer.hex()))}
        except Exception:  # a defect of ours: that client hears of it, the others go on
            logger.exception("zmq: a request failed")
            answer = {"error": "internal: the server failed; its log has the traceback"}
        await self._socket.send_multipart([peer, b"", encode(answer)])

    async def _answer(self, peer: bytes, request: Any) -> Any:
        if not isinstance(request, dict):
            raise ServerError("bad_message", f"a request must be a map, got {type(request).__name__}")
        client = self._tokens.client(str(request.get("api_token") or ""))
        endpoint, data = request.get("endpoint", "get_action"), request.get("data") or {}
        if endpoint == "ping":
            return {"status": "ok", "message": "Server is running"}
        if endpoint == "get_modality_config":
            return modalities(self._service.metadata)
        if endpoint not in ("get_action", "reset") or not isinstance(data, dict):
            known = "ping, get_action, reset, get_modality_config"
            raise ServerError("bad_message", f"there is no endpoint {quoted(endpoint)} here; there are {known}")
        session = self._session(peer, client.name)
        if endpoint == "reset":
            if session.busy:
                raise ServerError("busy", "a request of this robot is under way: reset when it is answered")
            session.memory, session.prompt = None, None
            return {}
        observation, metadata = data.get("observation", data), self._service.metadata
        return to_actions(await self._service.infer(session, lambda: to_message(observation, metadata)), metadata)

    def _session(self, peer: bytes, owner: str) -> Session:
        known = self._sessions.get(peer)
        if known is not None and known in list(self._service.sessions) and known.owner == owner:
            return known
        alive = {session.id for session in self._service.sessions}
        self._sessions = {key: one for key, one in self._sessions.items() if one.id in alive}
        self._sessions[peer] = self._service.sessions.open(owner, "zmq", peer.hex())
        return self._sessions[peer]


def modalities(metadata: Mapping[str, Any]) -> dict[str, Any]:
    """As GR00T's `ModalityConfig`, which refuses one without keys: a robot without a state has no such modality."""
    keys = {"video": list(metadata["cameras"]), "state": ["state"] if metadata["state"] else [], "action": ["actions"]}
    keys["language"] = ["task"]
    steps = list(range(int(metadata["action_horizon"])))
    found = {
        name: {"delta_indices": steps if name == "action" else [0], "modality_keys": listed}
        for name, listed in keys.items()
        if listed
    }
    return {name: {"__ModalityConfig_class__": True, "as_json": one} for name, one in found.items()}


def to_message(observation: Any, metadata: Mapping[str, Any]) -> dict[str, Any]:
    """Nested {"video": {...}} or flat {"video.static": ...} -> the message of the websocket protocol."""
    if not isinstance(observation, dict):
        raise ServerError("bad_observation", f"the observation must be a map, got {type(observation).__name__}")
    flat: dict[str, Any] = {}
    for name, value in observation.items():
        flat |= {f"{name}.{key}": x for key, x in value.items()} if isinstance(value, dict) else {str(name): value}
    message: dict[str, Any] = {}
    apart: dict[str, Any] = {}
    for name, value in flat.items():
        modality, _, key = name.partition(".")
        if modality == "video":
            message[PREFIX + key] = _unbatched(name, value, 3)
        elif modality == "state":
            array = _unbatched(name, value, 1)
            message, apart = ({**message, STATE: array}, apart) if key == "state" else (message, {**apart, key: array})
        elif modality in ("language", "annotation"):
            message[PROMPT] = _sentence(name, value)
        else:
            raise ServerError("bad_observation", f"{quoted(name)} is neither video, state nor language")
    if apart:
        message[STATE] = _joined(apart, metadata["state"])
    return message


def to_actions(answer: Mapping[str, Any], metadata: Mapping[str, Any]) -> list[Any]:
    chunk = np.asarray(answer["actions"], np.float32)[None]
    names = [dimension["name"] for dimension in metadata["action"]]
    actions = {"actions": chunk, **{name: chunk[..., i : i + 1] for i, name in enumerate(names)}}
    return [actions, {key: x for key, x in answer.items() if key != "actions"}]


def _unbatched(name: str, value: Any, dimensions: int) -> np.ndarray:
    if (
        not isinstance(value, np.ndarray)
        or value.ndim < dimensions
        or set(value.shape[: value.ndim - dimensions]) - {1}
    ):
        found = list(value.shape) if isinstance(value, np.ndarray) else type(value).__name__
        raise ServerError(
            "bad_observation", f"{quoted(name)} must be an array with batch and time axes of 1, got {found}"
        )
    return value.reshape(value.shape[value.ndim - dimensions :])


def _sentence(name: str, value: Any) -> Any:
    while isinstance(value, list) and len(value) == 1:
        value = value[0]
    if not isinstance(value, str):
        raise ServerError("bad_observation", f"{quoted(name)} must be one sentence, as in [['open the drawer']]")
    return value


def _joined(apart: Mapping[str, np.ndarray], names: list[str]) -> np.ndarray:
    unknown, missing = sorted(apart.keys() - set(names)), sorted(set(names) - apart.keys())
    if unknown or missing or any(array.shape != (1,) for array in apart.values()):
        raise ServerError("bad_observation", f"state must have one number for each of {', '.join(names)}")
    return np.concatenate([apart[name] for name in names])


def encode(message: Any) -> bytes:
    return msgpack.packb(message, default=_npy)


def _npy(value: Any) -> Any:
    if isinstance(value, np.generic):
        return value.item()
    assert isinstance(value, np.ndarray), f"an answer holds plain values and arrays, not {type(value).__name__}"
    out = io.BytesIO()
    np.save(out, value, allow_pickle=False)
    return {ARRAY: True, NPY: out.getvalue()}


def decode(data: bytes) -> Any:
    """ServerError of type bad_message for what is not msgpack with arrays of numbers. Nothing in it can run code."""
    left = [4096]

    def count(number: int) -> None:
        left[0] -= number + 1
        if left[0] < 0:
            raise ValueError("too many maps, lists and entries")

    def made(found: dict[Any, Any]) -> Any:
        count(len(found))
        return _load(found.get(NPY)) if ARRAY in found else found

    def listed(found: list[Any]) -> list[Any]:
        count(len(found))
        return found

    try:
        return msgpack.unpackb(
            data, raw=False, strict_map_key=True, object_hook=made, list_hook=listed, max_ext_len=0,
            max_array_len=4096, max_map_len=4096, max_str_len=16 << 10,
        )  # fmt: skip
    except (ValueError, TypeError, RecursionError, OverflowError, MemoryError, msgpack.UnpackException) as error:
        raise ServerError("bad_message", f"a request must be msgpack with arrays as .npy: {error}") from error


def _load(data: Any) -> np.ndarray:
    """An array of numbers; its size is compared with the bytes that came before anything is made."""
    if not isinstance(data, bytes):
        raise ValueError("an array must come as bytes of an .npy file")
    stream = io.BytesIO(data)
    version = np.lib.format.read_magic(stream)
    if version != (1, 0):
        raise ValueError(f"arrays must be .npy files of version 1.0, got {version}")
    try:
        shape, fortran, dtype = np.lib.format.read_array_header_1_0(stream, max_header_size=_HEADER_BYTES)
    except (SyntaxError, tokenize.TokenError) as error:  # numpy reads the header as a Python literal
        raise ValueError(f"an array's header cannot be read: {error}") from error
    if dtype.kind not in "biuf" or fortran or len(shape) > 8:
        raise ValueError(f"arrays must hold numbers in C order, got {dtype} of shape {shape}")
    count = 1
    for length in shape:
        count *= length
    if len(data) - stream.tell() != count * dtype.itemsize:
        raise ValueError(f"an array of shape {shape} must have {count * dtype.itemsize} bytes")
    return np.frombuffer(data, dtype, offset=stream.tell()).reshape(shape)
