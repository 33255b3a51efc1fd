"""One finished episode as a folder of its own, before it becomes part of a shard.

Staging is where pictures are compressed, so worker processes do it in parallel; a staged folder knows nothing of its
place in the dataset, and appears under its final name only when it is complete.

    EpisodeData --stage--> FOLDER/{episode.json, frames.arrow, CAMERA.mp4, CAMERA.u8}
"""

from __future__ import annotations

import json
import shutil
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any, Literal

import numpy as np
import pyarrow as pa

from volition.contract import RobotSpec
from volition.data import lerobot_layout as layout
from volition.data.pictures import encode_image, write_video
from volition.data.statistics import image_statistics, vector_statistics

EPISODE, FRAMES = "episode.json", "frames.arrow"


@dataclass(frozen=True, kw_only=True)
class LeRobotConfig:
    """How a dataset is stored. `video` is small and lossy, `png` exact, `jpeg` between."""

    images: Literal["video", "png", "jpeg"] = "video"
    megabytes: int = 100  # a shard's largest file stays near this size
    keyframe_interval: int = 10
    video_quality: int = 18  # x264's constant rate factor: 0 lossless, 51 worst
    keep_frames: bool = False  # also keep the undamaged pictures as the frame cache, for training without decoding

    def __post_init__(self) -> None:
        if self.images not in ("video", "png", "jpeg"):
            raise ValueError(f"images must be 'video', 'png' or 'jpeg', got {self.images!r}")
        if self.megabytes < 1 or self.keyframe_interval < 1 or not 0 <= self.video_quality <= 51:
            raise ValueError(
                "megabytes and keyframe_interval must be at least 1 and video_quality 0..51, got "
                f"{self.megabytes}, {self.keyframe_interval}, {self.video_quality}"
            )


@dataclass(frozen=True, kw_only=True)
class EpisodeData:
    """A whole episode in memory. Frame t: what was seen, and the action that was right then."""

    task: str
    instructions: tuple[str, ...]  # wordings of the same command, the first is the frames' task
    images: dict[str, np.ndarray]  # camera -> uint8[n, height, width, 3]
    states: np.ndarray  # float32[n, S]
    actions: np.ndarray  # float32[n, A]
    source: dict[str, Any] = field(default_factory=dict)  # JSON; comes back with the episode

    def __len__(self) -> int:
        return len(self.actions)

    def check(self, spec: RobotSpec) -> None:
        """ValueError unless shapes and types are those of `spec`."""
        n = len(self)
        expected: dict[str, tuple[tuple[int, ...], type]] = {
            "states": ((n, len(spec.state)), np.float32),
            "actions": ((n, spec.action_space.dim), np.float32),
            **{c.name: ((n, c.height, c.width, 3), np.uint8) for c in spec.cameras},
        }
        given = {"states": self.states, "actions": self.actions, **self.images}
        wrong = [
            f"{name}: must be {np.dtype(expected[name][1])}{list(expected[name][0])}, is "
            + (f"{given[name].dtype}{list(given[name].shape)}" if name in given else "missing")
            for name in expected
            if name not in given or given[name].shape != expected[name][0] or given[name].dtype != expected[name][1]
        ]
        wrong += [f"{name}: not a camera of the spec" for name in self.images if name not in expected]
        if not self.instructions or n == 0:
            wrong.append(f"needs a frame and an instruction, has {n} and {len(self.instructions)}")
        if wrong:
            raise ValueError(f"episode of task {self.task!r} does not fit the robot spec:\n  " + "\n  ".join(wrong))


def stage(folder: Path, episode: EpisodeData, spec: RobotSpec, config: LeRobotConfig) -> None:
    """Write `folder` whole or not at all, whatever ends this process.

    A power failure may still leave it damaged: `is_whole` tells, by the sizes noted in episode.json.
    """
    episode.check(spec)
    partial = folder.with_name(f"{folder.name}.part")
    shutil.rmtree(partial, ignore_errors=True)
    partial.mkdir(parents=True)
    try:
        _write(partial, episode, spec, config)
        partial.rename(folder)
    except BaseException:
        shutil.rmtree(partial, ignore_errors=True)
        raise


def is_whole(folder: Path) -> bool:
    """Whether a staged folder is as `stage` left it."""
    try:
        sizes = json.loads((folder / EPISODE).read_text(encoding="utf-8"))["sizes"]
        return all((folder / name).stat().st_size == size for name, size in sizes.items())
    except (FileNotFoundError, ValueError):
        return False


def fps_of(spec: RobotSpec) -> int:
    """Frames a second as the format wants it: a whole number."""
    if spec.control_hz != round(spec.control_hz) or spec.control_hz < 1:
        raise ValueError(f"the format needs a whole number of frames a second, the spec says {spec.control_hz} Hz")
    return round(spec.control_hz)


def _write(folder: Path, episode: EpisodeData, spec: RobotSpec, config: LeRobotConfig) -> None:
    fps = fps_of(spec)
    for camera, frames in episode.images.items():
        if config.images == "video":
            write_video(
                folder / f"{camera}.mp4",
                frames,
                fps=fps,
                keyframe_interval=config.keyframe_interval,
                quality=config.video_quality,
            )
        if config.keep_frames:
            (folder / f"{camera}.u8").write_bytes(np.ascontiguousarray(frames).data)
    table = _table(episode, config, fps)
    with pa.OSFile(str(folder / FRAMES), "wb") as target, pa.ipc.new_file(target, table.schema) as writer:
        writer.write_table(table)
    statistics = {
        **{
            layout.image_key(c): layout.statistics_to_json(image_statistics(f), image=True)
            for c, f in episode.images.items()
        },
        layout.STATE: layout.statistics_to_json(vector_statistics(episode.states), image=False),
        layout.ACTION: layout.statistics_to_json(vector_statistics(episode.actions), image=False),
    }
    about = {
        "task": episode.task,
        "instructions": list(episode.instructions),
        "length": len(episode),
        "source": episode.source,
        "statistics": statistics,
        "sizes": {path.name: path.stat().st_size for path in sorted(folder.iterdir())},
    }
    (folder / EPISODE).write_text(json.dumps(about), encoding="utf-8")


def _table(episode: EpisodeData, config: LeRobotConfig, fps: int) -> pa.Table:
    columns: dict[str, pa.Array] = {}
    if config.images != "video":
        for camera, frames in episode.images.items():
            coded = [encode_image(frame, config.images) for frame in frames]
            names = [f"frame-{i:06d}.{'jpg' if config.images == 'jpeg' else 'png'}" for i in range(len(coded))]
            arrays = [pa.array(coded, pa.binary()), pa.array(names, pa.string())]
            columns[layout.image_key(camera)] = pa.StructArray.from_arrays(arrays, fields=list(layout.IMAGE_TYPE))
    columns[layout.STATE] = _vectors(episode.states)
    columns[layout.ACTION] = _vectors(episode.actions)
    frame_index = np.arange(len(episode))
    columns["timestamp"] = pa.array((frame_index / fps).astype(np.float32))
    columns["frame_index"] = pa.array(frame_index)
    return pa.table(columns)


def _vectors(rows: np.ndarray) -> pa.Array:
    flat = pa.array(np.ascontiguousarray(rows, dtype=np.float32).reshape(-1))
    return flat if rows.shape[1] == 1 else pa.FixedSizeListArray.from_arrays(flat, rows.shape[1])
