"""Reading LeRobotDataset v3.0, ours or anybody's.

    load_lerobot(root) -> episodes; numbers are read at the first use and kept, pictures whenever they are asked for

A missing or damaged file is an error that names it. For training, put `cache.cached` in between.
"""

from __future__ import annotations

import json
from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np
import pyarrow as pa
import pyarrow.parquet as pq

from volition.data import lerobot_layout as layout
from volition.data.files import read_json
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

    def __init__(self, root: Path) -> None:
        self.root = root
        self.info = read_json(root / layout.INFO)
        if not str(self.info.get("codebase_version", "")).startswith("v3."):
            raise ValueError(
                f"{root / layout.INFO} must say codebase_version v3.x, but says "
                f"{self.info.get('codebase_version')!r}; convert the dataset to LeRobot v3.0 first"
            )
        self.fps = float(self.info["fps"])
        features: dict[str, Any] = self.info["features"]
        self.image_keys = tuple(name for name, f in features.items() if f["dtype"] in ("image", "video"))
        self.is_video = {name: features[name]["dtype"] == "video" for name in self.image_keys}
        if layout.ACTION not in features:
            raise ValueError(f"{root / layout.INFO} must have the feature 'action', but has {sorted(features)}")
        self.has_state = layout.STATE in features
        self._vectors: dict[Path, Vectors] = {}
        self._pictures: tuple[Path, int, pa.Table] | None = None  # the row group read last

    def vectors(self, path: Path) -> Vectors:
        if path not in self._vectors:
            columns = ["index", layout.ACTION, *([layout.STATE] if self.has_state else [])]
            table = read_parquet(path, columns)
            actions = _matrix(table[layout.ACTION])
            states = _matrix(table[layout.STATE]) if self.has_state else np.zeros((len(actions), 0), np.float32)
            index = column_values(table["index"])
            if not np.array_equal(index, np.arange(len(index)) + (index[0] if len(index) else 0)):
                raise ValueError(f"{path} must hold frames with consecutive `index`, but has gaps; the file is damaged")
            self._vectors[path] = Vectors(first=int(index[0]), states=states, actions=actions)
        return self._vectors[path]

    def stored_images(self, path: Path, key: str, rows: np.ndarray) -> list[np.ndarray]:
        """Pictures of the image column `key`, `rows` counted from the start of the file."""
        file = opened_parquet(path)
        ends = np.cumsum([file.metadata.row_group(i).num_rows for i in range(file.num_row_groups)])
        found = []
        for row in rows:
            group = int(np.searchsorted(ends, row, side="right"))
            if self._pictures is None or self._pictures[:2] != (path, group):
                self._pictures = (path, group, _read_group(file, path, group, list(self.image_keys)))
            begin = int(ends[group - 1]) if group else 0
            cell = self._pictures[2][key][int(row) - begin].as_py()
            found.append(decode_image(cell["bytes"] or b"", f"{path}, row {row}, column {key}"))
        return found


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
        return np.stack(self.files.stored_images(self.data_path, key, self._rows(steps)))

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


def load_lerobot(root: Path) -> list[LeRobotEpisode]:
    """All episodes that info.json counts, in order."""
    files = LeRobotFiles(root)
    total = int(files.info["total_episodes"])
    paths = sorted((root / "meta/episodes").glob("*/file-*.parquet"))
    rows = [row for path in paths for row in _episode_rows(path)]
    rows = sorted((row for row in rows if row["episode_index"] < total), key=lambda row: int(row["episode_index"]))
    if [row["episode_index"] for row in rows] != list(range(total)):
        raise ValueError(
            f"{root / 'meta/episodes'} must list the {total} episodes that {layout.INFO} counts, "
            f"but lists {len(rows)}; a file is missing or damaged"
        )
    if not rows:
        raise ValueError(f"{root} must hold at least one episode, but holds none")
    return [LeRobotEpisode(files=files, row=row) for row in rows]


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


def opened_parquet(path: Path) -> pq.ParquetFile:
    if not path.is_file():
        raise FileNotFoundError(f"{path} must exist but is missing; is the dataset complete?")
    try:
        return pq.ParquetFile(path, memory_map=True, page_checksum_verification=True)
    except (pa.ArrowException, OSError) as error:
        raise ValueError(f"{path} must be a parquet file, but {error}; the file is damaged or cut") from error


def read_parquet(path: Path, columns: list[str] | None = None) -> pa.Table:
    file = opened_parquet(path)
    missing = sorted(set(columns or ()) - set(file.schema_arrow.names))
    if missing:
        raise ValueError(f"{path} must have the columns {missing}, but has {file.schema_arrow.names}")
    try:
        return file.read(columns)
    except (pa.ArrowException, OSError) as error:
        raise ValueError(f"{path} must be a parquet file, but {error}; the file is damaged or cut") from error


def _read_group(file: pq.ParquetFile, path: Path, group: int, columns: list[str]) -> pa.Table:
    try:
        return file.read_row_group(group, columns)
    except (pa.ArrowException, OSError) as error:
        raise ValueError(f"{path}, row group {group}, must be readable, but {error}; the file is damaged") from error


def _episode_rows(path: Path) -> list[dict[str, Any]]:
    columns = [name for name in opened_parquet(path).schema_arrow.names if not name.startswith("stats/")]
    rows: list[dict[str, Any]] = read_parquet(path, columns).to_pylist()
    return rows


def _matrix(column: pa.ChunkedArray) -> np.ndarray:
    values = column_values(column).astype(np.float32)
    return values.reshape(len(values), -1)
