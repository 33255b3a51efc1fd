"""A disk that is really full: a small file system in memory, filled at every stage of a conversion and of a cache."""

from __future__ import annotations

import dataclasses
import shutil
import subprocess
from collections.abc import Iterator
from pathlib import Path
from typing import Literal

import numpy as np
import pytest

from tests.data.conftest import toy_episode
from tests.data.formats import calvin
from tests.toy import SPEC
from volition.data.codecs import PackConfig
from volition.data.convert import convert
from volition.data.lerobot_stage import LeRobotConfig
from volition.data.lerobot_write import LeRobotWriter
from volition.data.open import load_cached, load_episodes

SIZES = (64, 300, 500, 700, 900)  # kilobytes: what is to be written has some 600 to 1,100


@pytest.fixture
def disk(tmp_path: Path) -> Iterator[Path]:
    folder = tmp_path / "disk"
    folder.mkdir()
    mount = ["mount", "-t", "tmpfs", "-o", "size=64k", "none", str(folder)]
    if shutil.which("mount") is None or subprocess.run(mount, capture_output=True).returncode:
        pytest.skip("a file system in memory can be mounted by the administrator only")
    yield folder
    subprocess.run(["umount", "-l", str(folder)], check=True)


def enlarge(disk: Path, kilobytes: int) -> None:
    subprocess.run(["mount", "-o", f"remount,size={kilobytes}k", str(disk)], check=True)


@pytest.mark.parametrize(("to", "images"), [("lerobot", "png"), ("lerobot", "video"), ("calvin", "png")])
def test_a_conversion_goes_on_when_there_is_room(
    tmp_path: Path, disk: Path, to: Literal["lerobot", "calvin"], images: Literal["png", "video"]
) -> None:
    source, storage = calvin.make(tmp_path), LeRobotConfig(images=images, keep_frames=images == "video")
    failures = 0
    for size in SIZES:
        enlarge(disk, size)
        try:
            convert(source, disk / "d", to=to, storage=storage)
        except OSError as error:
            assert "cannot be written" in str(error)  # noqa: PT017
            assert "No space left" in str(error)  # noqa: PT017
            assert "make room, and the same command goes on" in str(error)  # noqa: PT017
            failures += 1
    assert failures >= 2
    enlarge(disk, 20_000)
    assert convert(source, disk / "d", to=to, storage=storage).frames == 5
    for made, original in zip(load_episodes(disk / "d"), load_episodes(source), strict=True):
        steps = np.arange(len(original))
        assert np.array_equal(made.actions(steps), original.actions(steps))


@pytest.mark.parametrize("encoding", ["raw", "zstd"])
def test_a_cache_goes_on_when_there_is_room(tmp_path: Path, disk: Path, encoding: Literal["raw", "zstd"]) -> None:
    source, failures = calvin.make(tmp_path), 0
    for size in SIZES[:3]:
        enlarge(disk, size)
        try:
            load_cached(source, folder=disk / "cache", pictures=PackConfig(encoding=encoding))
        except OSError as error:
            assert "cannot be written" in str(error)  # noqa: PT017
            assert "make room" in str(error)  # noqa: PT017
            failures += 1
    assert failures >= 2
    enlarge(disk, 20_000)
    assert len(load_cached(source, folder=disk / "cache", pictures=PackConfig(encoding=encoding))) == 2


def test_a_shard_of_video_is_made_when_there_is_room(disk: Path) -> None:
    """Its parts are there; joining them needs as much room again."""
    enlarge(disk, 4_000)
    rng = np.random.default_rng(0)
    writer = LeRobotWriter.create(disk / "d", SPEC, LeRobotConfig(images="video", video_quality=0))
    for number in range(3):
        noise = {"base": rng.integers(0, 256, (40, 28, 28, 3)).astype(np.uint8)}
        writer.add(dataclasses.replace(toy_episode(number, 40), images=noise))
    for room in (8, 20, 80, 160):  # kilobytes
        ballast = disk / "ballast"
        ballast.unlink(missing_ok=True)
        ballast.write_bytes(b"0" * (shutil.disk_usage(disk).free - (room << 10)))
        with pytest.raises(OSError, match="No space left"):
            writer.close()
    ballast.unlink()
    writer.close()
    assert [len(episode) for episode in load_episodes(disk / "d")] == [40, 40, 40]
