"""Every request and its answer in files: replayed to the bit, whole whatever fails."""

from __future__ import annotations

import asyncio
import contextlib
import json
import logging
import resource
import threading
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import numpy as np
import pytest

from tests.serving.robots import ROBOT, Recalling, expected, look, served
from volition.serving import recording
from volition.serving.config import ServeConfig
from volition.serving.recording import read_records, recorded_files
from volition.serving.replay import replay
from volition.serving.server import background
from volition.serving.sessions import Session
from volition_client import Client, ServerError


def test_everything_is_recorded_and_replays_to_the_bit(tmp_path: Path) -> None:
    config = ServeConfig(port=0, record=tmp_path / "requests")
    with (
        background(served(), config) as running,
        Client(running.addresses.websocket) as one,
        Client(running.addresses.websocket) as two,
    ):
        for seed in range(6):
            one.infer(look(seed))
            two.infer(look(100 + seed, "close it" if seed > 3 else "open it"))
        with pytest.raises(ServerError):
            one.infer({"prompt": "nothing to see"})
    records = list(read_records(config.record or tmp_path))
    assert len(records) == 12
    assert [record.fresh for record in records].count(True) == 3
    found = replay(served(), tmp_path / "requests", tolerance=0.0)
    assert (found.requests, found.sessions, found.largest) == (12, 2, 0.0)
    assert found.equal
    other = replay(served(Recalling(gain=1.5)), tmp_path / "requests", tolerance=1e-5)
    assert other.different == 12


def test_a_torn_recording_costs_its_last_record_and_a_damaged_one_is_named(
    tmp_path: Path, caplog: pytest.LogCaptureFixture
) -> None:
    with (
        background(served(), ServeConfig(port=0, record=tmp_path)) as running,
        Client(running.addresses.websocket) as client,
    ):
        for seed in range(3):
            client.infer(look(seed))
    (path,) = recorded_files(tmp_path)
    whole = path.read_bytes()
    path.write_bytes(whole[:-5])
    with caplog.at_level(logging.WARNING):
        assert len(list(read_records(tmp_path))) == 2
    assert "ends within a record" in caplog.text
    path.write_bytes(whole[:4] + b"\xc1" + whole[5:])
    with pytest.raises(ValueError, match="is damaged after"):
        list(read_records(tmp_path))
    with pytest.raises(ValueError, match="has no requests"):
        list(read_records(tmp_path / "empty"))


def test_a_server_goes_on_after_what_a_folder_holds(tmp_path: Path) -> None:
    for _ in range(2):
        with (
            background(served(), ServeConfig(port=0, record=tmp_path)) as running,
            Client(running.addresses.websocket) as client,
        ):
            client.infer(look(1))
    assert len(recorded_files(tmp_path)) == 2
    assert len(list(read_records(tmp_path))) == 2


@contextlib.contextmanager
def files_of_at_most(size: int) -> Iterator[None]:
    """The system refuses what is longer, as a full disk does: after it has written a part."""
    before = resource.getrlimit(resource.RLIMIT_FSIZE)
    resource.setrlimit(resource.RLIMIT_FSIZE, (size, before[1]))
    try:
        yield
    finally:
        resource.setrlimit(resource.RLIMIT_FSIZE, before)


def test_a_full_disk_refuses_the_request_and_spoils_nothing(tmp_path: Path) -> None:
    """The policy's memory takes no step, no half record stays, and the same session goes on when there is room."""
    looks = [look(seed) for seed in range(3)]
    with (
        background(served(), ServeConfig(port=0, record=tmp_path)) as running,
        Client(running.addresses.websocket) as client,
    ):
        first = client.infer(looks[0])["actions"]
        (path,) = recorded_files(tmp_path)
        whole = path.stat().st_size
        with files_of_at_most(whole + 100), pytest.raises(ServerError, match="could not be recorded"):
            client.infer(looks[1])
        assert path.stat().st_size == whole
        rest = [client.infer(one)["actions"] for one in looks[1:]]
    assert all(np.array_equal(a, b) for a, b in zip([first, *rest], expected(looks), strict=True))
    assert len(list(read_records(tmp_path))) == 3
    assert replay(served(), tmp_path, tolerance=0.0).equal


def test_a_refused_request_moves_no_envelope(tmp_path: Path) -> None:
    """What was not sent is no motion: the acceleration that is allowed does not grow with every refusal."""
    limits = tmp_path / "limits.json"
    limits.write_text(json.dumps({"hold": [0.0] * ROBOT.action_space.dim, "acceleration": 0.05}))
    config = ServeConfig(port=0, record=tmp_path / "requests", safety=limits)
    with background(served(), config) as running, Client(running.addresses.websocket) as client:
        wanted = client.infer(look(1))["actions"]
        client.reset()
        for seed in (1, 2, 3):
            with files_of_at_most(100), pytest.raises(ServerError, match="could not be recorded"):
                client.infer(look(seed))
        assert np.array_equal(client.infer(look(1))["actions"], wanted)


def test_a_recording_that_cannot_go_on_in_another_file_refuses_until_it_can(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(recording, "FILE_BYTES", 10)  # every record has a file of its own
    create = recording._create

    def full(folder: Path) -> Any:
        raise OSError("no space left on device")

    looks = [look(seed) for seed in range(3)]
    with (
        background(served(), ServeConfig(port=0, record=tmp_path)) as running,
        Client(running.addresses.websocket) as client,
    ):
        client.infer(looks[0])
        monkeypatch.setattr(recording, "_create", full)
        for _ in range(2):
            with pytest.raises(ServerError, match="no space left on device"):
                client.infer(looks[1])
        monkeypatch.setattr(recording, "_create", create)
        for one in looks[1:]:
            client.infer(one)
    assert len(recorded_files(tmp_path)) == len(list(read_records(tmp_path))) == 3
    assert replay(served(), tmp_path, tolerance=0.0).equal


def test_what_was_answered_is_recorded_though_the_client_leaves(tmp_path: Path) -> None:
    async def leave() -> None:
        recorder, go_on = recording.Recorder(tmp_path), threading.Event()
        recorder._thread.submit(go_on.wait)  # others' records are before this one
        session = Session(id="a", owner="", protocol="websocket", peer="")
        writing = asyncio.ensure_future(recorder.write(session, look(1), {"actions": np.zeros((1, 2))}, fresh=True))
        await asyncio.sleep(0.05)
        writing.cancel()
        go_on.set()
        with pytest.raises(asyncio.CancelledError):
            await writing
        recorder.close()

    asyncio.run(leave())
    assert len(list(read_records(tmp_path))) == 1
