"""What every dataset format must do: whoever opens a folder sees the same kind of episodes."""

from __future__ import annotations

import dataclasses
import json
import pickle
from collections.abc import Sequence
from pathlib import Path

import numpy as np
import pytest

from tests.data.formats import MAKERS
from tests.fuzz_formats import files_of, fuzz, read_all, replace
from volition.contract import RobotSpec
from volition.data.convert import convert
from volition.data.info import info
from volition.data.lerobot_stage import LeRobotConfig
from volition.data.open import FORMATS, detect, load_cached, load_episodes, load_spec
from volition.data.windows import Windows
from volition.records import Episode

Dataset = tuple[Path, Sequence[Episode], RobotSpec]


def test_every_format_is_tested() -> None:
    assert {name.partition("/")[0] for name in MAKERS} == {format.name for format in FORMATS}


@pytest.fixture(scope="module", params=MAKERS)
def dataset(request: pytest.FixtureRequest, tmp_path_factory: pytest.TempPathFactory) -> Dataset:
    root = MAKERS[request.param](tmp_path_factory.mktemp("made"))
    assert detect(root).name == request.param.partition("/")[0]
    return root, load_episodes(root), load_spec(root)


def test_episodes_hold_what_the_spec_says(dataset: Dataset) -> None:
    _, episodes, spec = dataset
    assert len(episodes) >= 2
    for episode in episodes:
        assert isinstance(episode, Episode)
        assert len(episode) >= 1
        assert all(sentence and isinstance(sentence, str) for sentence in episode.instructions)
        assert episode.instructions
        steps = np.arange(len(episode))
        images = episode.images(steps)
        assert {name: x.shape[1:] for name, x in images.items()} == {
            c.name: (c.height, c.width, 3) for c in spec.cameras
        }
        assert {(x.dtype, len(x)) for x in images.values()} <= {(np.dtype(np.uint8), len(episode))}
        for values, width in (
            (episode.states(steps), len(spec.state)),
            (episode.actions(steps), spec.action_space.dim),
        ):
            assert values.shape == (len(episode), width)
            assert values.dtype == np.float32
            assert np.isfinite(values).all()


def test_frames_come_in_the_order_asked_for(dataset: Dataset) -> None:
    _, episodes, _ = dataset
    episode = max(episodes, key=len)
    last = len(episode) - 1
    assert last >= 2
    steps = np.array([last, 0, last, 1])
    for read in (episode.states, episode.actions):
        assert np.array_equal(read(steps), read(np.arange(last + 1))[steps])
    every = episode.images(np.arange(last + 1))
    for name, found in episode.images(steps).items():
        assert np.array_equal(found, every[name][steps])
    different = [not np.array_equal(x[0], x[last]) for x in every.values()]
    assert any(different), "the sample of this format must have pictures that differ"


def test_episodes_travel_to_workers(dataset: Dataset) -> None:
    _, episodes, _ = dataset
    copy = pickle.loads(pickle.dumps(episodes[0]))
    steps = np.arange(len(copy))
    assert np.array_equal(copy.actions(steps), episodes[0].actions(steps))


def test_the_cache_changes_nothing(dataset: Dataset, tmp_path: Path) -> None:
    root, episodes, _ = dataset
    for made, original in zip(load_cached(root, folder=tmp_path), episodes, strict=True):
        steps = np.arange(len(original))
        assert (made.task, made.instructions, len(made)) == (original.task, original.instructions, len(original))
        assert np.array_equal(made.actions(steps), original.actions(steps))
        for name, x in original.images(steps).items():
            assert np.array_equal(made.images(steps)[name], x)


def test_windows_and_summary(dataset: Dataset) -> None:
    root, episodes, spec = dataset
    windows = Windows(episodes, num_obs_steps=2, action_horizon=3)
    sample = windows.sample(len(windows) - 1)
    assert sample.actions.shape == (2, 3, spec.action_space.dim)
    summary = info(root)
    json.dumps(summary)
    assert (summary["format"], summary["episodes"]) == (detect(root).name, len(episodes))


def test_it_becomes_lerobot(dataset: Dataset, tmp_path: Path) -> None:
    root, episodes, spec = dataset
    if spec.control_hz % 1:
        with pytest.raises(ValueError, match="a whole number of frames a second"):
            convert(root, tmp_path / "d", to="lerobot")
        return
    done = convert(root, tmp_path / "d", to="lerobot", storage=LeRobotConfig(images="png"))
    assert (done.episodes, done.damaged_episodes, done.left_out, done.psnr) == (len(episodes), 0, (), {})
    assert load_spec(tmp_path / "d") == spec


Content = tuple[object, ...]


def _content(episode: Episode) -> Content:
    steps = np.arange(len(episode))
    pictures = ((name, x.tobytes()) for name, x in sorted(episode.images(steps).items()))
    numbers = (episode.states(steps).tobytes(), episode.actions(steps).tobytes())
    return (episode.task, episode.instructions, *numbers, *pictures)


def _first_and_last_of_each_kind(files: list[Path]) -> list[Path]:
    kinds: dict[tuple[Path, str], list[Path]] = {}
    for path in files:
        kinds.setdefault((path.parent, path.suffix), []).append(path)
    return sorted({path for found in kinds.values() for path in (found[0], found[-1])})


def _without_ranges(spec: RobotSpec) -> RobotSpec:
    """Where a format has no statistics, the range of an action is that of the episodes which can be read."""
    return dataclasses.replace(spec, action_space=spec.action_space.scaled())


@pytest.mark.parametrize("damage", ["cut", "emptied", "noise"])
@pytest.mark.parametrize("name", MAKERS)
def test_a_damaged_file_is_an_error_or_a_loss_that_is_told(
    name: str, damage: str, tmp_path: Path, caplog: pytest.LogCaptureFixture
) -> None:
    (tmp_path / "made").mkdir()
    root, caches = MAKERS[name](tmp_path / "made"), tmp_path / "caches"
    whole, spec = [_content(episode) for episode in read_all(root, caches)[1]], load_spec(root)
    for path in _first_and_last_of_each_kind(files_of(root)):
        content = path.read_bytes()
        spoiled = {"cut": content[: len(content) // 2], "emptied": b"", "noise": np.random.default_rng(0).bytes(999)}
        replace(path, spoiled[damage])
        caplog.clear()
        end, episodes = read_all(root, caches)
        if end != "error":  # what is still read is as it was, and what is not is told
            assert [_content(episode) for episode in episodes if _content(episode) not in whole] == []
            assert _without_ranges(load_spec(root)) == _without_ranges(spec)
            assert len(episodes) == len(whole) or path.name in caplog.text
        replace(path, content)
    assert [_content(episode) for episode in read_all(root, caches)[1]] == whole


@pytest.mark.parametrize("name", MAKERS)
def test_mutated_files_crash_no_reader(name: str) -> None:
    assert fuzz(name, 20).total() == 20
