from __future__ import annotations

import json
import shutil
from dataclasses import replace
from pathlib import Path
from typing import Any

import numpy as np
import pyarrow as pa
import pyarrow.parquet as pq
import pytest

from tests.data.conftest import toy_episode, write_toy
from tests.toy import SPEC, TASKS
from volition.contract import ActionSpace, Camera, Dimension, RobotSpec
from volition.data.lerobot import load_lerobot
from volition.data.lerobot_stage import EpisodeData, LeRobotConfig
from volition.data.lerobot_write import LeRobotWriter
from volition.data.open import load_episodes, load_spec
from volition.data.pictures import encode_image
from volition.data.spec import UNKNOWN
from volition.data.statistics import vector_statistics
from volition.records import Episode

LENGTHS = (5, 1, 9, 4)


@pytest.mark.parametrize("images", ["video", "png", "jpeg"])
def test_what_is_written_is_read(tmp_path: Path, images: Any) -> None:
    written = write_toy(tmp_path / "d", LENGTHS, LeRobotConfig(images=images), seal_after=(1,))
    episodes = load_lerobot(tmp_path / "d")
    assert load_spec(tmp_path / "d") == SPEC
    assert len(episodes) == len(written)
    for episode, original in zip(episodes, written):
        assert isinstance(episode, Episode)
        steps = np.arange(len(original))
        assert len(episode) == len(original)
        assert episode.task == original.task
        assert episode.instructions == original.instructions
        assert episode.source == original.source
        np.testing.assert_array_equal(episode.states(steps), original.states)
        np.testing.assert_array_equal(episode.actions(steps[::-1]), original.actions[::-1])
        pictures = episode.images(steps)["base"]
        assert pictures.dtype == np.uint8
        error = np.abs(pictures.astype(int) - original.images["base"]).max()
        assert error == 0 if images == "png" else error < 16
        np.testing.assert_array_equal(episode.images(steps[-1:])["base"], pictures[-1:])


def test_the_layout_is_that_of_the_format(tmp_path: Path) -> None:
    root = tmp_path / "d"
    written = write_toy(root, LENGTHS, LeRobotConfig(images="video"), seal_after=(1,))
    info = json.loads((root / "meta/info.json").read_text())
    assert info["codebase_version"] == "v3.0"
    assert (info["total_episodes"], info["total_frames"], info["total_tasks"], info["fps"]) == (4, 19, 4, 10)
    assert info["splits"] == {"train": "0:4"}
    assert info["features"]["observation.images.base"]["dtype"] == "video"
    assert info["features"]["action"] == {"dtype": "float32", "shape": [2], "names": ["x", "y"]}
    assert info["features"]["timestamp"]["dtype"] == "float32"
    data = pa.concat_tables(pq.read_table(root / f"data/chunk-000/file-00{i}.parquet") for i in (0, 1))
    assert set(data.column_names) == set(info["features"]) - {"observation.images.base"}
    assert data.schema.field("action").type == pa.list_(pa.float32(), 2)
    assert data["index"].to_pylist() == list(range(19))
    assert data["episode_index"].to_pylist() == [i for i, n in enumerate(LENGTHS) for _ in range(n)]
    assert data["frame_index"].to_pylist() == [t for n in LENGTHS for t in range(n)]
    np.testing.assert_allclose(data["timestamp"].to_numpy(), np.concatenate([np.arange(n) for n in LENGTHS]) / 10)
    sentences = {row["task_index"]: row["task"] for row in pq.read_table(root / "meta/tasks.parquet").to_pylist()}
    for row, episode in zip(data.to_pylist(), (e for e in written for _ in range(len(e)))):
        assert sentences[row["task_index"]] == episode.instructions[0]


def test_the_episodes_table_says_where_everything_is(tmp_path: Path) -> None:
    root = tmp_path / "d"
    written = write_toy(root, LENGTHS, LeRobotConfig(images="video"), seal_after=(1,))
    paths = sorted((root / "meta/episodes/chunk-000").iterdir())
    rows = [row for path in paths for row in pq.read_table(path).to_pylist()]
    assert [row["data/file_index"] for row in rows] == [0, 0, 1, 1]
    assert [row["videos/observation.images.base/file_index"] for row in rows] == [0, 0, 1, 1]
    assert [row["videos/observation.images.base/from_timestamp"] for row in rows] == [0, 0.5, 0, 0.9]
    assert [row["dataset_from_index"] for row in rows] == [0, 5, 6, 15]
    assert [row["dataset_to_index"] for row in rows] == [5, 6, 15, 19]
    assert rows[2]["tasks"] == list(written[2].instructions)
    np.testing.assert_allclose(rows[2]["stats/action/mean"], written[2].actions.mean(0), rtol=1e-5)
    assert np.shape(rows[2]["stats/observation.images.base/mean"]) == (3, 1, 1)


def test_statistics_are_those_of_all_frames(tmp_path: Path) -> None:
    root = tmp_path / "d"
    written = write_toy(root, LENGTHS, LeRobotConfig(images="png"), seal_after=(1,))
    statistics = json.loads((root / "meta/stats.json").read_text())
    exact = vector_statistics(np.concatenate([episode.actions for episode in written]))
    for name in ("mean", "std", "min", "max", "q01", "q99"):
        np.testing.assert_allclose(statistics["action"][name], getattr(exact, name), atol=1e-6)
    assert statistics["action"]["count"] == [19]
    pixels = np.concatenate([episode.images["base"][:, ::4, ::4].reshape(-1, 3) for episode in written]) / 255
    image = statistics["observation.images.base"]
    assert np.shape(image["mean"]) == (3, 1, 1)
    np.testing.assert_allclose(np.ravel(image["max"]), pixels.max(0))
    np.testing.assert_allclose(np.ravel(image["mean"]), pixels.mean(0))


def test_pandas_metadata_makes_the_sentence_the_index(tmp_path: Path) -> None:
    write_toy(tmp_path / "d", (3,), LeRobotConfig(images="png"))
    table = pq.read_table(tmp_path / "d/meta/tasks.parquet")
    metadata = json.loads(table.schema.metadata[b"pandas"])
    assert metadata["index_columns"] == ["task"]
    assert {column["name"] for column in metadata["columns"]} == set(table.column_names)


def test_shards_end_at_the_size_limit(tmp_path: Path) -> None:
    noise = np.random.default_rng(0).integers(0, 255, (200, 28, 28, 3)).astype(np.uint8)  # about 0.5 MB as PNG
    episode = toy_episode(0, 200)
    heavy = EpisodeData(**{**vars(episode), "images": {"base": noise}})
    with LeRobotWriter.create(tmp_path / "d", SPEC, LeRobotConfig(images="png", megabytes=1)) as writer:
        for _ in range(7):
            writer.add(heavy)
    files = sorted((tmp_path / "d/data/chunk-000").iterdir())
    assert len(files) > 1
    assert max(path.stat().st_size for path in files) < 2 << 20
    episodes = load_lerobot(tmp_path / "d")
    assert len({episode.data_path for episode in episodes}) == len(files)
    np.testing.assert_array_equal(episodes[6].images(np.array([199, 3]))["base"], noise[[199, 3]])


def test_one_dimension_is_a_plain_column(tmp_path: Path) -> None:
    space = ActionSpace(dimensions=(Dimension(name="speed", unit="m/s"),))
    spec = RobotSpec(action_space=space, cameras=(), state=("angle",), control_hz=5.0)
    numbers = np.arange(4, dtype=np.float32)[:, None]
    with LeRobotWriter.create(tmp_path / "d", spec, LeRobotConfig()) as writer:
        writer.add(EpisodeData(task="t", instructions=("go",), images={}, states=numbers, actions=numbers / 8))
    assert pq.read_schema(tmp_path / "d/data/chunk-000/file-000.parquet").field("action").type == pa.float32()
    episode = load_lerobot(tmp_path / "d")[0]
    np.testing.assert_array_equal(episode.actions(np.arange(4)), numbers / 8)
    assert episode.images(np.arange(4)) == {}


def _make_foreign(root: Path) -> np.ndarray:
    """Turn a dataset of ours into what others write: no extras, loose list columns, one row group, channels first."""
    written = write_toy(root, LENGTHS, LeRobotConfig(images="png"))
    shutil.rmtree(root / ".volition")
    (root / "meta/volition.json").unlink()
    path = root / "meta/episodes/chunk-000/file-000.parquet"
    table = pq.read_table(path).drop_columns(["volition/task", "volition/source"])
    pq.write_table(table, path)
    data = root / "data/chunk-000/file-000.parquet"
    table = pq.read_table(data)
    loose = table["action"].combine_chunks().cast(pa.list_(pa.float32()))
    pq.write_table(table.set_column(table.column_names.index("action"), "action", loose), data)
    info = json.loads((root / "meta/info.json").read_text())
    info["features"]["observation.images.base"]["shape"] = [3, 28, 28]
    info["features"]["action"]["names"] = {"motors": ["left", "right"]}
    (root / "meta/info.json").write_text(json.dumps(info))
    return np.concatenate([episode.actions for episode in written])


def test_a_dataset_of_others_is_read(tmp_path: Path) -> None:
    actions = _make_foreign(tmp_path / "d")
    episodes = load_episodes(tmp_path / "d")
    assert [len(episode) for episode in episodes] == list(LENGTHS)
    assert episodes[2].task == "sentence 2"
    np.testing.assert_array_equal(episodes[2].actions(np.arange(9)), actions[6:15])
    np.testing.assert_array_equal(episodes[3].images(np.array([3]))["base"], toy_episode(3, 4).images["base"][3:])
    spec = load_spec(tmp_path / "d")
    assert spec.cameras == (Camera(name="base", height=28, width=28),)
    assert [dimension.name for dimension in spec.action_space.dimensions] == ["left", "right"]
    assert {dimension.unit for dimension in spec.action_space.dimensions} == {UNKNOWN}
    assert spec.action_space.dimensions[0].high == pytest.approx(actions[:, 0].max())
    assert spec.state == ("x", "y")


def test_an_unknown_version_is_refused(tmp_path: Path) -> None:
    write_toy(tmp_path / "d", (2,), LeRobotConfig(images="png"))
    path = tmp_path / "d/meta/info.json"
    path.write_text(path.read_text().replace("v3.0", "v1.6"))
    with pytest.raises(ValueError, match=r"must say codebase_version v3\.x, v2\.0 or v2\.1, but says 'v1\.6'"):
        load_lerobot(tmp_path / "d")


def test_an_episode_that_does_not_fit_is_refused(tmp_path: Path) -> None:
    writer = LeRobotWriter.create(tmp_path / "d", SPEC, LeRobotConfig(images="png"))
    good = vars(toy_episode(0, 3))
    with pytest.raises(ValueError, match=r"actions: must be float32\[3, 2\], is float64\[3, 2\]"):
        writer.add(EpisodeData(**{**good, "actions": good["actions"].astype(np.float64)}))
    with pytest.raises(ValueError, match=r"base: must be uint8\[3, 28, 28, 3\], is missing"):
        writer.add(EpisodeData(**{**good, "images": {}}))
    with pytest.raises(ValueError, match="top: not a camera"):
        writer.add(EpisodeData(**{**good, "images": {**good["images"], "top": good["images"]["base"]}}))
    with pytest.raises(ValueError, match="an instruction, has 3 and 0"):
        writer.add(EpisodeData(**{**good, "instructions": ()}))
    assert writer.num_episodes == 0
    assert not list((tmp_path / "d/.volition/staged").iterdir())


def test_configs_that_make_no_sense_are_refused(tmp_path: Path) -> None:
    with pytest.raises(ValueError, match="megabytes and keyframe_interval"):
        LeRobotConfig(megabytes=0)
    with pytest.raises(ValueError, match=r"whole number of frames a second, the spec says 12\.5 Hz"):
        LeRobotWriter.create(tmp_path / "d", replace(SPEC, control_hz=12.5), LeRobotConfig())
    write_toy(tmp_path / "e", (2,), LeRobotConfig(images="png"))
    with pytest.raises(ValueError, match="must not exist or be empty"):
        LeRobotWriter.create(tmp_path / "e", SPEC, LeRobotConfig())


def test_memory_holds_no_pictures_of_earlier_episodes(tmp_path: Path) -> None:
    with LeRobotWriter.create(tmp_path / "d", SPEC, LeRobotConfig(images="png")) as writer:
        for number in range(3):
            writer.add(toy_episode(number, 2))
            held = [value for staged in writer._staged for value in vars(staged).values()]
            assert not any(isinstance(value, np.ndarray | bytes) for value in held)
    assert TASKS[0] == load_lerobot(tmp_path / "d")[2].task
    assert encode_image(toy_episode(0, 1).images["base"][0], "png")[:4] == b"\x89PNG"
