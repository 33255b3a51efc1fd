from __future__ import annotations

import os
import pickle
import shutil
from collections.abc import Callable
from pathlib import Path
from typing import Any

import numpy as np
import pytest

from tests.data.formats.calvin import annotations, frame, make
from volition.data.calvin import ANNOTATIONS, SPEC, CalvinEpisode, load_calvin, read_pickled_array
from volition.data.info import info
from volition.data.open import detect, load_cached, load_episodes, load_spec
from volition.data.windows import Windows
from volition.records import Episode


@pytest.fixture
def split(tmp_path: Path) -> Path:
    return make(tmp_path)


def test_segments_are_read_inclusively(split: Path) -> None:
    episodes = load_calvin(split)
    assert [(e.task, e.instructions, len(e)) for e in episodes] == [
        ("open_drawer", ("open it",), 4),
        ("lift_red_block_table", ("lift the block",), 1),
    ]
    assert isinstance(episodes[0], Episode)
    last = frame(6)
    np.testing.assert_array_equal(episodes[0].images(np.array([3]))["static"][0], last["rgb_static"])
    np.testing.assert_array_equal(episodes[0].images(np.array([3]))["gripper"][0], last["rgb_gripper"])
    np.testing.assert_array_equal(episodes[0].actions(np.array([3]))[0], last["rel_actions"].astype(np.float32))
    np.testing.assert_array_equal(episodes[0].states(np.array([3, 0]))[0], last["robot_obs"].astype(np.float32))


def test_the_cache_holds_the_numbers_too(split: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """One file a frame is slow to read: a real split would take minutes at every start."""
    original = load_calvin(split)[0].actions(np.arange(4))
    load_cached(split, folder=tmp_path)
    monkeypatch.delattr(CalvinEpisode, "_frame")
    np.testing.assert_array_equal(load_cached(split, folder=tmp_path)[0].actions(np.arange(4)), original)


def test_it_opens_like_any_dataset(split: Path, tmp_path: Path) -> None:
    assert detect(split).name == "calvin"
    assert load_spec(split) == SPEC
    episodes = load_cached(split, folder=tmp_path / "cache")
    original = load_episodes(split)
    np.testing.assert_array_equal(
        episodes[0].images(np.arange(4))["static"], original[0].images(np.arange(4))["static"]
    )
    summary = info(split)
    assert (summary["format"], summary["episodes"], summary["frames"], summary["fps"]) == ("calvin", 2, 5, 30.0)
    with pytest.raises(ValueError, match=r"one inside, 'training' \(calvin\)"):
        detect(tmp_path)


class _Hostile:
    """Unpickled the usual way, this would run a command."""

    def __init__(self, path: Path) -> None:
        self.path = path

    def __reduce__(self) -> tuple[Callable[[str], int], tuple[str]]:
        return os.system, (f"touch {self.path}",)


def test_a_hostile_pickle_runs_nothing(split: Path, tmp_path: Path) -> None:
    path, sign = split / "lang_annotations/auto_lang_ann.npy", tmp_path / "it-ran"
    np.save(path, annotations(ann=["open it", _Hostile(sign)]))  # type: ignore[arg-type]
    with pytest.raises(ValueError, match=r"auto_lang_ann\.npy must hold plain arrays .*asks for (posix|nt)\.system"):
        load_calvin(split)
    assert not sign.exists()
    np.load(path, allow_pickle=True)
    assert sign.exists()  # the file was indeed dangerous


@pytest.mark.parametrize(
    "name", ["builtins.eval", "builtins.getattr", "numpy.load", "functools.partial", "numpy.f2py.main"]
)
def test_nothing_but_arrays_and_values_is_admitted(tmp_path: Path, name: str) -> None:
    module, _, function = name.rpartition(".")
    np.save(tmp_path / "a.npy", np.array([None], dtype=object))
    header = (tmp_path / "a.npy").read_bytes().split(b"\n", 1)[0] + b"\n"
    (tmp_path / "a.npy").write_bytes(header + f"c{module}\n{function}\n.".encode())
    with pytest.raises(ValueError, match=f"asks for {name}"):
        read_pickled_array(tmp_path / "a.npy")


@pytest.mark.parametrize("protocol", [0, 2, 4, 5])
def test_arrays_of_any_protocol_are_admitted(tmp_path: Path, protocol: int) -> None:
    tree = {
        "a": np.arange(6.0).reshape(2, 3),
        "s": np.float32(2.5),
        "t": np.array(["x", "yz"]),
        "n": [1, None, "b", b"c"],
    }
    np.save(tmp_path / "a.npy", np.array([None], dtype=object))
    header = (tmp_path / "a.npy").read_bytes().split(b"\n", 1)[0] + b"\n"
    (tmp_path / "a.npy").write_bytes(header + pickle.dumps(tree, protocol=protocol))
    found = read_pickled_array(tmp_path / "a.npy")
    np.testing.assert_array_equal(found["a"], tree["a"])
    assert found["t"].tolist() == ["x", "yz"]
    assert (found["s"], found["n"]) == (tree["s"], tree["n"])


@pytest.mark.parametrize(
    ("damage", "message"),
    [
        (lambda path: path.unlink(), r"episode_0000005\.npz must exist: frame 2 of segment 3\.\.6"),
        (lambda path: path.write_bytes(path.read_bytes()[:5000]), r"episode_0000005\.npz must be a frame"),
        (lambda path: path.write_bytes(b""), r"episode_0000005\.npz must be a frame"),
        (lambda path: np.savez(path, **{**frame(5), "robot_obs": np.zeros(3)}), r"robot_obs must have shape \[15\]"),
        (lambda path: np.savez(path, rgb_static=np.zeros(3)), r"episode_0000005\.npz"),
    ],
)
def test_a_missing_or_damaged_frame_is_named(split: Path, damage: Callable[[Path], None], message: str) -> None:
    damage(split / "episode_0000005.npz")
    episode = load_calvin(split)[0]
    episode.states(np.array([0, 1, 3]))
    with pytest.raises((ValueError, FileNotFoundError), match=message):
        episode.states(np.arange(4))


@pytest.mark.parametrize(
    ("tree", "message"),
    [
        ({"language": {}}, "must hold language.ann"),
        (annotations(ann=["one"]), "it holds 1, 2 and 2"),
        (
            {**annotations(), "info": {"indx": [(3, 2), (9, 8)]}},
            r"at least one segment.*\(9, 8\) of .* must have a frame",
        ),
        ({**annotations(), "info": {"indx": [3, 6]}}, "must hold language.ann"),
    ],
)
def test_annotations_that_make_no_sense_are_refused(split: Path, tree: dict[str, Any], message: str) -> None:
    np.save(split / "lang_annotations/auto_lang_ann.npy", tree)  # type: ignore[arg-type]
    with pytest.raises(ValueError, match=message):
        load_calvin(split)


def test_missing_or_cut_annotations_are_named(split: Path) -> None:
    path = split / "lang_annotations/auto_lang_ann.npy"
    path.write_bytes(path.read_bytes()[:200])
    with pytest.raises(ValueError, match=r"auto_lang_ann\.npy"):
        load_calvin(split)
    shutil.rmtree(split / "lang_annotations")
    with pytest.raises(FileNotFoundError, match=r"auto_lang_ann\.npy must exist"):
        load_calvin(split)


def test_what_the_real_simulator_recorded(calvin_mini: Path) -> None:
    episodes = load_calvin(calvin_mini)
    assert len(episodes) == 12
    assert len({episode.task for episode in episodes}) == 12
    assert sum(len(episode) for episode in episodes) == 523
    first = episodes[0]
    assert (first.task, first.instructions, len(first)) == ("open_drawer", ("open the drawer",), 40)
    actions = first.actions(np.arange(40))
    assert np.abs(actions[:, :6]).max() <= 1
    assert set(np.unique(actions[:, 6])) <= {-1.0, 1.0}
    states = first.states(np.arange(40))
    moved = states[-1, :3] - states[0, :3]
    np.testing.assert_allclose(moved, 0.02 * actions[:, :3].sum(0), atol=0.05)  # metres / 0.02, towards a kept target
    sample = Windows(episodes, num_obs_steps=2, obs_stride=5, action_horizon=10).sample(45)
    assert sample.observation.images["static"].shape == (2, 200, 200, 3)
    assert sample.observation.images["static"].std() > 20
    assert sample.mask.all()


def test_an_empty_segment_costs_that_segment(split: Path, caplog: pytest.LogCaptureFixture) -> None:
    np.save(split / ANNOTATIONS, {**annotations(), "info": {"indx": [(3, 6), (9, 8)]}})  # type: ignore[arg-type]
    episodes = load_calvin(split)
    assert [(episode.first, episode.last) for episode in episodes] == [(3, 6)]
    assert "left out: " in caplog.text
    assert "the segment (9, 8) of 'lift_red_block_table' must have a frame" in caplog.text
    assert info(split)["damaged_episodes"] == 1
