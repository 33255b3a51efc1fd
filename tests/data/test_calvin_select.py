from __future__ import annotations

import json
import pickle
import shutil
from pathlib import Path
from typing import Any

import numpy as np
import pytest

from tests.data.formats import lerobot
from tests.data.formats.calvin import annotations, frame, make
from volition.data.calvin import CalvinEpisode, load_calvin
from volition.data.calvin_select import CalvinConfig, read_segments
from volition.data.open import detect, load_cached


def annotate(split: Path, segments: list[tuple[int, int, str]], folder: str = "lang_annotations") -> None:
    """(first, last, task) for every segment; what is said is the task's name."""
    tasks = [task for _, _, task in segments]
    tree = annotations(ann=tasks, task=tasks) | {"info": {"indx": [(a, b) for a, b, _ in segments], "episodes": []}}
    (split / folder).mkdir(parents=True, exist_ok=True)
    np.save(split / folder / "auto_lang_ann.npy", tree)  # type: ignore[arg-type]


@pytest.fixture
def split(tmp_path: Path) -> Path:
    """Twelve segments of six tasks; the frames of none."""
    annotate(tmp_path / "training", [(10 * i, 10 * i + 5, f"task_{i % 6}") for i in range(12)])
    return tmp_path / "training"


def firsts(episodes: list[CalvinEpisode]) -> list[int]:
    return [episode.first // 10 for episode in episodes]


def test_by_default_everything_is_read(split: Path) -> None:
    assert CalvinConfig().load(split) == load_calvin(split)


def test_tasks_can_be_excluded(split: Path) -> None:
    config = CalvinConfig(exclude_tasks=("task_0", "task_4"))
    assert firsts(config.load(split)) == [1, 2, 3, 5, 7, 8, 9, 11]
    with pytest.raises(ValueError, match=r"exclude_tasks must name tasks of .* \['task_7'\] are not among"):
        CalvinConfig(exclude_tasks=("task_7",)).load(split)
    with pytest.raises(ValueError, match="leaves none"):
        CalvinConfig(exclude_tasks=tuple(f"task_{i}" for i in range(6))).load(split)


def test_a_share_is_drawn_by_its_seed_and_kept_in_order(split: Path) -> None:
    half = firsts(CalvinConfig(share=0.5).load(split))
    assert len(half) == 6
    assert half == sorted(half) == firsts(CalvinConfig(share=0.5).load(split))
    assert half != firsts(CalvinConfig(share=0.5, seed=1).load(split))
    assert len(CalvinConfig(share=0.01).load(split)) == 1
    for share in (0.0, 1.5):
        with pytest.raises(ValueError, match="share must be above 0"):
            CalvinConfig(share=share)


FEW_SHOT = json.dumps({"task_1": [[10, 15], [70, 75]], "task_2": [[20, 25], [900, 905]]})
NAMES = "0 10 15\n1 70 75\n\n2 20 25\n3 900 905"


@pytest.mark.parametrize("text", [FEW_SHOT, NAMES], ids=["few-shot", "names"])
def test_lists_of_segments(split: Path, text: str, tmp_path: Path, caplog: pytest.LogCaptureFixture) -> None:
    path = tmp_path / "list"
    path.write_text(text)
    assert read_segments(path) == {(10, 15), (70, 75), (20, 25), (900, 905)}
    config = CalvinConfig(segments=str(path))
    assert firsts(config.load(split)) == [1, 2, 7]
    assert "lists 4 segments, of which 1 are not there: (900, 905)" in caplog.text
    word = config.selection()
    path.write_text(text.replace("70", "71"))
    assert config.selection() != word


@pytest.mark.parametrize("text", ["{", '{"a": [[1]]}', "1 2", "a b c"])
def test_lists_that_make_no_sense_are_named(tmp_path: Path, text: str) -> None:
    (tmp_path / "list").write_text(text)
    with pytest.raises(ValueError, match=r"list must hold JSON"):
        read_segments(tmp_path / "list")
    with pytest.raises(FileNotFoundError, match="must be a list of segments"):
        read_segments(tmp_path / "nothing")


def test_other_annotations(split: Path) -> None:
    annotate(split, [(0, 3, "paraphrased")], "lang_paraphrase-MiniLM-L3-v2")
    annotate(split, [(0, 9, "beside")], ".")
    (other,) = CalvinConfig(annotations="lang_paraphrase-MiniLM-L3-v2").load(split)
    assert other.task == "paraphrased"
    assert CalvinConfig(annotations="").load(split)[0].task == "beside"
    with pytest.raises(FileNotFoundError, match="lang_none"):
        CalvinConfig(annotations="lang_none").load(split)


def test_play_needs_no_annotations(split: Path) -> None:
    shutil.rmtree(split / "lang_annotations")
    np.save(split / "ep_start_end_ids.npy", np.array([[3, 6], [9, 9]]))
    assert detect(split).name == "calvin"
    episodes = CalvinConfig(play=True).load(split)
    assert [(e.first, e.last, e.task, e.instructions) for e in episodes] == [(3, 6, "", ("",)), (9, 9, "", ("",))]
    with pytest.raises(ValueError, match="neither tasks nor annotated segments"):
        CalvinConfig(play=True, exclude_tasks=("x",))


@pytest.mark.parametrize("ranges", [np.array([3, 6]), np.array([[6, 3]]), np.zeros((0, 2), int), np.array([[0.5, 2]])])
def test_ranges_that_make_no_sense_are_named(split: Path, ranges: np.ndarray) -> None:
    np.save(split / "ep_start_end_ids.npy", ranges)
    with pytest.raises(ValueError, match=r"ep_start_end_ids\.npy must hold"):
        CalvinConfig(play=True).load(split)


def test_frames_as_pickles_are_read_by_the_careful_unpickler(tmp_path: Path) -> None:
    split = make(tmp_path)
    original = load_calvin(split)[0].images(np.arange(4))
    for path in split.glob("*.npz"):
        path.with_suffix(".pkl").write_bytes(pickle.dumps(dict(np.load(path))))
        path.unlink()
    np.testing.assert_array_equal(load_calvin(split)[0].images(np.arange(4))["static"], original["static"])
    sign = tmp_path / "it-ran"
    (split / "episode_0000005.pkl").write_bytes(f"cposix\nsystem\n(S'touch {sign}'\ntR.".encode())
    with pytest.raises(ValueError, match=r"episode_0000005\.pkl must be a frame .*asks for posix\.system"):
        load_calvin(split)[0].states(np.arange(4))
    assert not sign.exists()


def test_a_frame_of_another_kind_is_refused(tmp_path: Path) -> None:
    split = make(tmp_path)
    floats: dict[str, Any] = {**frame(5), "rgb_static": np.zeros((200, 200, 3))}
    np.savez(split / "episode_0000005.npz", **floats)
    with pytest.raises(ValueError, match=r"0000005\.npz: rgb_static must have shape .* of uint8, .* of float64"):
        load_calvin(split)[0].images(np.arange(4))


def test_wordings_of_one_segment_are_one_episode(split: Path) -> None:
    tree = annotations(ann=["open it", "pull"], task=["open_drawer"] * 2)
    np.save(split / "lang_annotations/auto_lang_ann.npy", tree | {"info": {"indx": [(3, 6)] * 2}})  # type: ignore[arg-type]
    assert [episode.instructions for episode in load_calvin(split)] == [("open it", "pull")]


def test_every_part_has_a_frame_cache_of_its_own(tmp_path: Path) -> None:
    split = make(tmp_path)
    without = CalvinConfig(exclude_tasks=("open_drawer",))
    assert [episode.task for episode in load_cached(split, reader=without)] == ["lift_red_block_table"]
    assert len(load_cached(split)) == 2
    assert len(load_cached(split, reader=CalvinConfig())) == 2
    names = sorted(path.name for path in (split / ".volition").iterdir())
    assert names == ["frames", f"frames{without.selection()}"]


def test_a_reader_of_another_format_is_refused(tmp_path: Path) -> None:
    with pytest.raises(ValueError, match="is of the format 'lerobot', but the recipe's reader is for 'calvin'"):
        load_cached(lerobot.make(tmp_path), reader=CalvinConfig())
