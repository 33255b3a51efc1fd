from __future__ import annotations

import json
import logging
import os
from pathlib import Path

import numpy as np
import pytest

from tests.data.conftest import SHARED
from tests.data.formats.rlds import (
    LENGTHS,
    SENTENCES,
    content,
    example,
    features_json,
    frames,
    make,
    shard_path,
    vectors,
    write_dataset,
)
from tests.fuzz_formats import mutated
from volition.data import rlds
from volition.data.info import info
from volition.data.rlds import load_rlds, load_spec
from volition.data.spec import UNKNOWN
from volition.data.verify import verify


@pytest.fixture
def root(tmp_path: Path) -> Path:
    return make(tmp_path)


def test_features_say_what_is_what(root: Path) -> None:
    spec, episodes = load_spec(root), load_rlds(root)
    assert [camera.name for camera in spec.cameras] == ["image", "wrist_image"]
    assert spec.state == ("gripper", "state_0", "state_1", "state_2", "state_3")
    assert [d.name for d in spec.action_space.dimensions] == [f"action_{i}" for i in range(7)]
    assert {d.unit for d in spec.action_space.dimensions} == {UNKNOWN}
    assert [(len(e), e.instructions) for e in episodes] == [(n, (s,)) for n, s in zip(LENGTHS, SENTENCES)]
    steps = np.array([2, 0])
    np.testing.assert_array_equal(episodes[1].images(steps)["wrist_image"], frames(1, "wrist_image")[steps])
    np.testing.assert_array_equal(episodes[2].actions(steps), vectors(2, "action", 7)[steps])
    np.testing.assert_array_equal(episodes[2].states(steps)[:, 1:], vectors(2, "state", 4)[steps])


def test_without_words_the_instruction_is_empty(tmp_path: Path) -> None:
    records = [example(content(0) | {"steps/language_instruction": [b""] * LENGTHS[0]})]
    assert load_rlds(write_dataset(tmp_path / "d", [records]))[0].instructions == ("",)


def test_a_flipped_bit_costs_one_episode(root: Path, caplog: pytest.LogCaptureFixture) -> None:
    path = shard_path(root)
    data = bytearray(path.read_bytes())
    data[100] ^= 1
    path.write_bytes(data)
    with caplog.at_level(logging.WARNING):
        episodes = load_rlds(root)
    assert [len(episode) for episode in episodes] == list(LENGTHS[1:])
    assert f"{path}: 1 of 2 episodes are lost ({path}, episode 0:" in caplog.text
    assert "checksum" in caplog.text
    assert (info(root)["episodes"], info(root)["damaged_episodes"]) == (2, 1)
    (found, *_) = verify(root)
    assert (found.name, found.level) == ("readable", "error")
    assert "1 of 3 episodes cannot be read" in found.said


@pytest.mark.parametrize("damage", ["missing", "cut"])
def test_a_lost_shard_is_counted(root: Path, caplog: pytest.LogCaptureFixture, damage: str) -> None:
    path = shard_path(root)
    if damage == "missing":
        path.unlink()
    else:
        path.write_bytes(path.read_bytes()[:1000])
    with caplog.at_level(logging.WARNING):
        assert [len(episode) for episode in load_rlds(root)] == [LENGTHS[2]]
    assert f"{path}: 2 of 2 episodes are lost" in caplog.text


def test_when_everything_is_lost_it_is_an_error(root: Path) -> None:
    for shard in (0, 1):
        shard_path(root, shard).write_bytes(b"\0" * 500)
    with pytest.raises(ValueError, match=r"toy_arm-train.*checksum of a record's length.*download it again"):
        load_rlds(root)
    for shard in (0, 1):
        shard_path(root, shard).unlink()
    with pytest.raises(FileNotFoundError, match=r"toy_arm-train\.tfrecord-00000-of-00002.*has none of them"):
        load_rlds(root)


def test_the_first_action_of_bridge_is_left_out(tmp_path: Path) -> None:
    """A fact of the table, not of the format: other datasets keep all their steps."""
    features = features_json()
    step = features["featuresDict"]["features"]["steps"]["sequence"]["feature"]["featuresDict"]["features"]
    step["observation"]["featuresDict"]["features"]["state"]["tensor"]["shape"]["dimensions"] = ["7"]
    records = [example(content(0) | {"steps/observation/state": [0.5] * 7 * LENGTHS[0]})]
    root = write_dataset(tmp_path / "d", [records], name="bridge_dataset", features=features)
    (episode,) = load_rlds(root)
    np.testing.assert_array_equal(episode.actions(np.arange(4)), vectors(0, "action", 7)[1:])
    np.testing.assert_array_equal(episode.images(np.array([0]))["image"], frames(0, "image")[1:2])
    assert (load_spec(root).control_hz, load_spec(root).action_space.dimensions[6].unit) == (5.0, "1 open, 0 closed")


def test_a_shard_cannot_lie_elsewhere(root: Path) -> None:
    info = json.loads((root / "dataset_info.json").read_text())
    (root / "dataset_info.json").write_text(json.dumps(info | {"name": "../other"}))
    with pytest.raises(ValueError, match=r"dataset_info\.json.*no shard can be called"):
        load_rlds(root)


def fuzz_records(folder: Path, count: int) -> tuple[int, int]:
    """Mutate records and give them right checksums, so that what lies below them is tried: (lost, read) datasets."""
    outcomes = [0, 0]
    rng = np.random.default_rng(0)
    sound = example(content(1))
    for number in range(count):
        root = write_dataset(folder / str(number), [[mutated(sound, rng)]])
        try:
            for episode in load_rlds(root):
                episode.images(np.arange(len(episode)))
            outcomes[1] += 1
        except ValueError as error:
            assert str(root) in str(error)  # noqa: PT017
            outcomes[0] += 1
    return outcomes[0], outcomes[1]


def test_records_with_right_checksums_and_wrong_content(tmp_path: Path) -> None:
    lost, read = fuzz_records(tmp_path, 60)
    assert lost >= 20
    assert lost + read == 60


@pytest.mark.skipif(not (SHARED / "bridge_mini").is_dir(), reason="shared/data/bridge_mini is not beside this checkout")
def test_real_robot_episodes() -> None:
    root = SHARED / "bridge_mini/1.0.0"
    episodes, spec = load_rlds(root), load_spec(root)
    assert (len(episodes), {len(episode) for episode in episodes}, len(spec.state)) == (25, {9}, 7)
    assert {e.instructions[0] for e in episodes} >= {"put carrot on plate", "turn lever vertical to front"}
    moved, asked = [], []
    for episode in episodes:
        steps = np.arange(len(episode))
        assert {x.shape for x in episode.images(steps).values()} == {(9, 64, 64, 3)}
        moved.append(np.diff(episode.states(steps)[:, :3], axis=0))
        asked.append(episode.actions(steps)[:-1, :3])
    # An action is what the arm did next: metres, in the frame of the state.
    assert np.corrcoef(np.concatenate(moved).ravel(), np.concatenate(asked).ravel())[0, 1] > 0.8


def brought_up(monkeypatch: pytest.MonkeyPatch) -> list[Path]:
    """Files whose records are read one after the other from here on."""
    scanned: list[Path] = []
    real = rlds.scan_records
    monkeypatch.setattr(rlds, "scan_records", lambda path: (scanned.append(path), real(path))[1])
    return scanned


def test_the_next_opening_reads_an_index(
    root: Path, monkeypatch: pytest.MonkeyPatch, caplog: pytest.LogCaptureFixture
) -> None:
    path = shard_path(root)
    data = bytearray(path.read_bytes())
    data[100] ^= 1
    path.write_bytes(data)
    first, said = load_rlds(root), caplog.text
    scanned = brought_up(monkeypatch)
    caplog.clear()
    second = load_rlds(root)
    assert scanned == []
    assert caplog.text == said
    assert (second.left_out, second.reasons) == (first.left_out, first.reasons) == (1, first.reasons)
    for x, y in zip(first, second, strict=True):
        steps = np.arange(len(x))
        assert x.instructions == y.instructions
        np.testing.assert_array_equal(x.states(steps), y.states(steps))
        np.testing.assert_array_equal(x.actions(steps), y.actions(steps))
        np.testing.assert_array_equal(x.images(steps)["image"], y.images(steps)["image"])
    assert not [x for x in root.iterdir() if x.name == "toy_arm-train.npz"]


@pytest.mark.parametrize("change", ["content", "index", "features"])
def test_an_index_of_another_state_does_not_count(root: Path, monkeypatch: pytest.MonkeyPatch, change: str) -> None:
    load_rlds(root)
    (first, second) = sorted((root / ".volition/rlds").glob("*.npz"))
    scanned = brought_up(monkeypatch)
    if change == "content":
        data = shard_path(root).read_bytes()
        shard_path(root).write_bytes(data[: len(data) // 2])
    elif change == "index":
        index = bytearray(first.read_bytes())
        index[len(index) // 2] ^= 255
        first.write_bytes(index)
    else:
        tree = json.loads((root / "features.json").read_text())
        step = tree["featuresDict"]["features"]["steps"]["sequence"]["feature"]["featuresDict"]["features"]
        del step["observation"]["featuresDict"]["features"]["gripper"]
        (root / "features.json").write_text(json.dumps(tree))
    episodes = load_rlds(root)
    assert scanned == [shard_path(root), *([shard_path(root, 1)] if change == "features" else [])]
    assert len(episodes) == (1 if change == "content" else 3)
    assert episodes[0].states(np.array([0])).shape[1] == (4 if change == "features" else 5)
    assert second.is_file()


def test_bits_that_flip_behind_the_index_are_noticed_with_the_pictures(root: Path) -> None:
    load_rlds(root)
    path = shard_path(root)
    before = path.stat()
    data = bytearray(path.read_bytes())
    data[200] ^= 1
    path.write_bytes(data)
    os.utime(path, ns=(before.st_atime_ns, before.st_mtime_ns))
    episodes = load_rlds(root)
    with pytest.raises(
        ValueError, match=r"toy_arm-train.*episode 0.*checksum of the record is wrong; download it again"
    ):
        episodes[0].images(np.array([0]))
    assert episodes[1].images(np.array([0]))


def test_without_a_place_for_an_index_it_is_read_all_the_same(root: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    (root / ".volition").write_text("in the way")
    scanned = brought_up(monkeypatch)
    assert len(load_rlds(root)) == len(load_rlds(root)) == 3
    assert len(scanned) == 4
