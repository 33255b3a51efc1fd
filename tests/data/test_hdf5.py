from __future__ import annotations

import json
import logging
import multiprocessing
import os
import pickle
import shutil
import sys
from collections.abc import Callable
from dataclasses import replace
from pathlib import Path
from typing import Any

import numpy as np
import pytest

from tests.data.formats import aloha, mobile, robomimic
from volition.data.hdf5 import Hdf5Episode, load_hdf5, load_spec
from volition.data.hdf5_files import MAX_OPEN, Hdf5Files
from volition.data.hdf5_layouts import LIBERO, MOBILE, Hdf5Layout, read_layout
from volition.data.info import info
from volition.data.open import detect, load_cached, load_episodes

h5py = pytest.importorskip("h5py", reason="HDF5 needs h5py: pip install 'volition[hdf5]'")


def change(path: Path, edit: Callable[[Any], None]) -> None:
    with h5py.File(path, "r+") as file:
        edit(file)


def test_robomimic_is_read_as_it_was_written(tmp_path: Path) -> None:
    path = robomimic.make(tmp_path)
    episodes = load_hdf5(path)
    assert [(e.facts.group, len(e)) for e in episodes] == [
        ("/data/demo_0", 4),
        ("/data/demo_2", 3),
        ("/data/demo_10", 2),
    ]
    assert {e.task for e in episodes} == {"Lift"}
    steps = np.array([2, 0, 2])
    images = episodes[1].images(steps)
    np.testing.assert_array_equal(images["agentview_image"], robomimic.frames(10, 3)[steps])
    np.testing.assert_array_equal(images["robot0_eye_in_hand_image"], robomimic.frames(11, 3)[steps])
    np.testing.assert_array_equal(episodes[1].actions(steps), robomimic.motion(1, 3).astype(np.float32)[steps])
    spec = load_spec(path)
    assert spec.state == (
        *(f"robot0_eef_pos_{i}" for i in range(3)),
        *(f"robot0_eef_quat_{i}" for i in range(4)),
        *(f"robot0_gripper_qpos_{i}" for i in range(2)),
    )
    with h5py.File(path) as file:
        stored = [file[f"data/demo_2/obs/{name}"][()] for name in ("robot0_eef_pos", "robot0_eef_quat")]
    np.testing.assert_array_equal(episodes[1].states(steps)[:, :7], np.hstack(stored).astype(np.float32)[steps])
    assert spec.control_hz == 20
    assert {dimension.unit for dimension in spec.action_space.dimensions} == {"unknown"}
    assert spec.action_space.dimensions[6].low == -1


def test_libero_says_what_to_do_in_the_file_or_in_its_name(tmp_path: Path) -> None:
    path = robomimic.make_libero(tmp_path)
    episodes = load_hdf5(path)
    assert [e.instructions for e in episodes] == [("turn on the stove",)] * 3 + [(robomimic.SENTENCE,)] * 3
    assert episodes[0].task == "turn on the stove"
    space = load_spec(path).action_space
    assert [(d.name, d.unit, d.kind) for d in space.dimensions[2:4]] == [
        ("z", "0.05 m", "continuous"),
        ("rx", "0.5 rad", "continuous"),
    ]
    assert space.binary == (6,)
    assert (space.rotation, space.relative) == ("axis_angle", True)


def test_a_binary_dimension_with_other_values_is_said_to_be_none(tmp_path: Path, caplog: Any) -> None:
    path = robomimic.make_libero(tmp_path)

    def half_open(file: Any) -> None:
        file["data/demo_0/actions"][1, 6] = 0.5

    change(path / "KITCHEN_SCENE3_turn_on_the_stove_demo.hdf5", half_open)
    assert load_spec(path).action_space.binary == ()
    assert "'gripper' is binary by its layout" in caplog.text


@pytest.mark.parametrize(
    ("turn", "channels", "view"),
    [
        ("none", "rgb", np.s_[:, :, :, :]),
        ("flip_rows", "rgb", np.s_[:, ::-1]),
        ("rotate_180", "rgb", np.s_[:, ::-1, ::-1]),
        ("none", "bgr", np.s_[:, :, :, ::-1]),
    ],
)
def test_pictures_are_turned_only_when_told(tmp_path: Path, turn: str, channels: str, view: Any) -> None:
    path = robomimic.make_libero(tmp_path)
    images = load_hdf5(path, replace(LIBERO, turn=turn, channels=channels))[0].images(np.arange(4))
    np.testing.assert_array_equal(images["agentview_rgb"], robomimic.frames(0, 4)[view])
    np.testing.assert_array_equal(images["eye_in_hand_rgb"], robomimic.frames(1, 4)[view])


def test_what_is_known_of_the_pictures_is_said_until_it_is_decided(tmp_path: Path, caplog: Any) -> None:
    path = robomimic.make_libero(tmp_path)
    caplog.set_level(logging.INFO)
    load_hdf5(path)
    assert "LIBERO stores pictures upside down" in caplog.text
    caplog.clear()
    (path / "hdf5.json").write_text('{"turn": "rotate_180"}')
    np.testing.assert_array_equal(
        load_hdf5(path)[0].images(np.arange(4))["agentview_rgb"], robomimic.frames(0, 4)[:, ::-1, ::-1]
    )
    assert not caplog.text


def test_options_make_another_cache(tmp_path: Path) -> None:
    """A picture that was cached before it was turned must not be used after."""
    path = robomimic.make_libero(tmp_path)
    load_cached(path)
    (path / "hdf5.json").write_text('{"turn": "flip_rows"}')
    (episode, *_) = load_cached(path)
    np.testing.assert_array_equal(episode.images(np.arange(4))["agentview_rgb"], robomimic.frames(0, 4)[:, ::-1])


def test_aloha_holds_joints_and_padded_jpegs(tmp_path: Path) -> None:
    path = aloha.make(tmp_path)
    episodes = load_hdf5(path)
    assert [len(e) for e in episodes] == [3, 4, 2]
    assert {e.instructions for e in episodes} == {("transfer the cube",)}
    images = episodes[1].images(np.array([3, 1]))
    np.testing.assert_array_equal(images["cam_high"], aloha.frames(1, 4)[[3, 1]])
    difference = images["cam_left_wrist"].astype(int) - aloha.frames(51, 4)[[3, 1]]
    assert abs(difference).mean() < 30  # noise, encoded at quality 95
    spec = load_spec(path)
    assert (spec.state[0], spec.state[13], spec.control_hz) == ("left_waist", "right_gripper", 50)
    assert [d.unit for d in spec.action_space.dimensions[5:8]] == ["rad", "0 closed, 1 open", "rad"]


def test_mobile_holds_velocities_taken_at_events(tmp_path: Path, caplog: Any) -> None:
    path = mobile.make(tmp_path)
    episodes = load_hdf5(path)
    assert [(e.task, e.instructions) for e in episodes] == [
        ("1box_vert_left", (mobile.SENTENCES[0],)),
        ("1box_vert_right", (mobile.SENTENCES[1],)),
    ]
    assert episodes[0].states(np.arange(5)).shape == (5, 0)
    np.testing.assert_array_equal(episodes[1].images(np.arange(4))["images"], mobile.frames(1, 4, mobile.SIZE))
    spec = load_spec(path)
    assert [(d.name, d.unit) for d in spec.action_space.dimensions] == [
        ("linear_x", "m/s"),
        ("linear_y", "m/s"),
        ("angular_z", "rad/s"),
    ]
    assert spec.action_space.dimensions[0].high == pytest.approx(1.15)
    assert spec.control_hz == pytest.approx(1 / 1.5)
    del episodes  # they hold the files open

    def slower(file: Any) -> None:
        file.attrs["total_duration"] = 15.0

    change(next(path.iterdir()), slower)
    assert load_spec(path).control_hz < 1 / 1.5
    mobile.write_episode(path / "episode_20250809_000000.h5", 7, 3, "")
    last = load_hdf5(path)[-1]
    assert (last.task, last.instructions) == ("", ("",))
    assert "1 episodes have no instruction" in caplog.text


OWN = {
    "name": "mine",
    "signs": ["run"],
    "episodes": "run/*",
    "actions": "command",
    "images": ["eye"],
    "states": ["pose*"],
    "control_hz": 7,
    "dimensions": [{"name": "v", "unit": "m/s"}, {"name": "w", "unit": "rad/s", "low": -3.0, "high": 3.0}],
    "words": "drive on",
}


def test_a_layout_of_ones_own_is_a_record_or_a_file_beside_the_data(tmp_path: Path) -> None:
    path = tmp_path / "mine.h5"
    with h5py.File(path, "w") as file:
        for run in ("run/a", "run/b"):
            file[f"{run}/command"] = np.zeros((3, 2))
            file[f"{run}/pose_left"], file[f"{run}/pose_right"] = np.ones(3), np.zeros((3, 2))
            file[f"{run}/eye"] = robomimic.frames(1, 3)
    with pytest.raises(
        ValueError, match=r"mine\.h5: it shows the signs of no layout .*holds run; describe it in .*json"
    ):
        load_hdf5(path)
    (tmp_path / "mine.h5.json").write_text('{"layout": "mine"}')
    with pytest.raises(ValueError, match=r"mine\.h5\.json must hold fields .*layout must be one of libero"):
        load_hdf5(path)
    (tmp_path / "mine.h5.json").write_text(json.dumps(OWN))
    episodes, spec = load_episodes(path), load_spec(path)
    assert [(len(e), e.task, e.instructions) for e in episodes] == [(3, "drive on", ("drive on",))] * 2
    assert (spec.state, spec.control_hz) == (("pose_left_0", "pose_right_0", "pose_right_1"), 7)
    assert (spec.action_space.dimensions[1].name, spec.action_space.dimensions[1].high) == ("w", 3.0)
    record = Hdf5Layout(
        name="mine", signs=("run",), episodes="run/*", actions="command", images=("eye",), control_hz=7.0
    )
    assert [e.instructions for e in load_hdf5(path, record)] == [("",)] * 2


@pytest.mark.parametrize(
    ("text", "message"),
    [
        ("{", r"hdf5\.json must be JSON"),
        ('{"turns": "none"}', r"hdf5\.json must hold fields .*no field 'turns', but there are layout, name"),
        ('{"turn": "left"}', "turn must be one of none, flip_rows, rotate_180, got 'left'"),
        ('{"layout": "bridge"}', "layout must be one of libero, robomimic, aloha, mobile, got 'bridge'"),
        ('{"states": "obs/x"}', "states must be a list of texts, got 'obs/x'"),
        ('{"control_hz": "fast"}', "control_hz must be float"),
        ('{"control_hz": 0}', "control_hz must be above 0"),
        ('{"task_holds": "abc"}', "need a group in round brackets"),
        ('{"dimensions": [{"name": "x"}]}', r"hdf5\.json must hold fields"),
        ('["turn"]', r"hdf5\.json must hold fields"),
    ],
)
def test_options_that_make_no_sense_are_named(tmp_path: Path, text: str, message: str) -> None:
    (tmp_path / "hdf5.json").write_text(text)
    with pytest.raises(ValueError, match=message):
        read_layout(tmp_path / "hdf5.json", MOBILE)


def test_a_single_file_opens_like_a_folder(tmp_path: Path) -> None:
    path = robomimic.make(tmp_path)
    assert detect(path).name == "hdf5"
    made = load_cached(path)
    assert (path.parent / ".volition/image.hdf5/frames/frames.json").is_file()
    for cached, original in zip(load_episodes(path), load_hdf5(path), strict=True):
        steps = np.arange(len(original))
        for name, frames in original.images(steps).items():
            np.testing.assert_array_equal(cached.images(steps)[name], frames)
    assert len(made) == 3
    summary = info(path)
    assert (summary["format"], summary["episodes"]) == ("hdf5", 3)
    assert summary["bytes"] >= path.stat().st_size
    with pytest.raises(ValueError, match=r"must hold meta/info\.json"):
        detect(Path(__file__))


def _read_in_child(episode: Hdf5Episode, pipe: Any) -> None:
    pipe.send(episode.actions(np.arange(len(episode))))


@pytest.mark.parametrize("method", ["fork", "spawn"])
def test_open_files_survive_other_processes(tmp_path: Path, method: str) -> None:
    episode = load_hdf5(aloha.make(tmp_path))[0]
    expected = episode.actions(np.arange(3))  # the file is open now
    context = multiprocessing.get_context(method)
    ours, theirs = context.Pipe()
    process = context.Process(target=_read_in_child, args=(episode, theirs))
    process.start()
    assert ours.poll(60)
    np.testing.assert_array_equal(ours.recv(), expected)
    process.join()
    np.testing.assert_array_equal(episode.actions(np.arange(3)), expected)
    assert len(pickle.dumps(episode)) < 10_000


def test_only_so_many_files_are_open(tmp_path: Path) -> None:
    path = mobile.make(tmp_path)
    first = next(path.iterdir())
    copies = [Path(shutil.copy(first, tmp_path / f"{number}.h5")) for number in range(MAX_OPEN + 9)]
    files = Hdf5Files()
    before = len(os.listdir("/proc/self/fd")) if sys.platform == "linux" else 0
    for copy in copies + copies[:2]:
        assert len(files.open(copy)["actions"]) == len(files.open(first)["actions"])
    if sys.platform == "linux":
        assert len(os.listdir("/proc/self/fd")) - before <= MAX_OPEN
