"""The ZeroMQ protocol as GR00T's clients speak it: a client of the tests' own that packs as they do."""

from __future__ import annotations

import asyncio
import contextlib
import io
import json
import pickle
import subprocess
import sys
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import msgpack
import numpy as np
import pytest
import zmq

from tests.serving.robots import expected, look, served
from volition.serving.access import read_tokens
from volition.serving.config import ServeConfig
from volition.serving.server import Running, background
from volition.serving.service import Service
from volition.serving.sessions import SessionLimits
from volition.serving.zeromq import ZmqProtocol, decode, modalities
from volition_client import Client, ServerError


class Gr00tLike:
    """REQ socket, msgpack, arrays as .npy under `as_npy`, errors as {"error": text}."""

    def __init__(self, address: str, token: str = ""):
        self._context = zmq.Context()
        self._socket = self._context.socket(zmq.REQ)
        self._socket.setsockopt(zmq.RCVTIMEO, 20_000)
        self._socket.setsockopt(zmq.LINGER, 0)
        self._socket.connect(address)
        self._token = token

    def send(self, data: bytes) -> Any:
        self._socket.send(data)
        return msgpack.unpackb(self._socket.recv(), object_hook=load)

    def call(self, endpoint: str, data: Any = None) -> Any:
        request = {"endpoint": endpoint, **({} if data is None else {"data": data})}
        if self._token:
            request["api_token"] = self._token
        return self.send(msgpack.packb(request, default=save))

    def act(self, observation: Any) -> Any:
        return self.call("get_action", {"observation": observation, "options": None})

    def close(self) -> None:
        self._socket.close()
        self._context.term()


def save(array: np.ndarray) -> dict[str, Any]:
    out = io.BytesIO()
    np.save(out, array, allow_pickle=False)
    return {"__ndarray_class__": True, "as_npy": out.getvalue()}


def load(found: dict[str, Any]) -> Any:
    return np.load(io.BytesIO(found["as_npy"]), allow_pickle=False) if "__ndarray_class__" in found else found


def nested(message: dict[str, Any]) -> dict[str, Any]:
    video = {name: message[f"observation/{name}"][None, None] for name in ("static", "gripper")}
    state = {"state": message["observation/state"][None, None]}
    return {"video": video, "state": state, "language": {"task": [[message["prompt"]]]}}


@pytest.fixture
def arm(server: Running) -> Iterator[Gr00tLike]:
    assert server.addresses.zmq is not None
    client = Gr00tLike(server.addresses.zmq)
    yield client
    client.close()


def test_actions_and_a_memory_for_each_connection(server: Running, arm: Gr00tLike) -> None:
    assert arm.call("ping") == {"status": "ok", "message": "Server is running"}
    messages = [look(seed) for seed in range(4)]
    for i, (message, chunk) in enumerate(zip(messages, expected(messages))):
        actions, info = arm.act(nested(message))
        assert np.array_equal(actions["actions"][0], chunk)
        assert np.array_equal(actions["rx"][0, :, 0], chunk[:, 3])
        assert info["fresh"] is (i == 0)
        other = Gr00tLike(str(server.addresses.zmq))
        assert np.array_equal(other.act(nested(message))[0]["actions"][0], expected([message])[0])
        other.close()
    assert arm.call("reset", {"options": None}) == {}
    assert np.array_equal(arm.act(nested(messages[0]))[0]["actions"][0], expected(messages)[0])


def test_flat_names_and_a_state_in_parts_will_do(arm: Gr00tLike) -> None:
    message = look(5)
    flat = {f"video.{name}": message[f"observation/{name}"][None] for name in ("static", "gripper")}
    flat |= {f"state.{name}": message["observation/state"][None, i : i + 1] for i, name in enumerate("xyz")}
    actions, _ = arm.act({**flat, "annotation.human.task_description": [message["prompt"]]})
    assert np.array_equal(actions["actions"][0], expected([message])[0])


def test_the_modalities_are_told(arm: Gr00tLike) -> None:
    told = arm.call("get_modality_config")
    assert told["video"]["as_json"]["modality_keys"] == ["static", "gripper"]
    assert told["action"]["as_json"]["delta_indices"] == [0, 1, 2, 3]
    stateless = modalities({"cameras": {"static": {}}, "state": [], "action_horizon": 2})
    assert list(stateless) == ["video", "action", "language"]


GOOD = nested(look(1))
WRONG: dict[str, tuple[Any, str]] = {
    "another endpoint": ({"endpoint": "kill"}, "no endpoint 'kill'"),
    "a list": ([1], "must be a map"),
    "no video": ({"endpoint": "get_action", "data": {"observation": {"language": {"task": "go"}}}}, "lacks"),
    "two frames": (
        {"endpoint": "get_action", "data": {"observation": {**GOOD, "video": {"static": np.zeros((1, 2, 6, 8, 3))}}}},
        "time axes of 1"),
    "two sentences": (
        {"endpoint": "get_action", "data": {"observation": {**GOOD, "language": {"task": ["a", "b"]}}}},
        "one sentence"),
    "a part of the state": (
        {"endpoint": "get_action", "data": {"observation": {**GOOD, "state": {"x": np.zeros((1, 1, 1))}}}}, "x, y, z"),
    "names in bytes": ({"endpoint": "get_action", "data": {"observation": {b"video": 1}}}, "neither video"),
    "another modality": ({"endpoint": "get_action", "data": {"observation": {"audio": {"ear": 1}}}}, "neither video"),
}  # fmt: skip


@pytest.mark.parametrize("what", WRONG)
def test_what_is_wrong_is_answered_and_the_client_goes_on(what: str, arm: Gr00tLike) -> None:
    request, text = WRONG[what]
    assert text in arm.send(msgpack.packb(request, default=save))["error"]
    assert "error" not in arm.act(nested(look(1)))


def npy(array: np.ndarray, **changes: Any) -> bytes:
    out = io.BytesIO()
    np.save(out, array, **changes)
    return out.getvalue()


HOSTILE = {
    "no msgpack": b"\xc1",
    "torn": msgpack.packb({"endpoint": "get_action", "data": GOOD}, default=save)[:-9],
    "a pickle": msgpack.packb({"__ndarray_class__": True, "as_npy": pickle.dumps(print)}),
    "an array of objects": msgpack.packb(
        {"__ndarray_class__": True, "as_npy": npy(np.array([print], object), allow_pickle=True)}
    ),
    "a header that lies": msgpack.packb(
        {"__ndarray_class__": True, "as_npy": npy(np.zeros(3)).replace(b"(3,), ", b"(9,), ")}
    ),
    "a header that is no literal": msgpack.packb(
        {"__ndarray_class__": True, "as_npy": npy(np.zeros(3)).replace(b"{'descr", b"{(descr")}
    ),
    "no bytes": msgpack.packb({"__ndarray_class__": True, "as_npy": 5}),
    "an extension": msgpack.packb(msgpack.ExtType(1, b"x")),
    "deep": b"\x91" * 10_000 + b"\x90",
}


@pytest.mark.parametrize("what", HOSTILE)
def test_hostile_bytes_are_refused(what: str, arm: Gr00tLike) -> None:
    with pytest.raises(ServerError, match="bad_message"):
        decode(HOSTILE[what])
    assert "bad_message" in arm.send(HOSTILE[what])["error"]


def test_frames_that_are_no_request_hurt_nobody(server: Running, arm: Gr00tLike) -> None:
    context = zmq.Context()
    dealer = context.socket(zmq.DEALER)
    dealer.setsockopt(zmq.LINGER, 0)
    dealer.connect(str(server.addresses.zmq))
    dealer.send_multipart([b"x", b"y", b"z", b"w"])
    dealer.send(b"x")
    assert "error" not in arm.act(nested(look(1)))
    with Client(server.addresses.websocket) as client:
        client.infer(look(1))
    dealer.close()
    context.term()


@contextlib.contextmanager
def pipelining(address: str, **options: int) -> Iterator[zmq.Socket[bytes]]:
    """A peer that may send without waiting for answers, and reads none."""
    with zmq.Context() as context, context.socket(zmq.DEALER) as dealer:
        for name, value in {"LINGER": 0, **options}.items():
            dealer.setsockopt(getattr(zmq, name), value)
        dealer.connect(address)
        yield dealer


FLOOD = """
import sys, zmq
address, count, *frames = sys.argv[1:]
dealer = zmq.Context().socket(zmq.DEALER)
dealer.connect(address)
for number in range(int(count)):
    dealer.send_multipart([bytes.fromhex(frame) for frame in frames])
    if number == 500:
        print("under way", flush=True)
"""


@pytest.mark.parametrize(
    ("count", "frames"), [(3_000, ["", "c1" * 10_000]), (200_000, ["78" * 10_000])], ids=["requests", "no requests"]
)
def test_a_peer_that_floods_does_not_keep_others_waiting(count: int, frames: list[str], server: Running) -> None:
    """It has no token to show, reads no answer, and goes on for as long as the others ask."""
    command = [sys.executable, "-c", FLOOD, str(server.addresses.zmq), str(count), *frames]
    with (
        Client(server.addresses.websocket, patience=5.0) as robot,
        subprocess.Popen(command, stdout=subprocess.PIPE) as flooding,
    ):
        try:
            assert flooding.stdout is not None
            assert flooding.stdout.readline() == b"under way\n"
            messages = [look(seed) for seed in range(5)]
            for message, chunk in zip(messages, expected(messages)):
                assert np.array_equal(robot.infer(message)["actions"], chunk)
            assert robot.reconnects == 0
            assert flooding.poll() is None, "it ended too early, so nothing was tested"
        finally:
            flooding.kill()


@pytest.mark.parametrize("frames", [[b"peer", b"", b"\xc1"], [b"peer", b"x"]], ids=["requests", "no requests"])
def test_everybody_has_a_turn_between_two_messages_of_a_peer(
    frames: list[bytes], monkeypatch: pytest.MonkeyPatch
) -> None:
    """pyzmq hands out what has come already without giving way to anything else in the loop."""
    left, turns = 200, 0

    async def receive() -> list[bytes]:
        nonlocal left
        left -= 1
        if left == 0:
            await asyncio.Event().wait()
        return frames

    async def main() -> None:
        nonlocal turns
        protocol = ZmqProtocol(Service(served(), ServeConfig(port=0)), read_tokens(None), "127.0.0.1", 0)
        monkeypatch.setattr(protocol._socket, "recv_multipart", receive)
        running = asyncio.create_task(protocol.run())
        while left:
            await asyncio.sleep(0)
            turns += 1
        running.cancel()
        await protocol.close()

    asyncio.run(main())
    assert turns > 180


def test_what_is_under_way_and_what_waits_is_bounded(monkeypatch: pytest.MonkeyPatch) -> None:
    """A peer that sends more is not read, so that its messages wait on its own machine."""
    begun: list[bytes] = []
    over = asyncio.Event()

    async def hanging(protocol: ZmqProtocol, peer: bytes, data: bytes) -> None:
        begun.append(peer)
        await over.wait()

    monkeypatch.setattr(ZmqProtocol, "_serve", hanging)
    limits, sent = SessionLimits(sessions=3), 0
    with background(served(), ServeConfig(port=0, zmq_port=0, sessions=limits)) as running:
        with (
            pipelining(str(running.addresses.zmq), SNDHWM=1, SNDTIMEO=1000) as dealer,
            contextlib.suppress(zmq.Again),
        ):
            while sent < 200:
                dealer.send_multipart([b"", bytes(1 << 20)])
                sent += 1
        under_way = len(begun)
        running.loop.call_soon_threadsafe(over.set)
    assert under_way == limits.sessions + 1
    assert sent < 100, "of 1 MiB each: some of them lie in the network's buffers"


def test_a_token_is_asked_for(tmp_path: Path) -> None:
    tokens = tmp_path / "tokens"
    tokens.write_text("arm first-secret-0123456\n")
    with background(served(), ServeConfig(port=0, zmq_port=0, tokens=tokens)) as running:
        for token, fine in (("first-secret-0123456", True), ("wrong", False), ("", False)):
            client = Gr00tLike(str(running.addresses.zmq), token)
            answer = client.act(nested(look(1)))
            assert ("unauthorized" not in json.dumps(answer, default=str)) is fine
            client.close()
