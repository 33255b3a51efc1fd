"""`volition data bench`: how fast random windows are read from the packed cache, and from what others read.

    a stretch of the dataset --> packed cache | one .npz a frame (CALVIN) | LeRobot v3.0 video, all in a scratch folder
    the same random windows from each, taking turns --> windows a second and core, ratios of medians

Times are of the processor, in this one process, so that other programs on the machine do not count; files are in the
system's memory, as they are after a first epoch of a dataset that fits, and a shard's checksum is checked before.
"""

from __future__ import annotations

import dataclasses
import statistics
import tempfile
import time
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

import numpy as np
import torch
from PIL import Image
from torch import Tensor

from volition.backbones.images import Pictures, normalise
from volition.contract import RobotSpec
from volition.data.cache import CachedEpisode
from volition.data.calvin import frame_name
from volition.data.codecs import PackConfig
from volition.data.lerobot import load_lerobot
from volition.data.lerobot_stage import EpisodeData, LeRobotConfig
from volition.data.lerobot_write import LeRobotWriter
from volition.data.open import load_episodes, load_spec
from volition.data.packed_write import packed
from volition.data.windows import Windows
from volition.records import Episode

READY = Pictures(size=(224, 224), bicubic=True)
Read = Callable[[int], object]  # a window by its number
Progress = Callable[[str, float, str], None]


@dataclass(frozen=True, kw_only=True)
class BenchConfig:
    num_obs_steps: int = 8  # T
    action_horizon: int = 10  # H
    frames: int = 300  # of the dataset that are measured with
    windows: int = 16  # a round
    rounds: int = 9
    keyframe_interval: int = 2  # of the video (its GOP): what LeRobot's own recorder takes, the fastest to jump in
    pictures: PackConfig = field(default_factory=lambda: PackConfig(encoding="zstd"))


def bench(path: Path, config: BenchConfig, progress: Progress | None = None) -> dict[str, Any]:
    """JSON: ratios of speed, and for each side windows a second and core, bytes, share of raw, PSNR in dB by camera.

    PSNR is None where pictures come back equal. `cache_over_npz` reads what the reference does, every array that it
    uses of T + H frames; `cache_over_npz_used_frames` only the T pictures and T + H - 1 actions that a window needs.
    """
    say = progress or (lambda phase, share, text: None)
    say("prepare", 0.0, "reading a part of the dataset")
    spec = load_spec(path)
    episodes = excerpt(load_episodes(path), config, spec)
    spec = dataclasses.replace(spec, cameras=tuple(c for c in spec.cameras if c.name in episodes[0].frames))
    before = torch.get_num_threads()
    torch.set_num_threads(1)
    try:
        with tempfile.TemporaryDirectory() as scratch:
            return _measure(episodes, spec, config, Path(scratch), say)
    finally:
        torch.set_num_threads(before)


def excerpt(episodes: Sequence[Episode], config: BenchConfig, spec: RobotSpec) -> list[CachedEpisode]:
    """About `config.frames` frames of episodes that are long enough for a whole window; the first two cameras."""
    cameras, found, left = list(spec.image_sizes)[:2], [], config.frames
    need = config.num_obs_steps + config.action_horizon
    for episode in episodes:
        if len(episode) >= need and left > 0:
            steps = np.arange(min(len(episode), max(left, need)))
            pictures = episode.images(steps)
            found.append(
                CachedEpisode(
                    task=episode.task,
                    instructions=episode.instructions,
                    all_states=episode.states(steps),
                    all_actions=episode.actions(steps),
                    frames={camera: pictures[camera] for camera in cameras},
                )
            )
            left -= len(steps)
    if not found:
        raise ValueError(f"bench needs an episode of at least {need} frames, which the dataset does not have")
    return found


def _measure(
    episodes: Sequence[CachedEpisode], spec: RobotSpec, config: BenchConfig, scratch: Path, say: Progress
) -> dict[str, Any]:
    frames = sum(map(len, episodes))
    raw = sum(pictures.nbytes for episode in episodes for pictures in episode.frames.values())
    say("prepare", 0.1, "writing one .npz a frame")
    write_frames(scratch / "npz", episodes)
    say("prepare", 0.5, "writing a LeRobot video")
    video = write_video(scratch / "lerobot", episodes, spec, config)
    say("prepare", 0.7, "packing")
    (scratch / "source").mkdir()
    pack = packed(episodes, scratch / "source", config.pictures, folder=scratch / "cache")
    say("prepare", 1.0, f"{frames} frames")

    sides = {"cache": pack, "lerobot_video": video}
    windows = {name: _windows(found, config) for name, found in sides.items()}
    reads = readers(windows["cache"], windows["lerobot_video"], scratch / "npz", list(spec.image_sizes), config)
    seconds = take_turns(reads, whole_windows(windows["cache"], config), config, say)
    folders = {"cache": scratch / "cache", "lerobot_video": scratch / "lerobot/videos", "npz": scratch / "npz"}
    per_second = {name: 1 / value for name, value in seconds.items()}
    return {
        "cache_over_npz": seconds["npz"] / seconds["cache"],
        "cache_over_npz_model_ready": seconds["npz_model_ready"] / seconds["cache_model_ready"],
        "cache_over_npz_used_frames": seconds["npz_used_frames"] / seconds["cache"],
        "cache_over_lerobot_video": seconds["lerobot_video"] / seconds["cache"],
        "windows_per_second": per_second["cache"],
        "windows_per_second_of": per_second,
        "pictures": config.pictures.name,
        "psnr": {name: psnr(found, episodes) for name, found in sides.items()},
        "bytes": (sizes := {name: _bytes(folder) for name, folder in folders.items()} | {"raw": raw}),
        "share_of_raw": {name: size / raw for name, size in sizes.items()},
        "cameras": {camera: list(size) for camera, size in spec.image_sizes.items()},
        "frames": frames,
        "num_obs_steps": config.num_obs_steps,
        "action_horizon": config.action_horizon,
        "video": {"codec": "h264", "keyframe_interval": config.keyframe_interval},
    }


def _windows(episodes: Sequence[Episode], config: BenchConfig) -> Windows:
    return Windows(episodes, num_obs_steps=config.num_obs_steps, action_horizon=config.action_horizon)


def whole_windows(windows: Windows, config: BenchConfig) -> np.ndarray:
    """Numbers of those windows that need nothing from outside their episode: the reference has no others."""
    ends, past = windows.ends, config.num_obs_steps - 1
    starts = np.concatenate([[0], ends[:-1]])
    return np.concatenate([np.arange(a + past, b - config.action_horizon) for a, b in zip(starts, ends)])


def readers(cache: Windows, video: Windows, npz: Path, cameras: Sequence[str], config: BenchConfig) -> dict[str, Read]:
    past, both = config.num_obs_steps - 1, config.num_obs_steps + config.action_horizon
    pictures = [f"rgb_{camera}" for camera in cameras]
    keys = (*pictures, "robot_obs", "rel_actions", "scene_obs")

    def used_frames(i: int) -> object:
        return read_frames(npz, i - past, past + 1, pictures), read_frames(npz, i - past, both - 1, ["rel_actions"])

    def npz_model_ready(i: int) -> object:
        found = read_frames(npz, i - past, both, keys)
        return [one_by_one(found[key]) for key in pictures], found

    def cache_model_ready(i: int) -> object:
        sample = cache.sample(i)
        return [normalise(torch.from_numpy(x), READY) for x in sample.observation.images.values()], sample

    return {
        "cache": cache.sample,
        "npz": lambda i: read_frames(npz, i - past, both, keys),
        "npz_used_frames": used_frames,
        "lerobot_video": video.sample,
        "cache_model_ready": cache_model_ready,
        "npz_model_ready": npz_model_ready,
    }


def take_turns(reads: Mapping[str, Read], numbers: np.ndarray, config: BenchConfig, say: Progress) -> dict[str, float]:
    """Seconds a window, the median of the rounds; the first round, which opens files, does not count."""
    draw = np.random.default_rng(0)
    times: dict[str, list[float]] = {name: [] for name in reads}
    for number in range(config.rounds + 1):
        chosen = draw.choice(numbers, config.windows).tolist()
        for name, read in reads.items():
            started = time.process_time()
            for i in chosen:
                read(i)
            times[name].append((time.process_time() - started) / len(chosen))
        say("measure", (number + 1) / (config.rounds + 1), "windows from every side")
    return {name: statistics.median(found[1:]) for name, found in times.items()}


def waiting(seconds_of_batch: float, step_seconds: float) -> float:
    """Share of a run's time that steps wait, when one worker reads the next batch during a step."""
    return max(0.0, 1 - step_seconds / seconds_of_batch)


def write_frames(folder: Path, episodes: Sequence[CachedEpisode]) -> None:
    """Every frame as CALVIN keeps it, compressed, with depth and touch, which nobody opens: what is in them is made up
    (brightness, and zeros), and so are absolute actions and the scene's state.
    """
    folder.mkdir()
    number = 0
    for episode in episodes:
        for step in range(len(episode)):
            seen = {camera: frames[step] for camera, frames in episode.frames.items()}
            action = episode.all_actions[step].astype(np.float64)
            arrays = {
                **{f"rgb_{camera}": picture for camera, picture in seen.items()},
                **{f"depth_{camera}": picture.mean(-1, dtype=np.float32) / 255 for camera, picture in seen.items()},
                "rgb_tactile": np.zeros((160, 120, 6), np.uint8),
                "depth_tactile": np.zeros((160, 120, 2), np.float32),
                "rel_actions": action,
                "actions": action,
                "robot_obs": episode.all_states[step].astype(np.float64),
                "scene_obs": np.zeros(24),
            }
            np.savez_compressed(folder / frame_name(number), **arrays)
            number += 1


def read_frames(folder: Path, first: int, count: int, keys: Sequence[str]) -> dict[str, np.ndarray]:
    """As the reference reads a window: a file a frame, some of its arrays, stacked."""
    frames = []
    for number in range(first, first + count):
        with np.load(folder / frame_name(number), allow_pickle=False) as file:
            frames.append({key: file[key] for key in keys})
    return {key: np.stack([frame[key] for frame in frames]) for key in keys}


def one_by_one(pictures: np.ndarray) -> Tensor:
    """As the reference prepares pictures: each through PIL, then to a normalised tensor."""
    mean, std = (torch.tensor(x)[:, None, None] for x in (READY.mean, READY.std))
    height, width = READY.size
    found = []
    for picture in pictures:
        resized = np.array(Image.fromarray(picture).resize((width, height), Image.Resampling.BICUBIC))
        found.append(torch.from_numpy(resized).permute(2, 0, 1).contiguous().float().div_(255).sub_(mean).div_(std))
    return torch.stack(found)


def write_video(
    root: Path, episodes: Sequence[CachedEpisode], spec: RobotSpec, config: BenchConfig
) -> Sequence[Episode]:
    storage = LeRobotConfig(images="video", keyframe_interval=config.keyframe_interval)
    with LeRobotWriter.create(root, spec, storage) as writer:
        for episode in episodes:
            writer.add(
                EpisodeData(
                    task=episode.task,
                    instructions=episode.instructions,
                    images={camera: np.asarray(frames) for camera, frames in episode.frames.items()},
                    states=episode.all_states,
                    actions=episode.all_actions,
                )
            )
    return load_lerobot(root)


def psnr(episodes: Sequence[Episode], originals: Sequence[CachedEpisode]) -> dict[str, float | None]:
    """Camera -> peak signal to noise in dB over all frames of the first episode; None where they are equal."""
    steps = np.arange(len(originals[0]))
    found = {}
    for camera, pictures in episodes[0].images(steps).items():
        error = float(np.mean((pictures.astype(np.float64) - originals[0].frames[camera]) ** 2))
        found[camera] = 10 * float(np.log10(255**2 / error)) if error else None
    return found


def _bytes(folder: Path) -> int:
    return sum(path.stat().st_size for path in folder.rglob("*") if path.is_file())
