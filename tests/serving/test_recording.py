"""Every request and its answer in files: replayed to the bit, whole whatever fails."""

from __future__ import annotations

import asyncio
import contextlib
import json
import logging
import resource
import threading
import time
import weakref
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from websockets.sync.client import connect

from tests.serving.process import wait_until
from tests.serving.robots import ROBOT, Recalling, Remembered, expected, look, served
from tests.serving.test_http import ask, body
from volition.serving import recording
from volition.serving.config import ServeConfig
from volition.serving.recording import Record, read_records, recorded_files
from volition.serving.replay import replay
from volition.serving.server import background
from volition_client import Client, ServerError, pack


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


def test_what_has_no_answer_is_recorded_with_why_and_when_and_left_out_of_a_replay(tmp_path: Path) -> None:
    began, actor = time.time(), Recalling()
    with (
        background(served(actor), ServeConfig(port=0, record=tmp_path, request_seconds=0.3)) as running,
        Client(running.addresses.websocket) as client,
    ):
        client.infer(look(1))
        for wrong in ({"prompt": "fail"}, {"reset": "yes"}, {"age": -1.0}):
            with pytest.raises(ServerError):
                client.infer({**look(2), **wrong})
        with pytest.raises(ServerError):
            client.infer({"prompt": "nothing to see"})
        actor.seconds = 1.0
        with pytest.raises(ServerError, match="timeout"):
            client.infer(look(2))
        with connect(running.addresses.websocket) as raw:
            raw.recv()
            raw.send(pack(look(3)))
            wait_until(lambda: running.server.service.policy.waiting > 0)
        wait_until(lambda: running.server.service.metrics.requests.value("abandoned") > 0)
        actor.seconds = 0.0
    records = list(read_records(tmp_path))
    outcomes = ["answered", "internal", "bad_message", "clock_jump", "timeout", "abandoned"]
    assert [record.outcome for record in records] == outcomes
    assert [bool(record.answer) for record in records] == [True] + [False] * 5
    times = [record.at for record in records if record.at is not None]
    assert len(times) == 6
    assert [began, *times] == sorted([began, *times])
    found = replay(served(), tmp_path, tolerance=0.0)
    assert (found.requests, found.unanswered, found.equal) == (1, 5, True)


def test_a_recording_without_times_and_outcomes_is_read_as_before(tmp_path: Path) -> None:
    answer = {"actions": expected([look(1)])[0]}
    data = pack({"session": "a", "fresh": True, "message": look(1), "answer": answer})
    (tmp_path / "requests-000000.log").write_bytes(len(data).to_bytes(4, "little") + data)
    assert replay(served(), tmp_path, tolerance=0.0).requests == 1


def test_a_replay_keeps_no_state_of_sessions_that_are_over(tmp_path: Path) -> None:
    alive: weakref.WeakSet[Counted] = weakref.WeakSet()

    class Counting(Recalling):
        def act(self, observations: Any, states: Any) -> Any:
            chunks, after = super().act(observations, states)
            kept = [Counted(state) for state in after]
            alive.update(kept)
            assert len(alive) <= 3
            return chunks, kept

    with background(served(), ServeConfig(port=0, record=tmp_path)) as running:
        url = f"{running.addresses.url}/v1/actions"
        with Client(running.addresses.websocket) as client:
            client.infer(look(0))
            for seed in range(1, 9):
                assert ask(url, body(look(seed)))[0] == 200
            client.infer(look(9))
    found = replay(served(Counting()), tmp_path, tolerance=0.0)
    assert (found.requests, found.sessions, found.equal) == (10, 9, True)


class Counted(Remembered):
    """A state that can be seen to live."""

    def __init__(self, state: Remembered):
        super().__init__(state.seen, state.steps)

    __hash__ = object.__hash__


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
        record = Record(session="a", fresh=True, message=look(1), answer={"actions": np.zeros((1, 2))})
        writing = asyncio.ensure_future(recorder.write(record))
        await asyncio.sleep(0.05)
        writing.cancel()
        go_on.set()
        with pytest.raises(asyncio.CancelledError):
            await writing
        recorder.close()

    asyncio.run(leave())
    assert len(list(read_records(tmp_path))) == 1
