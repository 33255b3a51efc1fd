"""Staged episodes become a shard: one data file, one video a camera, one episodes file, all with the same number.

Nothing counts until info.json says so, and it is replaced last; `drop_uncommitted` removes what a crash left before.
"""

from __future__ import annotations

import dataclasses
import json
from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np
import pyarrow as pa
import pyarrow.parquet as pq

from volition.data import lerobot_layout as layout
from volition.data.files import read_json, replacing, write_json
from volition.data.lerobot_stage import EPISODE, FRAMES
from volition.data.pictures import join_videos
from volition.data.statistics import RunningStatistics, Statistics, merge_statistics


@dataclass(frozen=True, kw_only=True)
class Staged:
    """What `episode.json` of a staged folder says."""

    folder: Path
    task: str
    instructions: tuple[str, ...]
    length: int
    source: dict[str, Any]
    statistics: dict[str, Any]
    sizes: dict[str, int]  # of its files

    @property
    def bytes(self) -> int:
        """Size of the largest file that will go into a shard."""
        return max(size for name, size in self.sizes.items() if name.endswith((".arrow", ".mp4")))


def read_staged(folder: Path) -> Staged:
    tree = read_json(folder / EPISODE)
    return Staged(folder=folder, **{**tree, "instructions": tuple(tree["instructions"])})


@dataclass(frozen=True, kw_only=True)
class Place:
    """Where a shard begins."""

    shard: int
    first_episode: int
    first_frame: int

    @property
    def indices(self) -> dict[str, int]:
        return {"chunk_index": self.shard // layout.FILES_PER_CHUNK, "file_index": self.shard % layout.FILES_PER_CHUNK}


def write_shard(root: Path, info: dict[str, Any], staged: Sequence[Staged], place: Place, sentences: list[str]) -> None:
    """Write all files of a shard but meta/*.json. `sentences` by task_index must contain all of `staged`."""
    fps, keys = info["fps"], [name for name, f in info["features"].items() if f["dtype"] == "video"]
    starts = np.cumsum([0, *(episode.length for episode in staged)])
    with replacing(root / layout.DATA_PATH.format(**place.indices)) as path:
        _write_data(path, list(info["features"]), staged, place, {text: i for i, text in enumerate(sentences)})
    for key in keys:
        parts = [episode.folder / f"{key.removeprefix(layout.IMAGES)}.mp4" for episode in staged]
        with replacing(root / layout.VIDEO_PATH.format(video_key=key, **place.indices)) as path:
            join_videos(parts, [episode.length for episode in staged], path, fps=fps)
    rows = [
        _episode_row(episode, place, place.first_episode + i, int(starts[i]), keys, fps)
        for i, episode in enumerate(staged)
    ]
    with replacing(root / layout.EPISODES_PATH.format(**place.indices)) as path:
        pq.write_table(pa.Table.from_pylist(rows), path)


def drop_uncommitted(root: Path, num_shards: int) -> None:
    """Delete files of shards from `num_shards` on: a crash came before info.json counted them."""
    for pattern in ("data/*/*.parquet", "videos/*/*/*.mp4", "meta/episodes/*/*.parquet"):
        for path in root.glob(pattern):
            chunk, file = path.parent.name.removeprefix("chunk-"), path.stem.removeprefix("file-")
            partial = path.name.startswith(".")
            if partial or int(chunk) * layout.FILES_PER_CHUNK + int(file) >= num_shards:
                path.unlink()


def committed_shards(root: Path, num_episodes: int) -> int:
    """How many shards the first `num_episodes` episodes fill."""
    shards = 0
    for path in sorted((root / "meta/episodes").glob("*/file-*.parquet")):
        first = pq.ParquetFile(path).read_row_group(0, columns=["episode_index"])["episode_index"][0].as_py()
        shards += int(first < num_episodes)
    return shards


def episode_lengths(root: Path) -> list[int]:
    """Frames of every episode in the shards."""
    paths = sorted((root / "meta/episodes").glob("*/file-*.parquet"))
    return [length for path in paths for length in pq.ParquetFile(path).read(["length"])["length"].to_pylist()]


def write_statistics(root: Path, info: dict[str, Any]) -> None:
    """meta/stats.json over all shards: vectors exactly, images merged from what each episode noted."""
    vectors = [name for name, feature in info["features"].items() if feature["dtype"] not in ("image", "video")]
    images = [name for name in info["features"] if name not in vectors]
    running = {name: RunningStatistics(info["features"][name]["shape"][0]) for name in vectors}
    noted: dict[str, list[Statistics]] = {name: [] for name in images}
    for path in sorted(root.glob("data/*/file-*.parquet")):
        table = pq.ParquetFile(path).read(vectors)
        for name in vectors:
            running[name].update(column_values(table[name]).reshape(len(table), -1))
    for path in sorted(root.glob("meta/episodes/*/file-*.parquet")) if images else ():
        for name in images:
            columns = [f"stats/{name}/{kind.name}" for kind in dataclasses.fields(Statistics)]
            for row in pq.ParquetFile(path).read(columns).to_pylist():
                tree = {key.rpartition("/")[2]: value for key, value in row.items()}
                noted[name].append(layout.statistics_from_json(tree))
    tree = {name: layout.statistics_to_json(running[name].result(), image=False) for name in vectors}
    tree |= {name: layout.statistics_to_json(merge_statistics(noted[name]), image=True) for name in images}
    write_json(root / layout.STATS, tree)


def open_writer(path: Path, schema: pa.Schema) -> pq.ParquetWriter:
    """With a checksum on every page; pictures are compressed already and sorted by nothing."""
    numbers = [field.name for field in schema if field.type != layout.IMAGE_TYPE]
    pictures = [f"{field.name}.bytes" for field in schema if field.type == layout.IMAGE_TYPE]
    compression = {**dict.fromkeys(numbers, "snappy"), **dict.fromkeys(pictures, "none")}
    return pq.ParquetWriter(
        path,
        schema,
        compression=compression,
        use_dictionary=False,
        write_statistics=numbers,
        write_page_checksum=True,
    )


def column_values(column: pa.Array | pa.ChunkedArray) -> np.ndarray:
    """A column of numbers or of equally long lists of numbers -> [n] or [n, D]."""
    if isinstance(column, pa.ChunkedArray):
        column = column.combine_chunks()
    if pa.types.is_list(column.type) or pa.types.is_fixed_size_list(column.type) or pa.types.is_large_list(column.type):
        return column.flatten().to_numpy(zero_copy_only=False).reshape(len(column), -1)
    return column.to_numpy(zero_copy_only=False)


def _write_data(
    path: Path, columns: list[str], staged: Sequence[Staged], place: Place, task_index: dict[str, int]
) -> None:
    writer: pq.ParquetWriter | None = None
    frame = place.first_frame
    try:
        for i, episode in enumerate(staged):
            n = episode.length
            with pa.memory_map(str(episode.folder / FRAMES)) as source:
                table = pa.ipc.open_file(source).read_all()
            assert len(table) == n, f"{episode.folder}: {len(table)} rows, {n} frames"
            constants = {
                "episode_index": np.full(n, place.first_episode + i),
                "index": np.arange(frame, frame + n),
                "task_index": np.full(n, task_index[episode.instructions[0]]),
            }
            for name, values in constants.items():
                table = table.append_column(name, pa.array(values, pa.int64()))
            table = table.select([name for name in columns if name in table.column_names])
            writer = writer or open_writer(path, table.schema)
            writer.write_table(table)  # one row group an episode: its pictures can be read alone
            frame += n
    finally:
        if writer is not None:
            writer.close()


def _episode_row(episode: Staged, place: Place, index: int, start: int, keys: list[str], fps: int) -> dict[str, Any]:
    """One row of the episodes table; `start` is its first frame within the shard."""
    row: dict[str, Any] = {
        "episode_index": index,
        "tasks": list(episode.instructions),
        "length": episode.length,
        "dataset_from_index": place.first_frame + start,
        "dataset_to_index": place.first_frame + start + episode.length,
        **{f"data/{name}": value for name, value in place.indices.items()},
        **{f"meta/episodes/{name}": value for name, value in place.indices.items()},
        layout.TASK: episode.task,
        layout.SOURCE: json.dumps(episode.source, sort_keys=True),
    }
    for key in keys:
        row |= {f"videos/{key}/{name}": value for name, value in place.indices.items()}
        row |= {
            f"videos/{key}/from_timestamp": start / fps,
            f"videos/{key}/to_timestamp": (start + episode.length) / fps,
        }
    for name, statistics in episode.statistics.items():
        row |= {f"stats/{name}/{statistic}": value for statistic, value in statistics.items()}
    return row
