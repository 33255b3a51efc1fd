"""Training speed: every frame decoded once, then read from a memory map at thousands of frames a second.

    cached(load_episodes(root), root) -> the same episodes; pictures and numbers from the map

An episode that cannot be read is left out, which is said aloud and noted beside the map: the others are worth having.
The recorder can leave the map behind while it draws (`LeRobotConfig.keep_frames`); otherwise the first call makes it.
"""

from __future__ import annotations

import logging
import os
import shutil
from collections.abc import Callable, Iterator, Sequence
from contextlib import contextmanager
from dataclasses import dataclass
from pathlib import Path

import numpy as np

from volition.data import lerobot_layout as layout
from volition.data.files import read_json, understood, write_json
from volition.data.fingerprint import fingerprint
from volition.data.frames import INDEX, Frames, FrameWriter, finish_frames, open_frames
from volition.data.lerobot import LeRobotEpisode, scan_shared_videos
from volition.records import Episode

logger = logging.getLogger(__name__)

STATES, ACTIONS = "states.npy", "actions.npy"  # float32[frames, S] and [frames, A]
LOST = "lost.json"  # number of an episode that could not be read -> why
BLOCK = 64  # frames decoded at a time

Progress = Callable[[int, int], None]


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
    selection: str = "",
    progress: Progress | None = None,
) -> list[CachedEpisode]:
    """`episodes` must be all of the dataset in `root`, in order; those that cannot be read are not in the answer.

    The map lies within `root`, or in `folder`/KEY; that of a selection of the episodes, known by a word for it, beside
    that of all. A map of another state of the dataset is never used: within `root` it is replaced. `progress` is told
    frames done and frames in all while the map is made.
    """
    place, key = place_of(root, folder, selection)
    if open_frames(place, key) is None:
        _make(episodes, place, key, progress)
    found = cached_if_made(episodes, root, folder=folder, selection=selection)
    assert found is not None, f"{place}: the frame cache was just made"
    return found


def cached_if_made(
    episodes: Sequence[Episode], root: Path, *, folder: Path | None = None, selection: str = ""
) -> list[CachedEpisode] | None:
    """As `cached`, but None where there is no map of this dataset."""
    place, key = place_of(root, folder, selection)
    frames = open_frames(place, key)
    if frames is None:
        return None
    lost = read_lost(place)
    kept = [number for number in range(len(episodes)) if number not in lost]
    ends = np.cumsum([len(episodes[number]) for number in kept])
    if len(frames) != ends[-1]:
        raise ValueError(f"{place} holds {len(frames)} frames, not {ends[-1]}: give all episodes of {root}, in order")
    vectors, found = _read_vectors(place), []
    for number, end in zip(kept, ends):
        try:
            found.append(_wrap(episodes[number], frames, vectors, int(end) - len(episodes[number])))
        except ValueError as error:  # a recorder's map says nothing of the numbers
            lost[number] = str(error)
    tell_losses(lost, len(episodes), root)
    if not found:
        raise ValueError(f"{root}: none of {len(episodes)} episodes can be read; the last one: {lost[kept[-1]]}")
    return found


def read_lost(place: Path) -> dict[int, str]:
    """Which episodes the map in `place` leaves out, and why."""
    if not (place / LOST).is_file():
        return {}
    with understood(place / LOST, "say why each episode was left out"):
        return {int(number): str(why) for number, why in read_json(place / LOST).items()}


def tell_losses(lost: dict[int, str], total: int, root: Path) -> None:
    """Each of them, then how many: a missing episode is never a secret."""
    for number, why in lost.items():
        logger.warning("%s: episode %d is left out: %s", root, number, why)
    if lost:
        logger.warning("%s: %d of %d episodes are damaged and left out", root, len(lost), total)


def read_numbers(episode: Episode) -> tuple[np.ndarray, np.ndarray]:
    """States float32[n, S] and actions float32[n, A] of all steps; ValueError where they are missing or not finite."""
    steps = np.arange(len(episode))
    with reading():
        found = episode.states(steps), episode.actions(steps)
    for name, values in zip(("states", "actions"), found):
        if not np.isfinite(values).all():
            frame, dimension = np.argwhere(~np.isfinite(values))[0]
            raise ValueError(
                f"{name} must be finite, but frame {frame}, dimension {dimension} is {values[frame, dimension]}"
            )
    return found


def place_of(root: Path, folder: Path | None, selection: str) -> tuple[Path, str]:
    """Where a map lies, and the key by which it is known to be right."""
    key = fingerprint(root) + selection
    own = layout.frames_folder(root)
    return (folder / key if folder is not None else own.with_name(f"{own.name}{selection}")), key


def _wrap(episode: Episode, frames: Frames, vectors: tuple[np.ndarray, np.ndarray] | None, first: int) -> CachedEpisode:
    own = slice(first, first + len(episode))
    states, actions = read_numbers(episode) if vectors is None else (vectors[0][own], vectors[1][own])
    return CachedEpisode(
        task=episode.task,
        instructions=episode.instructions,
        all_states=states,
        all_actions=actions,
        frames=frames.stretch(first, len(episode)),
    )


def _read_vectors(place: Path) -> tuple[np.ndarray, np.ndarray] | None:
    """States and actions of all frames; None in a recorder's cache: its dataset has them in few files anyway."""
    if not (place / STATES).is_file():
        return None
    return np.load(place / STATES), np.load(place / ACTIONS)


def _make(episodes: Sequence[Episode], place: Path, key: str, progress: Progress | None) -> None:
    """Made aside and then renamed: an interruption leaves nothing half, two makers do not disturb each other."""
    aside = place.with_name(f"{place.name}.{os.getpid()}.part")
    total = sum(len(episode) for episode in episodes)
    sizes = picture_sizes(episodes)
    logger.info("decoding %d frames of %d cameras into %s", total, len(sizes), place)
    try:
        with FrameWriter(aside, sizes) as writer:
            tell = (
                (lambda: None) if progress is None else lambda: progress(min(writer.counts.values(), default=0), total)
            )
            numbers, lost = _decode_videos(episodes, writer, tell) or _decode_each(episodes, writer, tell)
        if not numbers:
            raise ValueError(f"none of {len(episodes)} episodes can be read; the last one: {list(lost.values())[-1]}")
        for name, values in zip((STATES, ACTIONS), zip(*numbers)):
            np.save(aside / name, np.concatenate(values))
        write_json(aside / LOST, lost)
        finish_frames(aside, sizes, [sum(len(actions) for _, actions in numbers)], key)
        shutil.rmtree(place, ignore_errors=True)
        aside.rename(place)
    except OSError as error:
        if not (place / INDEX).is_file():  # else another process was faster, and its map is as good
            raise OSError(f"the frame cache {place} cannot be written: {error}; make room for all frames") from error
    finally:
        shutil.rmtree(aside, ignore_errors=True)


Decoded = tuple[list[tuple[np.ndarray, np.ndarray]], dict[int, str]]  # numbers of the readable, why others are not


def _decode_videos(episodes: Sequence[Episode], writer: FrameWriter, tell: Callable[[], None]) -> Decoded | None:
    """The faster way for LeRobot's videos: camera after camera, each file from end to end.

    None where it does not apply: to other datasets, and to one with damage, which then is to be looked at one by one.
    """
    keys = {camera: layout.image_key(camera) for camera in writer.sizes}
    ours = [episode for episode in episodes if isinstance(episode, LeRobotEpisode)]
    if len(ours) < len(episodes) or not all(ours[0].files.is_video.get(key, False) for key in keys.values()):
        return None
    try:
        numbers = [read_numbers(episode) for episode in episodes]
        for camera, key in keys.items():
            for picture in scan_shared_videos(ours, key):
                writer.append(camera, picture[None])
                tell()
    except (ValueError, FileNotFoundError):
        writer.cut(0)
        return None
    return numbers, {}


def _decode_each(episodes: Sequence[Episode], writer: FrameWriter, tell: Callable[[], None]) -> Decoded:
    numbers, lost, done = [], {}, 0
    for number, episode in enumerate(episodes):
        try:
            found = read_numbers(episode)
            for start in range(0, len(episode), BLOCK):
                with reading():
                    block = episode.images(np.arange(start, min(start + BLOCK, len(episode))))
                if block.keys() != writer.sizes.keys():
                    raise ValueError(f"cameras must be {list(writer.sizes)}, but are {list(block)}")
                for camera, frames in block.items():
                    writer.append(camera, frames)
                tell()
        except ValueError as error:
            writer.cut(done)
            lost[number] = str(error)
        else:
            numbers.append(found)
            done += len(episode)
    return numbers, lost


def picture_sizes(episodes: Sequence[Episode]) -> dict[str, tuple[int, int]]:
    """Camera -> height and width, of the first episode that shows them."""
    why = ""
    for episode in episodes:
        try:
            return {camera: frame.shape[1:3] for camera, frame in episode.images(np.array([0])).items()}
        except (ValueError, OSError) as error:
            why = why or str(error)
    raise ValueError(f"none of {len(episodes)} episodes can be read; the first one: {why}")


@contextmanager
def reading() -> Iterator[None]:
    """A file that cannot be read is damage to its episode; one that cannot be written is another matter."""
    try:
        yield
    except OSError as error:
        raise ValueError(str(error)) from error
