"""Datasets in another format: the same episodes, or a message that says why not."""

from __future__ import annotations

import dataclasses
import errno
import json
from pathlib import Path
from typing import Any

import numpy as np
import pytest

from tests.data.conftest import write_toy
from tests.data.formats import calvin, lerobot_v2
from volition.data import calvin_write
from volition.data.calvin import SPEC, load_calvin, read_pickled_array
from volition.data.calvin_write import CalvinWriter
from volition.data.convert import convert, decibels
from volition.data.fingerprint import fingerprint
from volition.data.lerobot_stage import EpisodeData, LeRobotConfig
from volition.data.lerobot_write import LeRobotWriter
from volition.data.open import detect, load_episodes, load_spec
from volition.records import Episode

PNG = LeRobotConfig(images="png")


def _same(left: Episode, right: Episode) -> None:
    steps = np.arange(len(left))
    assert (left.task, left.instructions, len(left)) == (right.task, right.instructions, len(right))
    np.testing.assert_array_equal(left.states(steps), right.states(steps))
    np.testing.assert_array_equal(left.actions(steps), right.actions(steps))
    for camera, frames in left.images(steps).items():
        np.testing.assert_array_equal(frames, right.images(steps)[camera])


def test_from_calvin_to_lerobot_and_back(tmp_path: Path) -> None:
    source = calvin.make(tmp_path)
    done = convert(source, tmp_path / "lerobot", to="lerobot", storage=PNG)
    assert (done.episodes, done.frames, done.damaged_episodes, done.left_out, done.psnr) == (2, 5, 0, (), {})
    assert load_spec(tmp_path / "lerobot") == SPEC
    assert convert(tmp_path / "lerobot", tmp_path / "back", to="calvin").frames == 5
    for name in ("lerobot", "back"):
        for made, original in zip(load_episodes(tmp_path / name), load_calvin(source), strict=True):
            _same(made, original)
    ranges, lengths = (np.load(tmp_path / "back" / f"ep_{name}.npy") for name in ("start_end_ids", "lens"))
    assert (ranges.tolist(), lengths.tolist()) == ([[0, 3], [4, 4]], [4, 1])
    tree = read_pickled_array(tmp_path / "back/lang_annotations/auto_lang_ann.npy").item()
    assert tree["language"] == {"ann": ["open it", "lift the block"], "task": ["open_drawer", "lift_red_block_table"]}
    assert tree["info"] == {"indx": [(0, 3), (4, 4)], "episodes": []}


def test_lossy_pictures_are_stated(tmp_path: Path) -> None:
    write_toy(tmp_path / "d", (3, 2), PNG)
    seen: list[tuple[str, float]] = []
    done = convert(tmp_path / "d", tmp_path / "video", progress=lambda phase, share, _: seen.append((phase, share)))
    assert 30 < done.psnr["base"] < 60
    assert seen == [("convert", 0.5), ("convert", 1.0), ("verify", 0.5), ("verify", 1.0)]


def test_decibels() -> None:
    black = np.zeros((2, 2), np.uint8)
    assert decibels(black, black) == np.inf
    assert decibels(black, black + np.uint8(255)) == pytest.approx(0)
    assert decibels(black, black + np.uint8(1)) == pytest.approx(48.13, abs=0.01)


def _calvin_episode(number: int, length: int = 2, extra: int = 0) -> EpisodeData:
    rng = np.random.default_rng(number)
    pictures = {c.name: rng.integers(0, 255, (length, c.height, c.width, 3)).astype(np.uint8) for c in SPEC.cameras}
    return EpisodeData(
        task="open_drawer",
        instructions=("open it", "pull the handle"),
        images=pictures,
        states=rng.normal(size=(length, len(SPEC.state) + extra)).astype(np.float32),
        actions=np.sign(rng.normal(size=(length, 7))).astype(np.float32),
    )


def test_what_calvin_has_no_place_for_is_said_and_wordings_are_kept(tmp_path: Path) -> None:
    spec = dataclasses.replace(SPEC, state=("before", *SPEC.state))
    with LeRobotWriter.create(tmp_path / "d", spec, PNG) as writer:
        writer.add(_calvin_episode(0, extra=1))
    done = convert(tmp_path / "d", tmp_path / "c", to="calvin")
    assert done.left_out == ("state before",)
    (made,) = load_calvin(tmp_path / "c")
    assert made.instructions == ("open it", "pull the handle")
    np.testing.assert_array_equal(made.states(np.arange(2)), _calvin_episode(0, extra=1).states[:, 1:])


def test_what_calvin_cannot_express_is_refused(tmp_path: Path) -> None:
    write_toy(tmp_path / "d", (3, 2), PNG)
    with pytest.raises(ValueError, match=r"CALVIN's format must agree .*\n(.*\n)*.*action_space\.dimensions"):
        convert(tmp_path / "d", tmp_path / "c", to="calvin")
    assert not (tmp_path / "c").exists()


class _StopError(Exception):
    pass


@pytest.mark.parametrize("to", ["lerobot", "calvin"])
def test_interrupted_it_goes_on(tmp_path: Path, monkeypatch: pytest.MonkeyPatch, to: Any) -> None:
    source = tmp_path / "source"
    with CalvinWriter.open(source, {}) as writer:
        for number in range(3):
            writer.add(_calvin_episode(number))

    def stop(phase: str, share: float, text: str) -> None:
        raise _StopError

    with pytest.raises(_StopError):
        convert(source, tmp_path / "d", to=to, storage=PNG, progress=stop)
    if to == "calvin":  # the power failed while the next episode was written
        (tmp_path / "d/episode_0000002.npz").write_bytes(b"half")
        with (tmp_path / "d/.volition/calvin.jsonl").open("a") as file:
            file.write('{"first": 2, "la')
    shares: list[float] = []
    done = convert(
        source,
        tmp_path / "d",
        to=to,
        storage=PNG,
        progress=lambda phase, share, _: shares.append(share) if phase == "convert" else None,
    )
    assert done.episodes == 3
    assert shares == [pytest.approx(2 / 3), 1.0]
    for made, original in zip(load_episodes(tmp_path / "d"), load_calvin(source), strict=True):
        _same(made, original)
    before = fingerprint(tmp_path / "d")
    convert(source, tmp_path / "d", to=to, storage=PNG)
    assert fingerprint(tmp_path / "d") == before
    with CalvinWriter.open(source, {}) as writer:
        writer.add(_calvin_episode(3))
    with pytest.raises(ValueError, match=r"was begun otherwise.*\n.*source: "):
        convert(source, tmp_path / "d", to=to, storage=PNG)


def test_a_target_that_differs_is_noticed(tmp_path: Path) -> None:
    source = calvin.make(tmp_path)
    convert(source, tmp_path / "c", to="calvin")
    path = tmp_path / "c/episode_0000001.npz"
    arrays = dict(np.load(path))
    arrays["rgb_gripper"][0, 0] ^= 1
    np.savez(path, **arrays)
    with pytest.raises(ValueError, match=r"must hold the pictures as they were, but \['gripper'\] differ; delete it"):
        convert(source, tmp_path / "c", to="calvin")
    arrays["rel_actions"][0] += 0.1
    np.savez(path, **arrays)
    with pytest.raises(ValueError, match="must hold episode 0 of the source as its episode 0"):
        convert(source, tmp_path / "c", to="calvin")


def test_damaged_episodes_of_the_source_are_counted(tmp_path: Path, caplog: pytest.LogCaptureFixture) -> None:
    source = lerobot_v2.make(tmp_path)
    path = source / "data/chunk-000/episode_000001.parquet"
    path.write_bytes(path.read_bytes()[:100])
    done = convert(source, tmp_path / "c", storage=PNG)
    assert (done.episodes, done.damaged_episodes) == (2, 1)
    assert path.name in caplog.text
    assert detect(tmp_path / "c").name == "lerobot"
    assert [len(episode) for episode in load_episodes(tmp_path / "c")] == [5, 3]


def test_folders_that_hold_something_else_are_left_alone(tmp_path: Path) -> None:
    source = lerobot_v2.make(tmp_path)
    with pytest.raises(ValueError, match="must lie outside of"):
        convert(source, source / "inside")
    (tmp_path / "full").mkdir()
    (tmp_path / "full/thesis.txt").write_text("x")
    for to in ("lerobot", "calvin"):
        with pytest.raises(ValueError, match=r"must not exist or be empty|must agree"):
            convert(source, tmp_path / "full", to=to)  # type: ignore[arg-type]
    assert [path.name for path in (tmp_path / "full").iterdir()] == ["thesis.txt"]


def test_a_full_disk_is_named(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    def full(*args: Any, **arrays: Any) -> None:
        raise OSError(errno.ENOSPC, "No space left on device")

    source = calvin.make(tmp_path)
    with monkeypatch.context() as patch:
        patch.setattr(calvin_write.np, "savez_compressed", full)
        with pytest.raises(OSError, match=r"c cannot be written: .*No space left.*; make room, and the same command"):
            convert(source, tmp_path / "c", to="calvin")
    assert convert(source, tmp_path / "c", to="calvin").episodes == 2


def test_the_answer_is_json(tmp_path: Path) -> None:
    write_toy(tmp_path / "d", (2, 2), PNG)
    json.dumps(dataclasses.asdict(convert(tmp_path / "d", tmp_path / "video")))
