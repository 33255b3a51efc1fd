from __future__ import annotations

import os
from pathlib import Path
from typing import Any

import numpy as np
import pytest

from tests.data.conftest import toy_episode, write_toy
from volition.data.cache import cached, cached_if_made
from volition.data.fingerprint import fingerprint
from volition.data.lerobot import LeRobotEpisode, load_lerobot
from volition.data.lerobot_stage import LeRobotConfig
from volition.data.open import load_cached, load_episodes
from volition.records import Episode

LENGTHS = (5, 1, 70, 4)


def _refuse(episode: LeRobotEpisode, steps: np.ndarray) -> dict[str, np.ndarray]:
    raise AssertionError(f"episode {episode.row} was decoded")


def _same(left: Episode, right: Episode) -> None:
    steps = np.arange(len(left))[::-1]
    assert (left.task, left.instructions, len(left)) == (right.task, right.instructions, len(right))
    np.testing.assert_array_equal(left.images(steps)["base"], right.images(steps)["base"])
    np.testing.assert_array_equal(left.states(steps), right.states(steps))
    np.testing.assert_array_equal(left.actions(steps), right.actions(steps))


@pytest.mark.parametrize("images", ["video", "png"])
def test_the_cache_holds_what_decoding_gives(tmp_path: Path, images: Any) -> None:
    root = tmp_path / "d"
    write_toy(root, LENGTHS, LeRobotConfig(images=images), seal_after=(1,))
    calls: list[tuple[int, int]] = []
    found = load_cached(root, progress=lambda done, total: calls.append((done, total)))
    for episode, original in zip(found, load_lerobot(root), strict=True):
        assert isinstance(episode, Episode)
        _same(episode, original)
    assert calls[-1] == (80, 80)


def test_it_is_made_once_and_used_from_then_on(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    root = tmp_path / "d"
    write_toy(root, LENGTHS, LeRobotConfig(images="png"))
    assert isinstance(load_episodes(root)[0], LeRobotEpisode)
    load_cached(root)
    monkeypatch.setattr(LeRobotEpisode, "images", _refuse)  # whoever decodes now fails
    for episodes in (load_cached(root), load_episodes(root)):
        np.testing.assert_array_equal(episodes[2].images(np.array([3]))["base"], toy_episode(2, 70).images["base"][3:4])


def test_the_writer_leaves_a_cache_of_the_undamaged_pictures(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    root = tmp_path / "d"
    written = write_toy(root, LENGTHS, LeRobotConfig(images="video", keep_frames=True), seal_after=(1,))
    monkeypatch.setattr(LeRobotEpisode, "images", _refuse)
    for episode, original in zip(load_episodes(root), written, strict=True):
        np.testing.assert_array_equal(episode.images(np.arange(len(original)))["base"], original.images["base"])


def test_a_cache_of_another_dataset_is_replaced(tmp_path: Path) -> None:
    root, other = tmp_path / "d", tmp_path / "other"
    write_toy(root, (5, 6), LeRobotConfig(images="png"))
    write_toy(other, (6, 5), LeRobotConfig(images="png", keep_frames=True))
    (other / ".volition").rename(tmp_path / "moved")
    (root / ".volition/staged").rmdir()
    (root / ".volition").rmdir()
    (tmp_path / "moved").rename(root / ".volition")
    assert cached_if_made(load_lerobot(root), root) is None
    for episode, original in zip(load_cached(root), load_lerobot(root), strict=True):
        _same(episode, original)


def test_it_can_lie_elsewhere(tmp_path: Path) -> None:
    root = tmp_path / "d"
    write_toy(root, (5, 6), LeRobotConfig(images="png"))
    load_cached(root, folder=tmp_path / "caches")
    assert [path.name for path in (tmp_path / "caches").iterdir()] == [fingerprint(root)]
    assert not (root / ".volition/frames").exists()


def test_nothing_is_written_into_a_read_only_dataset(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    root = tmp_path / "d"
    write_toy(root, (5, 6), LeRobotConfig(images="png"))
    monkeypatch.setenv("XDG_CACHE_HOME", str(tmp_path / "home"))
    root.chmod(0o555)
    load_cached(root)
    root.chmod(0o755)
    assert not (root / ".volition/frames").exists()
    assert [path.name for path in (tmp_path / "home/volition/frames").iterdir()] == [fingerprint(root)]


def test_an_interruption_leaves_nothing_half(tmp_path: Path) -> None:
    root = tmp_path / "d"
    write_toy(root, LENGTHS, LeRobotConfig(images="png"))

    def interrupt(done: int, total: int) -> None:
        if done >= total // 2:
            raise KeyboardInterrupt

    with pytest.raises(KeyboardInterrupt):
        load_cached(root, progress=interrupt)
    assert [path.name for path in (root / ".volition").iterdir()] == ["staged"]
    _same(load_cached(root)[2], load_lerobot(root)[2])


def test_a_damaged_or_unfitting_cache_is_an_error(tmp_path: Path) -> None:
    root = tmp_path / "d"
    write_toy(root, LENGTHS, LeRobotConfig(images="png", keep_frames=True))
    with pytest.raises(ValueError, match="give all episodes"):
        cached(load_lerobot(root)[:2], root)
    os.truncate(root / ".volition/frames/base-00000002.u8", 1000)
    with pytest.raises(ValueError, match=r"frames must hold the frames .* is damaged; delete it"):
        load_cached(root)


def test_the_fingerprint_is_of_content_not_of_place(tmp_path: Path) -> None:
    for name in ("a", "b"):
        write_toy(tmp_path / name, (5, 6), LeRobotConfig(images="png"))
    assert fingerprint(tmp_path / "a") == fingerprint(tmp_path / "b")
    path = tmp_path / "b/meta/stats.json"
    path.write_text(path.read_text().replace("mean", "naem", 1))
    assert fingerprint(tmp_path / "a") != fingerprint(tmp_path / "b")
    with pytest.raises(FileNotFoundError, match="must be a dataset folder"):
        fingerprint(tmp_path / "nothing")


def test_frames_of_equal_size_are_told_apart_by_what_they_hold(tmp_path: Path) -> None:
    """As where labels were mended in place: the files keep their size."""
    frame = tmp_path / "episode_0000001.npz"
    found = set()
    for value in (0.0, 1.0):
        np.savez(frame, rel_actions=np.full(7, value))
        found.add((frame.stat().st_size, fingerprint(tmp_path)))
    assert len({size for size, _ in found}) == 1
    assert len(found) == 2


def test_hidden_files_do_not_count_among_the_frames(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr("volition.data.fingerprint.SAMPLED", 3)
    for number in range(9):
        np.savez(tmp_path / f"episode_{number:07d}.npz", x=np.full(3, number))
    before = fingerprint(tmp_path)
    (tmp_path / ".cache").mkdir()
    np.savez(tmp_path / ".cache" / "x.npz", x=np.zeros(2))
    assert fingerprint(tmp_path) == before
