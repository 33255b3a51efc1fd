"""Names, paths and columns of LeRobotDataset v3.0, shared by its writer and its reader.

    meta/info.json                                  features, fps, counts, path templates; written last: the commit
    meta/stats.json  meta/tasks.parquet             statistics per feature; every sentence with its task_index
    meta/episodes/chunk-000/file-000.parquet        one row an episode: where its frames lie, its sentences, statistics
    data/chunk-000/file-000.parquet                 one row a frame: state, action, times and indices (images)
    videos/KEY/chunk-000/file-000.mp4               one file a camera and shard
    meta/volition.json                              ours, ignored by others: robot spec and what made the data
    .volition/                                      ours: episodes not yet in a shard, decoded frames

Columns of ours in the episodes table, ignored by others: volition/task (short name), volition/source (who made it).
"""

from __future__ import annotations

import dataclasses
from pathlib import Path
from typing import Any

import pyarrow as pa

from volition.contract import RobotSpec
from volition.data.places import PRIVATE
from volition.data.statistics import Statistics

VERSION = "v3.0"
OLD_VERSIONS = ("v2.0", "v2.1")  # read, never written
INFO = Path("meta/info.json")
STATS = Path("meta/stats.json")
TASKS = Path("meta/tasks.parquet")
OURS = Path("meta/volition.json")
STAGED = PRIVATE / "staged"
FRAMES = PRIVATE / "frames"

DATA_PATH = "data/chunk-{chunk_index:03d}/file-{file_index:03d}.parquet"
VIDEO_PATH = "videos/{video_key}/chunk-{chunk_index:03d}/file-{file_index:03d}.mp4"
EPISODES_PATH = "meta/episodes/chunk-{chunk_index:03d}/file-{file_index:03d}.parquet"
FILES_PER_CHUNK = 1000

STATE, ACTION, IMAGES = "observation.state", "action", "observation.images."
TASK, SOURCE = "volition/task", "volition/source"
INDEX_COLUMNS = {
    "timestamp": pa.float32(),
    "frame_index": pa.int64(),
    "episode_index": pa.int64(),
    "index": pa.int64(),
    "task_index": pa.int64(),
}
IMAGE_TYPE = pa.struct([pa.field("bytes", pa.binary()), pa.field("path", pa.string())])


def frames_folder(root: Path) -> Path:
    """Where the decoded frames of a dataset lie: in its folder, or beside its only file."""
    return root / FRAMES if root.is_dir() else root.parent / PRIVATE / root.name / FRAMES.name


def image_key(camera: str) -> str:
    return f"{IMAGES}{camera}"


def features(spec: RobotSpec, images: str, fps: int) -> dict[str, Any]:
    """The `features` of info.json."""
    shown = {image_key(c.name): _image_feature(c.height, c.width, images, fps) for c in spec.cameras}
    names = [dimension.name for dimension in spec.action_space.dimensions]
    indices = {
        name: {"dtype": str(kind).replace("float", "float32"), "shape": [1], "names": None}
        for name, kind in INDEX_COLUMNS.items()
    }
    return {
        **shown,
        STATE: {"dtype": "float32", "shape": [len(spec.state)], "names": list(spec.state)},
        ACTION: {"dtype": "float32", "shape": [len(names)], "names": names},
        **indices,
    }


def info(spec: RobotSpec, *, images: str, fps: int, megabytes: int) -> dict[str, Any]:
    """A fresh info.json; the counts grow with every shard."""
    return {
        "codebase_version": VERSION,
        "robot_type": None,
        "total_episodes": 0,
        "total_frames": 0,
        "total_tasks": 0,
        "chunks_size": FILES_PER_CHUNK,
        "data_files_size_in_mb": megabytes,
        "video_files_size_in_mb": megabytes,
        "fps": fps,
        "splits": {"train": "0:0"},
        "data_path": DATA_PATH,
        "video_path": VIDEO_PATH if images == "video" else None,
        "features": features(spec, images, fps),
    }


def vector_type(dim: int) -> pa.DataType:
    """Other readers take a feature of shape [1] to be a plain number."""
    return pa.float32() if dim == 1 else pa.list_(pa.float32(), dim)


def tasks_table(sentences: list[str]) -> pa.Table:
    """`task_index` indexed by sentence, with the metadata by which pandas recognises its index column."""
    table = pa.table({"task_index": pa.array(range(len(sentences)), pa.int64()), "task": pa.array(sentences)})
    return table.replace_schema_metadata({b"pandas": _PANDAS_INDEX.encode()})


_PANDAS_INDEX = (
    '{"index_columns": ["task"], "column_indexes": [{"name": null, "field_name": null, "pandas_type": "unicode", '
    '"numpy_type": "object", "metadata": {"encoding": "UTF-8"}}], "columns": [{"name": "task_index", "field_name": '
    '"task_index", "pandas_type": "int64", "numpy_type": "int64", "metadata": null}, {"name": "task", "field_name": '
    '"task", "pandas_type": "unicode", "numpy_type": "object", "metadata": null}]}'
)


def statistics_to_json(statistics: Statistics, *, image: bool) -> dict[str, Any]:
    """Statistic -> list; those of images have the shape [3][1][1], `count` is a list of one everywhere."""
    tree = dataclasses.asdict(statistics)
    shaped = {
        name: [[[value]] for value in row] if image else list(row) for name, row in tree.items() if name != "count"
    }
    return {**shaped, "count": [statistics.count]}


def statistics_from_json(tree: dict[str, Any]) -> Statistics:
    flat = {name: tuple(_flat(row)) for name, row in tree.items() if name != "count"}
    return Statistics(count=int(tree["count"][0]), **flat)


def _flat(row: Any) -> list[float]:
    return [value for item in row for value in _flat(item)] if isinstance(row, list) else [float(row)]


def _image_feature(height: int, width: int, images: str, fps: int) -> dict[str, Any]:
    feature: dict[str, Any] = {"dtype": "image", "shape": [height, width, 3], "names": ["height", "width", "channels"]}
    if images != "video":
        return feature
    stream = {
        "video.height": height,
        "video.width": width,
        "video.codec": "h264",
        "video.pix_fmt": "yuv420p",
        "video.is_depth_map": False,
        "video.fps": fps,
        "video.channels": 3,
        "has_audio": False,
    }
    return {**feature, "dtype": "video", "info": stream}
