"""Ten thousand broken frames: the server lives, and a robot beside them is answered to the bit as if it were alone."""

from __future__ import annotations

import threading
from collections.abc import Iterator

import numpy as np
import pytest
import websockets.exceptions
from websockets.sync.client import connect

from tests.serving.robots import expected, look, served
from volition.serving.config import ServeConfig
from volition.serving.server import background
from volition.serving.sessions import SessionLimits
from volition_client import Client, pack

FRAMES, AT_ONCE = 10_000, 50


def mutated(seed: int, count: int) -> Iterator[bytes | str]:
    """Frames that were good once: bytes changed, cut out, repeated, swapped with noise, or the wrong kind."""
    rng = np.random.default_rng(seed)
    good = [pack(look(i, "go")) for i in range(4)] + [pack({"prompt": "go", "reset": True}), pack([look(1)])]
    for _ in range(count):
        frame = bytearray(good[rng.integers(len(good))])
        for _ in range(rng.integers(1, 4)):
            place, length = int(rng.integers(len(frame))), int(rng.integers(1, 40))
            match rng.integers(6):
                case 0:
                    frame[place] = int(rng.integers(256))
                case 1:
                    del frame[place : place + length]
                case 2:
                    frame[place:place] = frame[place : place + length]
                case 3:
                    frame[place : place + length] = rng.bytes(length)
                case 4:
                    del frame[place:]
                case _:
                    frame[place:place] = bytes([int(rng.choice([0xC1, 0xC7, 0xD9, 0xDD, 0xDF, 0x91, 0x81]))]) * length
            frame = frame or bytearray(b"\0")
        yield bytes(frame) if rng.integers(20) else frame.decode("latin-1")


@pytest.mark.slow
def test_ten_thousand_broken_frames_change_nothing_for_others() -> None:
    limits = SessionLimits(requests_per_second=1e6, burst=1_000_000)
    with background(served(), ServeConfig(port=0, sessions=limits)) as running:
        messages = [look(seed) for seed in range(200)]
        answers: list[np.ndarray] = []

        def drive() -> None:
            with Client(running.addresses.websocket) as robot:
                answers.extend(robot.infer(message)["actions"] for message in messages)

        beside = threading.Thread(target=drive)
        beside.start()
        sent = refused = 0
        frames = mutated(0, FRAMES)
        while sent < FRAMES:
            with connect(running.addresses.websocket) as raw:
                raw.recv()
                try:
                    for frame, _ in zip(frames, range(AT_ONCE)):
                        sent += 1
                        raw.send(frame)
                        refused += isinstance(raw.recv(timeout=20), str)
                except websockets.exceptions.ConnectionClosed:
                    continue
        beside.join()
        assert sent == FRAMES
        assert refused > FRAMES / 2
        assert all(np.array_equal(a, b) for a, b in zip(answers, expected(messages), strict=True))
        service = running.server.service
        assert service.metrics.requests.value("internal") == 0, "a broken frame reached what it must not"
        with Client(running.addresses.websocket) as robot:
            assert np.array_equal(robot.infer(look(1))["actions"], expected([look(1)])[0])
