"""Training speed: every frame decoded once, then read from a memory map at thousands of frames a second.

    cached(load_episodes(root), root) -> the same episodes; pictures and numbers from the map

The recorder can leave the map behind while it draws (`LeRobotConfig.keep_frames`); otherwise the first call makes it.
"""

from __future__ import annotations

import logging
import os
import shutil
from collections.abc import Callable, Iterator, Sequence
from dataclasses import dataclass
from pathlib import Path

import numpy as np

from volition.data import lerobot_layout as layout
from volition.data.fingerprint import fingerprint
from volition.data.frames import INDEX, Frames, FrameWriter, finish_frames, open_frames
from volition.data.lerobot import LeRobotEpisode, scan_shared_videos
from volition.records import Episode

logger = logging.getLogger(__name__)

STATES, ACTIONS = "states.npy", "actions.npy"  # float32[frames, S] and [frames, A]
BLOCK = 64  # frames decoded at a time


@dataclass(frozen=True, kw_only=True)
class CachedEpisode:
    """Implements `records.Episode` with nothing to decode."""

    task: str
    instructions: tuple[str, ...]
    all_states: np.ndarray  # float32[n, S]
    all_actions: np.ndarray  # float32[n, A]
    frames: dict[str, np.ndarray]  # camera -> uint8[n, height, width, 3], mapped

    def __len__(self) -> int:
        return len(self.all_actions)

    def images(self, steps: np.ndarray) -> dict[str, np.ndarray]:
        return {camera: frames[steps] for camera, frames in self.frames.items()}

    def states(self, steps: np.ndarray) -> np.ndarray:
        return self.all_states[steps]

    def actions(self, steps: np.ndarray) -> np.ndarray:
        return self.all_actions[steps]


def cached(
    episodes: Sequence[Episode],
    root: Path,
    *,
    folder: Path | None = None,
    progress: Callable[[int, int], None] | None = None,
) -> list[CachedEpisode]:
    """`episodes` must be all of the dataset in `root`, in order. The map lies within `root`, or in `folder`/KEY.

    A map of another state of the dataset is never used: within `root` it is replaced. `progress` is told frames done
    and frames in all while the map is made.
    """
    key = fingerprint(root)
    place = folder / key if folder is not None else root / layout.FRAMES
    if open_frames(place, key) is None:
        _make(episodes, place, key, progress)
    found = cached_if_made(episodes, root, folder=folder)
    assert found is not None, f"{place}: the frame cache was just made"
    return found


def cached_if_made(
    episodes: Sequence[Episode], root: Path, *, folder: Path | None = None
) -> list[CachedEpisode] | None:
    """As `cached`, but None where there is no map of this dataset."""
    key = fingerprint(root)
    place = folder / key if folder is not None else root / layout.FRAMES
    frames = open_frames(place, key)
    if frames is None:
        return None
    ends = np.cumsum([len(episode) for episode in episodes])
    if len(frames) != ends[-1]:
        raise ValueError(f"{place} holds {len(frames)} frames, not {ends[-1]}: give all episodes of {root}, in order")
    vectors = _read_vectors(place)
    return [_wrap(episode, frames, vectors, int(end) - len(episode)) for episode, end in zip(episodes, ends)]


def _wrap(episode: Episode, frames: Frames, vectors: tuple[np.ndarray, np.ndarray] | None, first: int) -> CachedEpisode:
    steps = np.arange(len(episode))
    own = slice(first, first + len(steps))
    return CachedEpisode(
        task=episode.task,
        instructions=episode.instructions,
        all_states=episode.states(steps) if vectors is None else vectors[0][own],
        all_actions=episode.actions(steps) if vectors is None else vectors[1][own],
        frames=frames.stretch(first, len(steps)),
    )


def _read_vectors(place: Path) -> tuple[np.ndarray, np.ndarray] | None:
    """States and actions of all frames; None in a recorder's cache: its dataset has them in few files anyway."""
    if not (place / STATES).is_file():
        return None
    return np.load(place / STATES), np.load(place / ACTIONS)


def _write_vectors(place: Path, episodes: Sequence[Episode]) -> None:
    np.save(place / STATES, np.concatenate([episode.states(np.arange(len(episode))) for episode in episodes]))
    np.save(place / ACTIONS, np.concatenate([episode.actions(np.arange(len(episode))) for episode in episodes]))


def _make(episodes: Sequence[Episode], place: Path, key: str, progress: Callable[[int, int], None] | None) -> None:
    """Made aside and then renamed: an interruption leaves nothing half, two makers do not disturb each other."""
    aside = place.with_name(f"{place.name}.{os.getpid()}.part")
    total = sum(len(episode) for episode in episodes)
    sizes = {camera: frame.shape[1:3] for camera, frame in episodes[0].images(np.array([0])).items()}
    logger.info("decoding %d frames of %d cameras into %s", total, len(sizes), place)
    try:
        with FrameWriter(aside, sizes) as writer:
            for block in _blocks(episodes, tuple(sizes)):
                for camera, frames in block.items():
                    writer.append(camera, frames)
                if progress is not None:
                    progress(min(writer.counts.values()), total)
        _write_vectors(aside, episodes)
        finish_frames(aside, sizes, [total], key)
        shutil.rmtree(place, ignore_errors=True)
        aside.rename(place)
    except OSError:
        if not (place / INDEX).is_file():  # else another process was faster, and its map is as good
            raise
    finally:
        shutil.rmtree(aside, ignore_errors=True)


def _blocks(episodes: Sequence[Episode], cameras: tuple[str, ...]) -> Iterator[dict[str, np.ndarray]]:
    """Camera -> uint8[n, height, width, 3], each camera's frames in order.

    Where all are LeRobot's shared videos, there is a faster way than `Episode.images`: camera after camera.
    """
    keys = [layout.image_key(camera) for camera in cameras]
    ours = [episode for episode in episodes if isinstance(episode, LeRobotEpisode)]
    if len(ours) == len(episodes) and all(ours[0].files.is_video.get(key, False) for key in keys):
        for camera, key in zip(cameras, keys):
            for picture in scan_shared_videos(ours, key):
                yield {camera: picture[None]}
        return
    for episode in episodes:
        for start in range(0, len(episode), BLOCK):
            yield episode.images(np.arange(start, min(start + BLOCK, len(episode))))
