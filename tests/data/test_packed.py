from __future__ import annotations

import json
import threading
from collections.abc import Callable, Sequence
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from tests.data.conftest import toy_episode, write_toy
from volition.config import DataConfig
from volition.data import packed_write
from volition.data.cache import CachedEpisode
from volition.data.codecs import Encoding, PackConfig
from volition.data.fingerprint import fingerprint
from volition.data.lerobot import LeRobotEpisode, load_lerobot
from volition.data.lerobot_stage import LeRobotConfig
from volition.data.open import load_cached
from volition.data.packed import INDEX, PackedEpisode, RecordFile, open_pack
from volition.data.packed_write import packed
from volition.data.windows import Windows
from volition.records import Episode

LENGTHS = (5, 1, 70, 4)
EXACT: tuple[Encoding, ...] = ("raw", "zstd")
ZSTD = PackConfig(encoding="zstd")
LOSSY: tuple[Encoding, ...] = ("jpeg", "webp")


@pytest.fixture
def root(tmp_path: Path) -> Path:
    write_toy(tmp_path / "d", LENGTHS, LeRobotConfig(images="png"))
    return tmp_path / "d"


@pytest.fixture
def small_shards(monkeypatch: pytest.MonkeyPatch) -> None:
    """A shard an episode: the writer asks for more only while it has less than this many bytes."""
    monkeypatch.setattr(packed_write, "BYTES", 1)


def _place(root: Path, config: PackConfig) -> Path:
    return root / ".volition" / f"frames-{config.name}"


def _same(left: Sequence[Episode], right: Sequence[Episode]) -> None:
    for one, other in zip(left, right, strict=True):
        steps = np.arange(len(one))[::-1]
        assert (one.task, one.instructions, len(one)) == (other.task, other.instructions, len(other))
        np.testing.assert_array_equal(one.images(steps)["base"], other.images(steps)["base"])
        np.testing.assert_array_equal(one.states(steps), other.states(steps))
        np.testing.assert_array_equal(one.actions(steps), other.actions(steps))


def _psnr(one: np.ndarray, other: np.ndarray) -> float:
    return 10 * float(np.log10(255**2 / np.mean((one.astype(float) - other) ** 2)))


@pytest.mark.parametrize("encoding", EXACT)
def test_exact_kinds_give_back_every_picture(root: Path, encoding: Encoding) -> None:
    calls: list[tuple[int, int]] = []
    found = packed(
        load_lerobot(root),
        root,
        PackConfig(encoding=encoding),
        progress=lambda done, total: calls.append((done, total)),
    )
    assert all(isinstance(episode, Episode) for episode in found)
    _same(found, load_lerobot(root))
    assert calls == [(5, 80), (6, 80), (76, 80), (80, 80)]


def test_a_recipe_chooses_the_kind(root: Path) -> None:
    assert isinstance(load_cached(root, pictures=DataConfig().cache)[0], CachedEpisode)
    found = load_cached(root, pictures=ZSTD)
    assert isinstance(found[0], PackedEpisode)
    _same(found, load_lerobot(root))
    other = load_cached(root, pictures=ZSTD, folder=root.parent / "caches")
    assert [path.is_dir() for path in (root.parent / "caches").glob(f"{fingerprint(root)}-zstd")] == [True]
    _same(other, found)


@pytest.mark.parametrize("encoding", LOSSY)
def test_lossy_kinds_are_near_and_nearer_with_more_quality(root: Path, encoding: Encoding) -> None:
    original = toy_episode(2, 70).images["base"]
    near = {}
    for quality in (50, 95):
        found = packed(load_lerobot(root), root, PackConfig(encoding=encoding, quality=quality))
        near[quality] = _psnr(found[2].images(np.arange(70))["base"], original)
    assert near[95] > max(40, near[50])
    assert near[50] > 30


@settings(max_examples=60)
@given(records=st.lists(st.binary(max_size=40), max_size=30))
def test_the_index_finds_every_record(tmp_path_factory: pytest.TempPathFactory, records: list[bytes]) -> None:
    path = tmp_path_factory.mktemp("records") / "x.pack"
    offsets = np.cumsum([0, *map(len, records)]).astype("<u8")
    path.write_bytes(b"".join(records) + offsets.tobytes())
    file = RecordFile(path, len(records))
    assert [bytes(file[i]) for i in range(len(records))] == records
    assert not file._offsets.flags.owndata, "offsets are read where they lie, however many they are"


@pytest.mark.usefixtures("small_shards")
def test_many_shards_are_one_dataset(root: Path) -> None:
    found = packed(load_lerobot(root), root, ZSTD)
    assert len(list(_place(root, ZSTD).glob("shard-*.json"))) == len(LENGTHS)
    _same(found, load_lerobot(root))
    windows, original = (
        Windows(episodes, num_obs_steps=4, obs_stride=3, action_horizon=5) for episodes in (found, load_lerobot(root))
    )
    for i in range(0, len(windows), 7):
        one, other = windows.sample(i), original.sample(i)
        np.testing.assert_array_equal(one.observation.images["base"], other.observation.images["base"])
        np.testing.assert_array_equal(one.actions, other.actions)


def test_it_is_made_once_for_a_dataset_and_a_kind(root: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    packed(load_lerobot(root), root, ZSTD)
    with monkeypatch.context() as patch:
        patch.setattr(LeRobotEpisode, "images", _refuse)
        packed(load_lerobot(root), root, ZSTD)
        with pytest.raises(AssertionError, match="was decoded"):
            packed(load_lerobot(root), root, PackConfig(encoding="jpeg"))
    place, key = _place(root, ZSTD), f"{fingerprint(root)}-zstd"
    assert open_pack(place, key, ZSTD) is not None
    assert open_pack(place, "another", ZSTD) is None
    about = json.loads((place / INDEX).read_text())
    (place / INDEX).write_text(json.dumps(about | {"version": 0}))
    assert open_pack(place, key, ZSTD) is None
    (place / INDEX).write_text(json.dumps({"version": 1}))
    with pytest.raises(ValueError, match=r"pack\.json must say version, key"):
        open_pack(place, key, ZSTD)


def _refuse(episode: LeRobotEpisode, steps: np.ndarray) -> dict[str, np.ndarray]:
    raise AssertionError(f"episode {episode.row} was decoded")


@pytest.mark.usefixtures("small_shards")
def test_it_goes_on_where_it_was_interrupted(root: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    def interrupt(done: int, total: int) -> None:
        if done >= 76:
            raise KeyboardInterrupt

    with pytest.raises(KeyboardInterrupt):
        packed(load_lerobot(root), root, ZSTD, progress=interrupt)
    assert not _place(root, ZSTD).exists()
    original, decoded = LeRobotEpisode.images, set()

    def watched(episode: LeRobotEpisode, steps: np.ndarray) -> dict[str, np.ndarray]:
        decoded.add(int(episode.row["episode_index"]))
        return original(episode, steps)

    with monkeypatch.context() as patch:
        patch.setattr(LeRobotEpisode, "images", watched)
        found = packed(load_lerobot(root), root, ZSTD)
    assert decoded == {0, 2, 3}, "the first is asked for its cameras, the last two were not done"
    _same(found, load_lerobot(root))
    assert not _place(root, ZSTD).with_name("frames-zstd.part").exists()


@pytest.mark.usefixtures("small_shards")
def test_an_interrupted_pack_of_another_dataset_is_not_gone_on_with(root: Path) -> None:
    def interrupt(done: int, total: int) -> None:
        raise KeyboardInterrupt

    with pytest.raises(KeyboardInterrupt):
        packed(load_lerobot(root), root, ZSTD, progress=interrupt)
    path = root / "meta/stats.json"
    path.write_text(path.read_text() + "\n")
    part = _place(root, ZSTD).with_name("frames-zstd.part")
    (part / "shard-00000.json").write_text("{}")  # would be an error if it were read
    _same(packed(load_lerobot(root), root, ZSTD), load_lerobot(root))


@pytest.mark.usefixtures("small_shards")
@pytest.mark.parametrize("name", ["base-00002.pack", "states-00002.npy", "actions-00002.npy"])
def test_a_flipped_byte_is_noticed_before_it_is_used(root: Path, name: str) -> None:
    packed(load_lerobot(root), root, ZSTD)
    path = _place(root, ZSTD) / name
    content = bytearray(path.read_bytes())
    content[len(content) // 2] ^= 1
    path.write_bytes(content)
    found = packed(load_lerobot(root), root, ZSTD)
    use: dict[str, Callable[[Episode], Any]] = {
        "base": lambda episode: episode.images(np.array([0])),
        "states": lambda episode: episode.states(np.array([0])),
        "actions": lambda episode: episode.actions(np.array([0])),
    }
    use[name.split("-")[0]](found[1])  # of another shard
    with pytest.raises(ValueError, match=rf"{name} must be as it was written, .* Delete .*frames-zstd"):
        use[name.split("-")[0]](found[2])
    path.unlink()
    with pytest.raises(ValueError, match=rf"{name} must be as it was written"):
        use[name.split("-")[0]](packed(load_lerobot(root), root, ZSTD)[2])


@pytest.mark.usefixtures("small_shards")
def test_a_damaged_episode_costs_that_episode(
    root: Path, monkeypatch: pytest.MonkeyPatch, caplog: pytest.LogCaptureFixture
) -> None:
    original = LeRobotEpisode.images

    def damaged(episode: LeRobotEpisode, steps: np.ndarray) -> dict[str, np.ndarray]:
        if len(episode) == 70 and 69 in steps:
            raise ValueError("frame 69 is torn")
        return original(episode, steps)

    monkeypatch.setattr(LeRobotEpisode, "images", damaged)
    monkeypatch.setattr(packed_write, "BYTES", 1 << 20)  # in the middle of a shard
    found = packed(load_lerobot(root), root, ZSTD)
    monkeypatch.undo()
    _same(found, [episode for episode in load_lerobot(root) if len(episode) != 70])
    assert "episode 2 is left out: frame 69 is torn" in caplog.text
    with pytest.raises(ValueError, match="the pack is of 4 episodes, but 3 were given"):
        packed(load_lerobot(root)[:3], root, ZSTD)


def test_a_dataset_of_nothing_but_damage_is_an_error(root: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    original = LeRobotEpisode.images

    def damaged(episode: LeRobotEpisode, steps: np.ndarray) -> dict[str, np.ndarray]:
        if len(steps) > 1 or len(episode) == 1:
            raise ValueError("torn")
        return original(episode, steps)

    monkeypatch.setattr(LeRobotEpisode, "images", damaged)
    with pytest.raises(ValueError, match="none of 4 episodes can be read; the last one: torn"):
        packed(load_lerobot(root), root, ZSTD)


def test_a_full_disk_is_said_and_room_is_all_it_needs(root: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    def full(path: Path) -> str:
        raise OSError(28, "No space left on device")

    with monkeypatch.context() as patch:
        patch.setattr(packed_write, "sha256", full)
        with pytest.raises(OSError, match=r"frames-zstd cannot be written: .*No space left.* make room"):
            packed(load_lerobot(root), root, ZSTD)
    _same(packed(load_lerobot(root), root, ZSTD), load_lerobot(root))


def test_of_two_makers_one_makes_and_the_other_waits(root: Path) -> None:
    started, go_on, made = threading.Event(), threading.Event(), []

    def slow(done: int, total: int) -> None:
        started.set()
        go_on.wait(20)

    def refused(done: int, total: int) -> None:
        raise AssertionError("made twice")

    first = threading.Thread(target=lambda: made.append(packed(load_lerobot(root), root, ZSTD, progress=slow)))
    first.start()
    assert started.wait(20)
    second = threading.Thread(target=lambda: made.append(packed(load_lerobot(root), root, ZSTD, progress=refused)))
    second.start()
    second.join(0.3)
    assert second.is_alive()
    go_on.set()
    for thread in (first, second):
        thread.join(20)
    assert len(made) == 2
    _same(made[1], load_lerobot(root))
