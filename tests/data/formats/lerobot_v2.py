"""LeRobot v2.1 with pictures in the data files, and v2.0 with videos, in chunks of two episodes."""

import json
from pathlib import Path
from typing import Any

import numpy as np
import pyarrow as pa
import pyarrow.parquet as pq

from tests.data.conftest import toy_episode
from volition.data.lerobot_stage import EpisodeData
from volition.data.pictures import encode_image, write_video

LENGTHS = (5, 2, 3)
KEY = "observation.images.base"
FPS = 10


def make(root: Path) -> Path:
    return _write(root / "d", "v2.1", "image")


def make_old(root: Path) -> Path:
    return _write(root / "d", "v2.0", "video")


def _write(root: Path, version: str, images: str) -> Path:
    episodes = [toy_episode(number, length) for number, length in enumerate(LENGTHS)]
    (root / "meta").mkdir(parents=True)
    for number, episode in enumerate(episodes):
        chunk = f"chunk-{number // 2:03d}"
        columns = _numbers(episode, number)
        if images == "image":
            cells = [
                {"bytes": encode_image(x, "png"), "path": f"{i}.png"} for i, x in enumerate(episode.images["base"])
            ]
            columns[KEY] = pa.array(cells)
        else:
            video = root / "videos" / chunk / KEY / f"episode_{number:06d}.mp4"
            video.parent.mkdir(parents=True, exist_ok=True)
            write_video(video, episode.images["base"], fps=FPS, keyframe_interval=2, quality=10)
        data = root / "data" / chunk / f"episode_{number:06d}.parquet"
        data.parent.mkdir(parents=True, exist_ok=True)
        pq.write_table(pa.table(columns), data)
    (root / "meta/info.json").write_text(json.dumps(_info(version, images)))
    _write_lines(root / "meta/tasks.jsonl", [{"task_index": i, "task": f"sentence {i}"} for i in range(3)])
    lines = [{"episode_index": i, "tasks": [e.instructions[0]], "length": len(e)} for i, e in enumerate(episodes)]
    _write_lines(root / "meta/episodes.jsonl", lines)
    each = [{"episode_index": i, "stats": _statistics(e.actions)} for i, e in enumerate(episodes)]
    if version == "v2.1":
        _write_lines(root / "meta/episodes_stats.jsonl", each)
    else:
        every = np.concatenate([episode.actions for episode in episodes])
        (root / "meta/stats.json").write_text(json.dumps(_statistics(every)))
    return root


def _numbers(episode: EpisodeData, number: int) -> dict[str, Any]:
    n, first = len(episode), sum(LENGTHS[:number])
    return {
        "observation.state": pa.array(episode.states.tolist(), pa.list_(pa.float32(), 2)),
        "action": pa.array(episode.actions.tolist(), pa.list_(pa.float32())),
        "timestamp": pa.array((np.arange(n) / FPS).astype(np.float32)),
        "frame_index": pa.array(np.arange(n)),
        "episode_index": pa.array(np.full(n, number)),
        "index": pa.array(np.arange(first, first + n)),
        "task_index": pa.array(np.full(n, number % 3)),
    }


def _info(version: str, images: str) -> dict[str, Any]:
    vector = {"dtype": "float32", "shape": [2], "names": {"motors": ["x", "y"]}}
    picture = {"dtype": images, "shape": [28, 28, 3], "names": ["height", "width", "channel"]}
    return {
        "codebase_version": version,
        "robot_type": "toy",
        "total_episodes": len(LENGTHS),
        "total_frames": sum(LENGTHS),
        "total_tasks": 3,
        "total_videos": len(LENGTHS) if images == "video" else 0,
        "total_chunks": 2,
        "chunks_size": 2,
        "fps": FPS,
        "splits": {"train": f"0:{len(LENGTHS)}"},
        "data_path": "data/chunk-{episode_chunk:03d}/episode_{episode_index:06d}.parquet",
        "video_path": "videos/chunk-{episode_chunk:03d}/{video_key}/episode_{episode_index:06d}.mp4",
        "features": {KEY: picture, "observation.state": vector, "action": vector},
    }


def _statistics(actions: np.ndarray) -> dict[str, Any]:
    kinds = {"min": actions.min(0), "max": actions.max(0), "mean": actions.mean(0), "std": actions.std(0)}
    return {"action": {name: row.tolist() for name, row in kinds.items()} | {"count": [len(actions)]}}


def _write_lines(path: Path, lines: list[dict[str, Any]]) -> None:
    path.write_text("".join(json.dumps(line) + "\n" for line in lines))
