"""Ten thousand broken frames: the server lives, and a robot beside them is answered to the bit as if it were alone."""

from __future__ import annotations

import signal
import threading
from collections.abc import Iterator
from pathlib import Path

import numpy as np
import pytest
from websockets.sync.client import connect

from tests.serving.process import Process
from tests.serving.robots import expected, look
from volition_client import Client, pack

FRAMES, AT_ONCE = 10_000, 100  # of a connection


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
def test_ten_thousand_broken_frames_change_nothing_for_others(tmp_path: Path) -> None:
    server = Process(tmp_path)
    messages = [look(seed) for seed in range(200)]
    answers: list[np.ndarray] = []

    def drive() -> None:
        with Client(server.url, patience=60, request_seconds=60) as robot:
            answers.extend(robot.infer(message)["actions"] for message in messages)

    beside = threading.Thread(target=drive)
    beside.start()
    frames, refused = list(mutated(0, FRAMES)), 0
    for first in range(0, FRAMES, AT_ONCE):
        with connect(server.url, compression=None, ping_interval=None) as raw:
            raw.recv()
            for frame in frames[first : first + AT_ONCE]:
                raw.send(frame)
                refused += isinstance(raw.recv(timeout=60), str)
    beside.join()
    assert refused > FRAMES / 2
    assert all(np.array_equal(a, b) for a, b in zip(answers, expected(messages), strict=True))
    with Client(server.url) as robot:
        assert np.array_equal(robot.infer(look(1))["actions"], expected([look(1)])[0])
    status, said = server.end(signal.SIGTERM)
    assert status == 0
    assert "Traceback" not in said, "a broken frame reached what it must not"
    assert said.count("bad_") == refused
