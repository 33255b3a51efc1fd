from __future__ import annotations

import dataclasses
import json
from pathlib import Path

import numpy as np
import pytest
import torch

from tests.data.conftest import write_toy
from tests.toy import SPEC
from volition.backbones.images import normalise
from volition.data.codecs import PackConfig
from volition.data.files import read_json
from volition.data.lerobot import load_lerobot
from volition.data.lerobot_stage import LeRobotConfig
from volition.data.windows import Windows
from volition.studies.data_bench import (
    READY,
    BenchConfig,
    bench,
    excerpt,
    one_by_one,
    read_frames,
    readers,
    take_turns,
    waiting,
    whole_windows,
    write_frames,
)
from volition.studies.data_commands import data

SHORT = BenchConfig(num_obs_steps=2, action_horizon=3, frames=20, windows=2, rounds=1)


@pytest.fixture
def root(tmp_path: Path) -> Path:
    write_toy(tmp_path / "d", (4, 9, 30), LeRobotConfig(images="png"))
    return tmp_path / "d"


def test_it_measures_every_side_and_says_what_of(root: Path) -> None:
    found = bench(root, SHORT)
    assert json.loads(json.dumps(found)) == found
    for name in ("cache_over_npz", "cache_over_npz_model_ready", "cache_over_npz_used_frames"):
        assert found[name] > 0
    speeds = found["windows_per_second_of"]
    assert found["windows_per_second"] == speeds["cache"]
    assert found["cache_over_lerobot_video"] == pytest.approx(speeds["cache"] / speeds["lerobot_video"])
    assert found["frames"] == 20, "the first episode is too short for a window, the last is cut"
    assert found["bytes"]["raw"] == 20 * 28 * 28 * 3
    assert found["share_of_raw"]["npz"] == found["bytes"]["npz"] / found["bytes"]["raw"]
    assert found["psnr"]["cache"] == {"base": None}
    assert 30 < found["psnr"]["lerobot_video"]["base"] < 60


def test_a_lossy_cache_states_its_psnr(root: Path) -> None:
    found = bench(root, dataclasses.replace(SHORT, frames=9, pictures=PackConfig(encoding="jpeg")))
    assert found["pictures"] == "jpeg90"
    assert 30 < found["psnr"]["cache"]["base"] < 70


def test_a_dataset_of_short_episodes_is_refused(root: Path) -> None:
    with pytest.raises(ValueError, match="needs an episode of at least 40 frames"):
        bench(root, BenchConfig(num_obs_steps=10, action_horizon=30))


def test_frames_are_read_back_as_they_were_written(root: Path, tmp_path: Path) -> None:
    episodes = excerpt(load_lerobot(root), SHORT, SPEC)
    write_frames(tmp_path / "npz", episodes)
    with np.load(tmp_path / "npz/episode_0000003.npz") as file:
        assert {"rgb_base", "depth_base", "rel_actions", "actions", "robot_obs", "scene_obs"} < set(file)
    found = read_frames(tmp_path / "npz", 3, 4, ["rgb_base", "rel_actions"])
    np.testing.assert_array_equal(found["rgb_base"], episodes[0].frames["base"][3:7])
    np.testing.assert_allclose(found["rel_actions"], episodes[0].all_actions[3:7])


def test_all_sides_read_the_same_windows(root: Path, tmp_path: Path) -> None:
    episodes = excerpt(load_lerobot(root), SHORT, SPEC)
    write_frames(tmp_path / "npz", episodes)
    windows = Windows(episodes, num_obs_steps=2, action_horizon=3)
    read = readers(windows, windows, tmp_path / "npz", ["base"], SHORT)
    numbers = whole_windows(windows, SHORT)
    assert numbers.tolist() == [*range(1, 6), *range(10, 17)]
    for i in numbers.tolist():
        sample, frames = windows.sample(i), read["npz"](i)
        assert isinstance(frames, dict)
        assert sample.mask.all()
        np.testing.assert_array_equal(sample.observation.images["base"], frames["rgb_base"][:2])
        np.testing.assert_allclose(sample.actions[-1], frames["rel_actions"][1:4])
        assert len(frames["rgb_base"]) == 5


def test_both_sides_make_the_same_tensors() -> None:
    pictures = np.random.default_rng(0).integers(0, 256, (2, 60, 60, 3), np.uint8)
    apart = (normalise(torch.from_numpy(pictures), READY) - one_by_one(pictures)).abs().max()
    assert apart * 127.5 < 2.01, "levels of 256"


def test_sides_take_turns_over_the_same_windows() -> None:
    seen: list[tuple[str, int]] = []
    sides = {name: (lambda i, name=name: seen.append((name, i))) for name in ("a", "b")}
    found = take_turns(sides, np.arange(50), BenchConfig(windows=3, rounds=2), lambda phase, share, text: None)
    assert found.keys() == sides.keys()
    assert [name for name, _ in seen] == ["a"] * 3 + ["b"] * 3 + ["a"] * 3 + ["b"] * 3 + ["a"] * 3 + ["b"] * 3
    assert [i for name, i in seen if name == "a"] == [i for name, i in seen if name == "b"]
    assert seen[:3] != [("a", i) for _, i in seen[6:9]]


def test_a_step_hides_what_it_takes_to_read_a_batch() -> None:
    assert waiting(2.0, 3.0) == 0
    assert waiting(2.0, 1.5) == 0.25


def test_the_command_writes_it_and_says_who_waits(
    root: Path, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    size = ["--frames", "20", "--rounds", "1"]
    data(["bench", str(root), *size, "--step-seconds", "1e-6", "--json", str(tmp_path / "bench.json")])
    found = read_json(tmp_path / "bench.json")
    assert found["waiting"].keys() == {"cache", "npz", "lerobot_video"}
    assert all(0.5 < share < 1 for share in found["waiting"].values())
    assert "times as fast" in capsys.readouterr().out
