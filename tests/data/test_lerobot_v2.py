from __future__ import annotations

import json
from collections.abc import Callable
from pathlib import Path

import numpy as np
import pytest

from tests.data.conftest import toy_episode
from tests.data.formats.lerobot_v2 import LENGTHS, make, make_old
from volition.contract import Camera
from volition.data.lerobot_v2 import load_lerobot_v2
from volition.data.open import detect, load_cached, load_episodes, load_spec
from volition.data.spec import UNKNOWN

Maker = Callable[[Path], Path]
BOTH = pytest.mark.parametrize("make_it", [make, make_old], ids=["v2.1-images", "v2.0-video"])


@BOTH
def test_what_others_wrote_is_read(tmp_path: Path, make_it: Maker) -> None:
    root = make_it(tmp_path)
    assert detect(root).name == "lerobot_v2"
    episodes = load_episodes(root)
    assert [len(episode) for episode in episodes] == list(LENGTHS)
    for number, episode in enumerate(episodes):
        original, steps = toy_episode(number, len(episode)), np.arange(len(episode))[::-1]
        assert episode.instructions == (f"sentence {number}",)
        np.testing.assert_array_equal(episode.states(steps), original.states[steps])
        np.testing.assert_array_equal(episode.actions(steps), original.actions[steps])
        error = np.abs(episode.images(steps)["base"].astype(int) - original.images["base"][steps]).max()
        assert error == 0 if make_it is make else error < 16


@BOTH
def test_the_spec_is_that_of_either_versions_metadata(tmp_path: Path, make_it: Maker) -> None:
    spec = load_spec(make_it(tmp_path))
    assert spec.cameras == (Camera(name="base", height=28, width=28),)
    assert (spec.state, spec.control_hz) == (("x", "y"), 10.0)
    actions = np.concatenate([toy_episode(number, length).actions for number, length in enumerate(LENGTHS)])
    for i, dimension in enumerate(spec.action_space.dimensions):
        assert dimension.unit == UNKNOWN
        assert dimension.low == pytest.approx(actions[:, i].min())
        assert dimension.high == pytest.approx(actions[:, i].max())


@BOTH
def test_the_cache_holds_the_same_pictures(tmp_path: Path, make_it: Maker) -> None:
    root = make_it(tmp_path)
    for made, original in zip(load_cached(root), load_lerobot_v2(root), strict=True):
        steps = np.arange(len(original))
        np.testing.assert_array_equal(made.images(steps)["base"], original.images(steps)["base"])


@pytest.mark.parametrize("version", ["v1.6", "v2.2", "v4.0", "3"])
def test_an_unknown_version_is_refused_with_what_is_known(tmp_path: Path, version: str) -> None:
    root = make(tmp_path)
    path = root / "meta/info.json"
    path.write_text(path.read_text().replace('"v2.1"', f'"{version}"'))
    with pytest.raises(
        ValueError, match=rf"info\.json must say codebase_version v3\.x, v2\.0 or v2\.1, .* '{version}'"
    ):
        load_episodes(root)


@pytest.mark.parametrize(
    ("old", "new", "message"),
    [
        ('"length": 2', '"length": 0', r"episodes\.jsonl must list the 3 episodes"),
        ('"length": 2', '"length": 3', r"episodes\.jsonl must list the 3 episodes .* 10 frames"),
        ('"episode_index": 1', '"episode_index": 2', r"episodes\.jsonl must list the 3 episodes"),
        ('"tasks": ["sentence 1"], ', "", r"episodes\.jsonl must list the 3 episodes .*KeyError\('tasks'\)"),
    ],
)
def test_a_list_of_episodes_that_makes_no_sense_is_named(tmp_path: Path, old: str, new: str, message: str) -> None:
    root = make(tmp_path)
    path = root / "meta/episodes.jsonl"
    assert old in path.read_text()
    path.write_text(path.read_text().replace(old, new))
    with pytest.raises(ValueError, match=message):
        load_episodes(root)


def test_an_episode_without_words_has_an_empty_instruction(tmp_path: Path) -> None:
    root = make(tmp_path)
    path = root / "meta/episodes.jsonl"
    path.write_text(path.read_text().replace('["sentence 1"]', "[]"))
    assert load_episodes(root)[1].instructions == ("",)


def test_a_data_file_of_another_length_is_named(tmp_path: Path) -> None:
    root = make(tmp_path)
    (root / "data/chunk-000/episode_000001.parquet").write_bytes(
        (root / "data/chunk-000/episode_000000.parquet").read_bytes()
    )
    with pytest.raises(ValueError, match=r"episode_000001\.parquet must hold frames 5\.\.6 .* but holds 0\.\.4"):
        load_episodes(root)[1].actions(np.array([0]))


def test_images_need_no_video_path(tmp_path: Path) -> None:
    root = make(tmp_path)
    info = json.loads((root / "meta/info.json").read_text())
    (root / "meta/info.json").write_text(json.dumps(info | {"video_path": None}))
    assert load_episodes(root)[0].images(np.array([0]))["base"].shape == (1, 28, 28, 3)
