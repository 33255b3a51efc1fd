"""One damaged episode costs that episode: said aloud, and counted."""

from __future__ import annotations

import errno
from collections.abc import Callable
from pathlib import Path

import numpy as np
import pyarrow as pa
import pyarrow.parquet as pq
import pytest

from tests.data.conftest import toy_episode, write_toy
from tests.data.formats import calvin, lerobot_v2
from volition.data.fingerprint import fingerprint
from volition.data.frames import FrameWriter
from volition.data.info import info
from volition.data.lerobot import LeRobotEpisode
from volition.data.lerobot_stage import LeRobotConfig
from volition.data.open import load_cached, load_episodes


def _cut(path: Path) -> None:
    path.write_bytes(path.read_bytes()[: path.stat().st_size // 2])


def _spoil_action(path: Path) -> None:
    table = pq.read_table(path)
    actions = table["action"].to_pylist()
    actions[1][0] = float("nan")
    pq.write_table(table.set_column(table.column_names.index("action"), "action", pa.array(actions)), path)


DATA = "data/chunk-000/episode_000001.parquet"
VIDEO = "videos/chunk-000/observation.images.base/episode_000001.mp4"
CASES = [
    (lerobot_v2.make, DATA, _cut, DATA),
    (lerobot_v2.make, DATA, Path.unlink, DATA),
    (lerobot_v2.make, DATA, _spoil_action, "actions must be finite, but frame 1, dimension 0 is nan"),
    (lerobot_v2.make_old, VIDEO, _cut, VIDEO),
    (lerobot_v2.make_old, VIDEO, Path.unlink, VIDEO),
    (calvin.make, "episode_0000009.npz", _cut, "episode_0000009.npz"),
]


@pytest.mark.parametrize(("make", "name", "damage", "said"), CASES)
def test_the_others_are_read(
    tmp_path: Path,
    caplog: pytest.LogCaptureFixture,
    make: Callable[[Path], Path],
    name: str,
    damage: Callable[[Path], None],
    said: str,
) -> None:
    root = make(tmp_path)
    whole = load_episodes(root)
    undamaged = [episode.images(np.arange(len(episode))) for i, episode in enumerate(whole) if i != 1]
    total = len(whole)
    damage(root / name)
    before = fingerprint(root)
    for _ in range(2):  # made, then opened
        caplog.clear()
        episodes = load_cached(root)
        assert len(episodes) == total - 1
        assert "episode 1 is left out" in caplog.text
        assert said in caplog.text
        assert f"1 of {total} episodes are damaged and left out" in caplog.text
    assert fingerprint(root) == before
    for episode, frames in zip(load_cached(root), undamaged, strict=True):
        for camera, shown in episode.images(np.arange(len(episode))).items():
            np.testing.assert_array_equal(shown, frames[camera])
    assert info(root)["damaged_episodes"] == 1
    assert info(root)["episodes"] == total - 1


def test_a_video_cut_in_the_middle_costs_the_episodes_after_the_cut(
    tmp_path: Path, caplog: pytest.LogCaptureFixture
) -> None:
    root = tmp_path / "d"
    write_toy(root, (20, 20, 20, 20), LeRobotConfig(images="video"), seal_after=(1,))
    undamaged = load_episodes(root)[2].images(np.arange(20))["base"]
    path = root / "videos/observation.images.base/chunk-000/file-000.mp4"
    content = bytearray(path.read_bytes())
    start = content.find(b"mdat")
    length = int.from_bytes(content[start - 4 : start], "big")
    content[start + length // 2 : start + length - 8] = bytes(length - 8 - length // 2)
    path.write_bytes(content)
    episodes = load_cached(root)
    assert "are damaged and left out" in caplog.text
    assert path.name in caplog.text
    numbers = [int(episode.states(np.array([0]))[0, 0]) for episode in episodes]
    assert numbers in ([0, 2, 3], [2, 3])
    np.testing.assert_array_equal(episodes[numbers.index(2)].images(np.arange(20))["base"], undamaged)


def test_numbers_without_a_cache_are_counted_too(tmp_path: Path, caplog: pytest.LogCaptureFixture) -> None:
    root = lerobot_v2.make(tmp_path)
    _cut(root / DATA)
    summary = info(root)
    assert (summary["episodes"], summary["damaged_episodes"], summary["frames"]) == (2, 1, 8)
    assert DATA in caplog.text


def test_nothing_but_damage_is_an_error(tmp_path: Path) -> None:
    root = lerobot_v2.make(tmp_path)
    for path in root.rglob("*.parquet"):
        _cut(path)
    with pytest.raises(ValueError, match=r"none of 3 episodes can be read; .*episode_000000\.parquet"):
        load_cached(root)
    with pytest.raises(ValueError, match="all 3 are damaged"):
        info(root)


@pytest.mark.parametrize("make", [lerobot_v2.make, lerobot_v2.make_old])
def test_a_full_disk_is_no_damage(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, make: Callable[[Path], Path]
) -> None:
    def full(writer: FrameWriter, camera: str, frames: np.ndarray) -> None:
        raise OSError(errno.ENOSPC, "No space left on device")

    root = make(tmp_path)
    with monkeypatch.context() as patch:
        patch.setattr(FrameWriter, "append", full)
        with pytest.raises(OSError, match=r"frames cannot be written: .*No space left.* make room"):
            load_cached(root)
    assert not list(root.rglob("*.part"))
    np.testing.assert_array_equal(load_cached(root)[1].states(np.array([0])), toy_episode(1, 2).states[:1])


def test_numbers_that_went_bad_under_a_recorders_map(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, caplog: pytest.LogCaptureFixture
) -> None:
    root = tmp_path / "d"
    write_toy(root, (3, 2), LeRobotConfig(images="png", keep_frames=True))
    read = LeRobotEpisode.states

    def fail(episode: LeRobotEpisode, steps: np.ndarray) -> np.ndarray:
        if episode.row["episode_index"] == 0:
            raise ValueError("file-000.parquet must be a parquet file")
        return read(episode, steps)

    monkeypatch.setattr(LeRobotEpisode, "states", fail)
    (left,) = load_cached(root)
    np.testing.assert_array_equal(left.images(np.arange(2))["base"], toy_episode(1, 2).images["base"])
    assert "1 of 2 episodes are damaged and left out" in caplog.text
