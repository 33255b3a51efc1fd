"""The folder of local copies: bounded, shared by processes, and never a part for the whole."""

from __future__ import annotations

import multiprocessing
import os
import time
from contextlib import suppress
from pathlib import Path

import numpy as np
import pytest

from volition.data import remote_cache
from volition.data.remote_cache import RemoteCache, TornError, Wanted


@pytest.fixture(autouse=True)
def short_grace(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(remote_cache, "GRACE", 0.3)
    monkeypatch.setattr(remote_cache, "PAUSE", 0.02)


def wanted(name: str, size: int = 100, **more: str) -> Wanted:
    return Wanted(url=f"http://x/{name}", size=size, version=more.pop("version", "1"), **more)


def writing(size: int = 100, byte: bytes = b"x"):
    return lambda path: path.write_bytes(byte * size)


def never(path: Path) -> None:
    raise AssertionError("it is there already")


def held(folder: Path) -> int:
    """Bytes of all copies, whole or not."""
    total = 0
    for path in folder.glob("??/*"):
        with suppress(FileNotFoundError):  # another process is at work
            total += path.stat().st_size if path.suffix != ".json" else 0
    return total


def test_a_file_comes_once(tmp_path: Path) -> None:
    cache = RemoteCache(tmp_path, 1000)
    place = cache.file(wanted("a"), writing())
    assert cache.file(wanted("a"), never) == place
    assert RemoteCache(tmp_path, 1000).file(wanted("a"), never).read_bytes() == b"x" * 100
    assert cache.file(wanted("a", version="2"), writing(byte=b"y")).read_bytes() == b"y" * 100


def test_what_was_used_longest_ago_goes(tmp_path: Path) -> None:
    cache = RemoteCache(tmp_path, 350)
    places = {name: cache.file(wanted(name), writing()) for name in "abc"}
    for age, name in enumerate("bca"):
        os.utime(places[name], (0, 1000 + age))
    new = cache.file(wanted("d"), writing())
    assert (places["a"].is_file(), places["b"].is_file(), new.is_file()) == (True, False, True)
    assert held(tmp_path) <= 350


def test_the_limit_holds_even_for_what_is_in_use(tmp_path: Path) -> None:
    """Nobody opens a name that was handed out long ago; until then a new file waits."""
    cache = RemoteCache(tmp_path, 250)
    first = cache.file(wanted("a"), writing())
    cache.file(wanted("b"), writing())
    began = time.time()
    cache.file(wanted("c"), writing())
    assert time.time() - began > 0.15
    assert not first.is_file()
    assert held(tmp_path) <= 250


def test_too_large_for_any_limit(tmp_path: Path) -> None:
    with pytest.raises(ValueError, match=r"http://x/a has 0\.000 GB, more than the cache"):
        RemoteCache(tmp_path, 99).file(wanted("a"), never)


def test_a_part_is_no_whole(tmp_path: Path) -> None:
    cache = RemoteCache(tmp_path, 1000)
    with pytest.raises(TornError, match="99 bytes came of 100"):
        cache.file(wanted("a"), writing(99))
    with pytest.raises(TornError, match="another MD5"):
        cache.file(wanted("a", md5="0" * 32), writing())
    assert held(tmp_path) == 0
    assert cache.file(wanted("a"), writing()).is_file()


@pytest.mark.parametrize("content", [b"y" * 100, b"x" * 50])
def test_a_changed_copy_is_noticed_by_the_next_process(
    tmp_path: Path, content: bytes, caplog: pytest.LogCaptureFixture
) -> None:
    place = RemoteCache(tmp_path, 1000).file(wanted("a"), writing())
    place.write_bytes(content)
    assert RemoteCache(tmp_path, 1000).file(wanted("a"), writing()).read_bytes() == b"x" * 100
    assert "has changed since it was brought" in caplog.text


def _killed(folder: Path) -> None:
    def bring(path: Path) -> None:
        path.write_bytes(b"half")
        os._exit(1)

    RemoteCache(folder, 1000).file(wanted("a"), bring)


def _bring_many(folder: Path, seed: int, log: Path) -> None:
    cache = RemoteCache(folder, 1000)
    for number in np.random.default_rng(seed).integers(0, 14, 25).tolist():
        size = 100 + number

        def bring(path: Path, number: int = number, size: int = size) -> None:
            with log.open("ab") as file:
                file.write(b".")
            with path.open("wb") as file:
                for _ in range(size):
                    file.write(bytes([number]))

        place = cache.file(wanted(str(number), size), bring)
        if place.read_bytes() != bytes([number]) * size or held(folder) > 1000:
            os._exit(3)


def test_a_process_that_was_killed_leaves_no_trace(tmp_path: Path) -> None:
    process = multiprocessing.get_context("fork").Process(target=_killed, args=(tmp_path,))
    process.start()
    process.join()
    assert len(list(tmp_path.glob("??/*.part"))) == 1
    cache = RemoteCache(tmp_path, 1000)
    assert cache.file(wanted("b", 950), writing(950)).is_file(), "its room is free again"
    assert not list(tmp_path.glob("??/*.part"))
    assert RemoteCache(tmp_path, 2000).file(wanted("a"), writing()).read_bytes() == b"x" * 100


def test_two_processes_share_it(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(remote_cache, "GRACE", 2.0)  # longer than a loaded machine takes to open a file
    context = multiprocessing.get_context("fork")
    log = tmp_path / "log"
    processes = [context.Process(target=_bring_many, args=(tmp_path / "c", seed, log)) for seed in (0, 1)]
    for process in processes:
        process.start()
    for process in processes:
        process.join()
    assert [process.exitcode for process in processes] == [0, 0]
    assert 14 <= len(log.read_bytes()) < 50
    assert held(tmp_path / "c") <= 1000
