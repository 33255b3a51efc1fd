"""Reading LeRobotDataset v3.0, ours or anybody's.

    load_lerobot(root) -> episodes; numbers are read at the first use and kept, pictures whenever they are asked for

A missing or damaged file is an error that names it. For training, put `cache.cached` in between.
"""

from __future__ import annotations

import json
from collections.abc import Iterator, Sequence
from contextlib import contextmanager
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np
import pyarrow as pa
import pyarrow.parquet as pq

from volition.data import lerobot_layout as layout
from volition.data.files import read_json, understood
from volition.data.lerobot_shard import column_values
from volition.data.pictures import decode_image, read_video, scan_video


@dataclass(frozen=True, kw_only=True)
class Vectors:
    """The numbers of one data file."""

    first: int  # the `index` of its first frame
    states: np.ndarray  # float32[n, S]
    actions: np.ndarray  # float32[n, A]


class LeRobotFiles:
    """The files of a dataset, opened when needed. Episodes share one of these."""

    def __init__(self, root: Path, info: dict[str, Any]) -> None:
        self.root = root
        self.info = info
        with understood(root / layout.INFO, "say fps above 0, data_path, video_path, and features with their dtype"):
            self.fps = float(info["fps"])
            info["data_path"].format(chunk_index=0, file_index=0)
            features: dict[str, Any] = info["features"]
            self.image_keys = tuple(name for name, f in features.items() if f["dtype"] in ("image", "video"))
            self.is_video = {name: features[name]["dtype"] == "video" for name in self.image_keys}
            if any(self.is_video.values()):
                info["video_path"].format(video_key="", chunk_index=0, file_index=0)
            if not 0 < self.fps < np.inf:
                raise ValueError(f"fps is {self.fps}")
        if layout.ACTION not in features:
            raise ValueError(f"{root / layout.INFO} must have the feature 'action', but has {sorted(features)}")
        self.has_state = layout.STATE in features
        self._vectors: dict[Path, Vectors] = {}
        self._pictures: tuple[Path, int, pa.Table] | None = None  # the row group read last

    def vectors(self, path: Path) -> Vectors:
        if path not in self._vectors:
            columns = ["index", layout.ACTION, *([layout.STATE] if self.has_state else [])]
            table = read_parquet(path, columns)
            with understood(path, "hold numbers, as many in every row"):
                actions = _matrix(table[layout.ACTION])
                states = _matrix(table[layout.STATE]) if self.has_state else np.zeros((len(actions), 0), np.float32)
                index = column_values(table["index"]).astype(np.int64)
                first = int(index[0])
            if not np.array_equal(index, np.arange(len(index)) + first):
                raise ValueError(f"{path} must hold frames with consecutive `index`, but has gaps; the file is damaged")
            self._vectors[path] = Vectors(first=first, states=states, actions=actions)
        return self._vectors[path]

    def stored_images(self, path: Path, key: str, rows: np.ndarray) -> np.ndarray:
        """Pictures of the image column `key`, uint8[n, height, width, 3]; `rows` counted from the start of the file."""
        file = opened_parquet(path)
        ends = np.cumsum([file.metadata.row_group(i).num_rows for i in range(file.num_row_groups)])
        found = []
        for row in rows:
            group = int(np.searchsorted(ends, row, side="right"))
            if self._pictures is None or self._pictures[:2] != (path, group):
                self._pictures = (path, group, _read_group(file, path, group, list(self.image_keys)))
            begin = int(ends[group - 1]) if group else 0
            with understood(path, f"hold a picture in row {row} of column {key!r}"):
                data = self._pictures[2][key][int(row) - begin].as_py()["bytes"]
            found.append(decode_image(data or b"", f"{path}, row {row}, column {key}"))
        shapes = {picture.shape for picture in found}
        if len(shapes) > 1:
            raise ValueError(f"{path} must hold pictures of one size in column {key!r}, but holds {sorted(shapes)}")
        return np.stack(found)


@dataclass(frozen=True, kw_only=True)
class LeRobotEpisode:
    """Implements `records.Episode`."""

    files: LeRobotFiles
    row: dict[str, Any]  # of the episodes table, without statistics

    @property
    def task(self) -> str:
        """Our short name; the first sentence in datasets that have none."""
        return str(self.row.get(layout.TASK) or self.instructions[0])

    @property
    def instructions(self) -> tuple[str, ...]:
        return tuple(self.row["tasks"])

    @property
    def source(self) -> dict[str, Any]:
        """What the writer noted about this episode; empty in datasets of others."""
        return json.loads(self.row.get(layout.SOURCE) or "{}")

    @property
    def first_frame(self) -> int:
        """Number of its first frame within the dataset."""
        return int(self.row["dataset_from_index"])

    def __len__(self) -> int:
        return int(self.row["length"])

    def images(self, steps: np.ndarray) -> dict[str, np.ndarray]:
        return {key.removeprefix(layout.IMAGES): self._images(key, steps) for key in self.files.image_keys}

    def states(self, steps: np.ndarray) -> np.ndarray:
        return self._vectors().states[self._rows(steps)]

    def actions(self, steps: np.ndarray) -> np.ndarray:
        return self._vectors().actions[self._rows(steps)]

    def times(self, steps: np.ndarray) -> np.ndarray:
        """When these frames were taken: float64[n], seconds."""
        times = column_values(read_parquet(self.data_path, ["timestamp"])["timestamp"])
        return times[self._rows(steps)].astype(np.float64)

    @property
    def data_path(self) -> Path:
        place = {name: int(self.row[f"data/{name}"]) for name in ("chunk_index", "file_index")}
        return self.files.root / self.files.info["data_path"].format(**place)

    def video_path(self, key: str) -> Path:
        place = {name: int(self.row[f"videos/{key}/{name}"]) for name in ("chunk_index", "file_index")}
        return self.files.root / self.files.info["video_path"].format(video_key=key, **place)

    def _images(self, key: str, steps: np.ndarray) -> np.ndarray:
        if self.files.is_video[key]:
            times = float(self.row[f"videos/{key}/from_timestamp"]) + np.asarray(steps) / self.files.fps
            return read_video(self.video_path(key), times, fps=self.files.fps)
        return self.files.stored_images(self.data_path, key, self._rows(steps))

    def _vectors(self) -> Vectors:
        vectors = self.files.vectors(self.data_path)
        last = self.first_frame + len(self) - 1 - vectors.first
        if not 0 <= last < len(vectors.actions) or self.first_frame < vectors.first:
            raise ValueError(
                f"{self.data_path} must hold frames {self.first_frame}..{self.first_frame + len(self) - 1} of episode "
                f"{self.row['episode_index']}, but holds {vectors.first}..{vectors.first + len(vectors.actions) - 1}; "
                f"the file is damaged or from another dataset"
            )
        return vectors

    def _rows(self, steps: np.ndarray) -> np.ndarray:
        steps = np.asarray(steps)
        assert steps.size == 0 or (steps.min() >= 0 and steps.max() < len(self)), "steps outside the episode"
        return self.first_frame - self._vectors().first + steps


def read_info(root: Path) -> dict[str, Any]:
    """meta/info.json of any version that is read; ValueError for another one."""
    info: dict[str, Any] = read_json(root / layout.INFO)
    with understood(root / layout.INFO, "be an object with a codebase_version"):
        version = str(info["codebase_version"])
    if not version.startswith("v3.") and version not in layout.OLD_VERSIONS:
        raise ValueError(
            f"{root / layout.INFO} must say codebase_version v3.x, {' or '.join(layout.OLD_VERSIONS)}, but says "
            f"{version!r}; convert the dataset with LeRobot's own tools first"
        )
    return info


def load_lerobot(root: Path) -> list[LeRobotEpisode]:
    """All episodes that info.json counts, in order."""
    info = read_info(root)
    files = LeRobotFiles(root, info)
    with understood(root / layout.INFO, "say total_episodes"):
        total = int(info["total_episodes"])
    paths = sorted((root / "meta/episodes").glob("*/file-*.parquet"))
    with understood(root / "meta/episodes", f"list the {total} episodes that {layout.INFO} counts"):
        rows = [row for path in paths for row in _episode_rows(path)]
        rows = sorted((row for row in rows if row["episode_index"] < total), key=lambda row: int(row["episode_index"]))
        if len(rows) != total or any(row["episode_index"] != i for i, row in enumerate(rows)):
            raise ValueError(f"it lists {len(rows)}; a file is missing or damaged")
        for row in rows:
            _check_row(row, files)
    if not rows:
        raise ValueError(f"{root} must hold at least one episode, but holds none")
    return [LeRobotEpisode(files=files, row=row) for row in rows]


def _check_row(row: dict[str, Any], files: LeRobotFiles) -> None:
    """ValueError, KeyError or TypeError unless a row of the episodes table says all that an episode needs."""
    places = ["data", *(f"videos/{key}" for key, is_video in files.is_video.items() if is_video)]
    numbers = [int(row[f"{place}/{name}"]) for place in places for name in ("chunk_index", "file_index")]
    times = [float(row[f"{place}/from_timestamp"]) for place in places[1:]]
    first, length = int(row["dataset_from_index"]), int(row["length"])
    if not 1 <= length == int(row["dataset_to_index"]) - first or min(first, *numbers, *times) < 0:
        raise ValueError(
            f"episode {row['episode_index']} has {length} frames from {first} to {row['dataset_to_index']}"
        )
    if not row["tasks"] or not all(isinstance(sentence, str) for sentence in row["tasks"]):
        raise ValueError(f"episode {row['episode_index']} must have a sentence, but has {row['tasks']!r}")


def scan_shared_videos(episodes: Sequence[LeRobotEpisode], key: str) -> Iterator[np.ndarray]:
    """The frames of all episodes in order, uint8[height, width, 3], decoding every video file once from end to end."""
    path: Path | None = None
    shown: Iterator[tuple[float, np.ndarray]] = iter(())
    for episode in episodes:
        fps, start = episode.files.fps, float(episode.row[f"videos/{key}/from_timestamp"])
        if episode.video_path(key) != path:
            path = episode.video_path(key)
            shown = scan_video(path)
        for step in range(len(episode)):
            wanted = start + step / fps
            picture = next((frame for time, frame in shown if time > wanted - 0.5 / fps), None)
            if picture is None:
                raise ValueError(f"{path} must have a frame at {wanted:.3f} s, but ends before; the file is cut")
            yield picture


@contextmanager
def parquet_complaints(path: Path) -> Iterator[None]:
    """What the parquet reader says of damage, with the file's name."""
    try:
        yield
    except (pa.ArrowException, OSError, ValueError, KeyError, TypeError, MemoryError) as error:
        raise ValueError(f"{path} must be a parquet file, but {error}; the file is damaged or cut") from error


def opened_parquet(path: Path) -> pq.ParquetFile:
    if not path.is_file():
        raise FileNotFoundError(f"{path} must exist but is missing; is the dataset complete?")
    with parquet_complaints(path):
        file = pq.ParquetFile(path, memory_map=True, page_checksum_verification=True)
        assert file.schema_arrow is not None  # made at the first use: now, while an error can still name the file
        return file


def read_parquet(path: Path, columns: list[str] | None = None) -> pa.Table:
    file = opened_parquet(path)
    missing = sorted(set(columns or ()) - set(file.schema_arrow.names))
    if missing:
        raise ValueError(f"{path} must have the columns {missing}, but has {file.schema_arrow.names}")
    with parquet_complaints(path):
        return file.read(columns)


def _read_group(file: pq.ParquetFile, path: Path, group: int, columns: list[str]) -> pa.Table:
    with parquet_complaints(path):
        return file.read_row_group(group, columns)


def _episode_rows(path: Path) -> list[dict[str, Any]]:
    columns = [name for name in opened_parquet(path).schema_arrow.names if not name.startswith("stats/")]
    table = read_parquet(path, columns)
    with parquet_complaints(path):
        rows: list[dict[str, Any]] = table.to_pylist()
    return rows


def _matrix(column: pa.ChunkedArray) -> np.ndarray:
    values = column_values(column).astype(np.float32)
    return values.reshape(len(values), -1)
