"""Datasets behind URLs: what is brought, what is kept, and what a server may do wrong."""

from __future__ import annotations

import errno
import logging
import os
import pickle
import shutil
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import fsspec
import numpy as np
import pytest

from tests.data.conftest import write_toy
from tests.data.formats import MAKERS, robomimic
from tests.data.servers import Server, s3, web
from volition.data import remote_server
from volition.data.fingerprint import fingerprint
from volition.data.info import info
from volition.data.lerobot_stage import LeRobotConfig
from volition.data.open import load_cached, load_episodes, load_spec
from volition.data.remote import RemotePath, located
from volition.data.remote_server import RemoteError

VIDEO = LeRobotConfig(images="video")


@pytest.fixture(autouse=True)
def own_cache(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    monkeypatch.setenv("XDG_CACHE_HOME", str(tmp_path / "home"))
    monkeypatch.setattr(remote_server, "PAUSE", 0.01)
    for name in ("ACCESS_KEY_ID", "SECRET_ACCESS_KEY"):
        monkeypatch.setenv(f"AWS_{name}", "test")
    monkeypatch.setenv("AWS_DEFAULT_REGION", "us-east-1")
    return tmp_path / "home/volition/remote"


@pytest.fixture
def server(tmp_path: Path) -> Iterator[Server]:
    (tmp_path / "served").mkdir()
    with web(tmp_path / "served") as found:
        yield found


def toy(server: Server, lengths: tuple[int, ...] = (3, 2, 4), name: str = "d") -> Path:
    """A LeRobot dataset with a shard for each episode, as its URL."""
    write_toy(server.folder / name, lengths, VIDEO, seal_after=range(len(lengths)))
    return located(f"{server.url}/{name}")


def assert_same(left: Any, right: Any) -> None:
    for x, y in zip(left, right, strict=True):
        steps = np.arange(len(x))
        assert (x.task, x.instructions, len(x)) == (y.task, y.instructions, len(y))
        assert np.array_equal(x.actions(steps), y.actions(steps))
        assert np.array_equal(x.states(steps), y.states(steps))
        for camera, frames in x.images(steps).items():
            assert np.array_equal(frames, y.images(steps)[camera])


@pytest.mark.parametrize("name", MAKERS)
def test_every_format_is_read_from_a_web_server(name: str, server: Server, tmp_path: Path) -> None:
    local = MAKERS[name](server.folder)
    path = located(f"{server.url}/{local.relative_to(server.folder).as_posix()}")
    assert_same(load_episodes(path), load_episodes(local))
    assert load_spec(path) == load_spec(local)
    assert_same(load_cached(path), load_episodes(local))
    assert info(path) == info(local) | {"path": str(path), "bytes": info(path)["bytes"]}
    assert not list(server.folder.rglob("*.u8")), "the cache lies with the reader"


@pytest.mark.parametrize("name", ["lerobot", "calvin", "hdf5/aloha", "rlds"])
def test_every_format_is_read_from_s3(name: str, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    (tmp_path / "bucket").mkdir()
    local = MAKERS[name](tmp_path / "bucket")
    with s3(tmp_path / "bucket") as server:
        monkeypatch.setenv("AWS_ENDPOINT_URL", server.url)
        fsspec.filesystem("s3").clear_instance_cache()
        path = located(f"s3://bucket/{local.relative_to(tmp_path / 'bucket').as_posix()}")
        assert_same(load_cached(path), load_episodes(local))
        assert info(path)["bytes"] == sum(x.stat().st_size for x in local.rglob("*") if x.is_file())
        fsspec.filesystem("s3").clear_instance_cache()


def test_from_memory(tmp_path: Path) -> None:
    write_toy(tmp_path / "d", (3, 2), VIDEO)
    fsspec.filesystem("memory").put(str(tmp_path / "d"), "/kept/d", recursive=True)
    try:
        assert_same(load_episodes(located("memory://kept/d")), load_episodes(tmp_path / "d"))
    finally:
        fsspec.filesystem("memory").rm("/kept", recursive=True)


def test_opening_brings_no_episode(server: Server) -> None:
    episodes = load_episodes(toy(server))
    assert len(episodes) == 3
    assert {Path(name).suffix for name in server.brought()} <= {".json", ".parquet"}
    assert not [line for line in server.faults.requests if line.startswith("GET") and "/data/" in line]
    episodes[1].images(np.array([0]))
    films = [line for line in server.faults.requests if line.startswith("GET") and line.endswith(".mp4")]
    assert [line.rpartition("/")[2] for line in films] == ["file-001.mp4"]


def test_what_has_come_stays(server: Server) -> None:
    path = toy(server)
    load_cached(path, folder=Path(os.environ["XDG_CACHE_HOME"]) / "one")
    before = len(server.brought())
    again = located(str(path))
    load_cached(again, folder=Path(os.environ["XDG_CACHE_HOME"]) / "two")
    assert len(server.brought()) == before


def test_a_changed_file_comes_anew(server: Server) -> None:
    path = toy(server)
    key = fingerprint(path)
    shutil.rmtree(server.folder / "d")
    other = toy(server, (5, 6))
    assert [len(episode) for episode in load_episodes(other)] == [5, 6]
    assert fingerprint(other) != key


def test_paths_are_paths(server: Server) -> None:
    (server.folder / "a b/ü").mkdir(parents=True)
    (server.folder / "a b/ü/100%.txt").write_text("text")
    root = located(f"{server.url}/a%20b/")
    file = root / "ü" / "100%.txt"
    assert str(file) == f"{server.url}/a b/ü/100%.txt"
    assert (file.read_text(), file.stat().st_size) == ("text", 4)
    assert (root.is_dir(), file.is_dir(), file.is_file(), (root / "none").exists()) == (True, False, True, False)
    assert [str(x) for x in root.iterdir()] == [str(root / "ü")]
    assert [x.name for x in root.glob("*/*.txt")] == [x.name for x in root.rglob("*.txt")] == ["100%.txt"]
    assert file.parent.parent == root
    assert (file.name, file.suffix, file.relative_to(root).as_posix()) == ("100%.txt", ".txt", "ü/100%.txt")
    assert file.with_name("other").with_suffix(".x") == root / "ü/other.x"
    assert root.joinpath("ü", "100%.txt") == file
    copy = pickle.loads(pickle.dumps(file))
    assert isinstance(copy, RemotePath)
    assert copy.read_bytes() == b"text"
    with pytest.raises(ValueError, match="can only be read"):
        file.open("w")
    with pytest.raises(FileNotFoundError, match="none must exist, but the server has no such file"):
        (root / "none").read_bytes()


@pytest.mark.parametrize("text", ["d", "./a:b/c", "runs/x", "a:/b"])
def test_paths_of_this_machine_stay(text: str) -> None:
    assert located(text) == Path(text)
    assert not isinstance(located(text), RemotePath)


def test_what_no_filesystem_is_for_is_told() -> None:
    with pytest.raises(ValueError, match=r"nowhere:// must be a filesystem of fsspec.*there are .*s3"):
        located("nowhere://d")
    with pytest.raises(ValueError, match=r"without \? and #"):
        located("http://d/x?token=1")
    assert located("file:///d/x") == Path("/d/x")
    assert str(located(Path("http://d/x"))) == "http://d/x"  # as the command line gives it: a Path drops a slash


@pytest.mark.parametrize("fault", ["torn", "short"])
def test_a_torn_file_is_asked_for_again_and_never_taken_for_whole(server: Server, fault: str, own_cache: Path) -> None:
    path = toy(server)
    getattr(server.faults, fault).add("file-001.mp4")
    episodes = load_episodes(path)
    episodes[1].video_path("observation.images.base").stat()  # type: ignore[attr-defined]  # how long it must be
    with pytest.raises(RemoteError, match=r"file-001\.mp4 cannot be read, 3 times: .*run the same command again"):
        episodes[1].images(np.array([0]))
    assert not list(own_cache.rglob("*.part"))
    server.faults.once = True
    assert len(episodes[1].images(np.array([0]))["base"]) == 1


def test_an_outage_is_no_damage_to_episodes(server: Server) -> None:
    """Else a frame cache without most of them would be made, and trained on."""
    path = toy(server)
    server.faults.status["file-002.mp4"] = 503
    with pytest.raises(RemoteError, match=r"file-002\.mp4.*503"):
        load_cached(path)
    server.faults.status.clear()
    assert len(load_cached(path)) == 3


def test_a_missing_file_is_damage(server: Server, caplog: pytest.LogCaptureFixture) -> None:
    path = toy(server)
    (server.folder / "d/data/chunk-000/file-001.parquet").unlink()
    assert len(load_cached(path)) == 2
    assert f"{path}/data/chunk-000/file-001.parquet must exist" in caplog.text


def test_a_silent_server_is_not_waited_for(server: Server, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("VOLITION_REMOTE_TIMEOUT", "0.3")
    path = toy(server)
    server.faults.silent.add("info.json")
    with pytest.raises(RemoteError, match=r"info\.json cannot be read.*Timeout"):
        load_episodes(path)


def test_a_server_that_dies(tmp_path: Path) -> None:
    (tmp_path / "s").mkdir()
    with web(tmp_path / "s") as server:
        path = toy(server)
        episodes = load_episodes(path)
    with pytest.raises(RemoteError, match=r"file-000\.mp4.*(Cannot connect|Connection|disconnected)"):
        episodes[0].images(np.array([0]))
    with pytest.raises(RemoteError, match="the server does not answer as it should, 3 times"):
        load_episodes(located(str(path)))


def test_nothing_at_an_address(server: Server) -> None:
    with pytest.raises(FileNotFoundError, match="/nothing must be a dataset folder"):
        load_episodes(located(f"{server.url}/nothing"))


def test_a_full_disk(server: Server, monkeypatch: pytest.MonkeyPatch) -> None:
    path = toy(server)
    episodes = load_episodes(path)

    def full(part: Path) -> None:
        raise OSError(errno.ENOSPC, "No space left on device")

    with monkeypatch.context() as patch:
        patch.setattr("volition.data.remote_cache.sync", full)
        with pytest.raises(RemoteError, match=r"mp4 cannot be kept in .*No space left.*make room, set VOLITION_"):
            episodes[0].images(np.array([0]))
    assert len(episodes[0].images(np.array([0]))["base"]) == 1


def test_the_cache_has_a_limit(server: Server, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("VOLITION_REMOTE_CACHE_GB", "1e-6")
    path = toy(server)
    with pytest.raises(RemoteError, match=r"more than the cache for remote files may hold.*VOLITION_REMOTE_CACHE_GB"):
        load_cached(path)
    monkeypatch.setenv("VOLITION_REMOTE_CACHE_GB", "much")
    with pytest.raises(ValueError, match="VOLITION_REMOTE_CACHE_GB must be a number above 0, got 'much'"):
        located(f"{server.url}/d")


def test_hdf5_files_are_fetched_before_the_clock_runs(server: Server, caplog: pytest.LogCaptureFixture) -> None:
    """A slow download is no hanging HDF5 library; damage behind a URL is named by it."""
    local = robomimic.make(server.folder)
    local = local if local.is_dir() else local.parent
    name = next(local.glob("*.hdf5")).name
    (local / "other.hdf5").write_bytes(b"nothing")
    path = located(f"{server.url}/{local.relative_to(server.folder).as_posix()}")
    with caplog.at_level(logging.WARNING):
        episodes = load_episodes(path)
    assert f"left out: {path}/other.hdf5 must be an HDF5 file" in caplog.text
    assert {str(episode.facts.path) for episode in episodes} == {f"{path}/{name}"}  # type: ignore[attr-defined]
