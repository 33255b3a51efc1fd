"""Any dataset that is read becomes one of the two formats that are written, and is read back to prove it.

    source --read--> EpisodeData --LeRobotWriter or CalvinWriter--> target --read--> compared with the source

Interrupted at any moment, the same call goes on. Numbers must come back equal, and pictures too where the target keeps
them exactly; where it does not, the answer says how far off they are.
"""

from __future__ import annotations

import dataclasses
import json
import logging
from collections.abc import Callable, Sequence
from contextlib import AbstractContextManager
from dataclasses import dataclass
from pathlib import Path
from typing import Any, Literal, Protocol, runtime_checkable

import numpy as np

from volition.contract import RobotSpec, require_equal
from volition.data import calvin
from volition.data import lerobot_layout as layout
from volition.data.cache import read_numbers, reading, tell_losses
from volition.data.calvin_write import CalvinWriter, require_same
from volition.data.episodes import left_out
from volition.data.fingerprint import fingerprint
from volition.data.lerobot_stage import EpisodeData, LeRobotConfig
from volition.data.lerobot_write import LeRobotWriter
from volition.data.open import detect, load_spec
from volition.data.remote import located
from volition.data.spec import spec_to_json
from volition.records import Episode

logger = logging.getLogger(__name__)

AGAIN = "; delete it and convert again"
Progress = Callable[[str, float, str], None]  # "convert" or "verify", share 0..1, text


@dataclass(frozen=True, kw_only=True)
class Converted:
    episodes: int
    frames: int
    damaged_episodes: int  # of the source, which therefore are not in the target
    left_out: tuple[str, ...]  # state entries and cameras that the target has no place for
    psnr: dict[str, float]  # camera -> decibels of the worst episode; empty where pictures are equal


@runtime_checkable
class Writer(AbstractContextManager[Any], Protocol):
    """What a format's writer must do."""

    @property
    def spec(self) -> RobotSpec: ...
    @property
    def num_episodes(self) -> int: ...
    @property
    def last_source(self) -> dict[str, Any] | None: ...
    def add(self, episode: EpisodeData) -> None: ...


def convert(
    source: Path,
    target: Path,
    *,
    to: Literal["lerobot", "calvin"] = "lerobot",
    storage: LeRobotConfig | None = None,
    progress: Progress | None = None,
) -> Converted:
    """Write the dataset in `source` to the folder `target`; `storage` is how LeRobot's format keeps it.

    ValueError where the format cannot express the dataset or the target was begun from another one; OSError where it
    cannot be written. Damaged episodes are left out, logged and counted.
    """
    if located(target) != target:
        raise ValueError(f"{target} must be a folder of this machine: data are read from URLs, not written to them")
    if target.resolve().is_relative_to(source.resolve()):
        raise ValueError(f"{target} must lie outside of {source}: it would become part of what is read")
    given, storage, tell = load_spec(source), storage or LeRobotConfig(), progress or (lambda *_: None)
    episodes = detect(source).load(source)
    note = {"source": fingerprint(source)}
    if to == "calvin":
        wanted, exact = _calvin_part(given, source), True
        writer: Writer = CalvinWriter.open(target, note)
    else:
        wanted, exact = given, storage.images == "png"
        writer = _lerobot_writer(target, given, storage, note)
    reader = _Reader(given, wanted)
    if writer.last_source is not None:
        logger.info("going on with %s after episode %d of the source", target, writer.last_source["episode"])
    try:
        with writer:
            _write(writer, episodes, reader, tell)
    except OSError as error:
        raise OSError(f"{target} cannot be written: {error}; make room, and the same command goes on") from error
    return _verify(target, episodes, reader, exact, tell)


class _Reader:
    """Episodes of the source as the target is to have them: `wanted` is `given`, or less of it."""

    def __init__(self, given: RobotSpec, wanted: RobotSpec) -> None:
        self.cameras = [camera.name for camera in wanted.cameras]
        self.entries = [given.state.index(name) for name in wanted.state]
        self.left_out = (
            *(f"camera {camera.name}" for camera in given.cameras if camera.name not in self.cameras),
            *(f"state {name}" for name in given.state if name not in wanted.state),
        )

    def read(self, episodes: Sequence[Episode], number: int) -> EpisodeData:
        """Whole; ValueError where it is damaged."""
        episode = episodes[number]
        states, actions = read_numbers(episode)
        with reading():
            images = episode.images(np.arange(len(episode)))
        return EpisodeData(
            task=episode.task,
            instructions=episode.instructions,
            images={camera: images[camera] for camera in self.cameras},
            states=states[:, self.entries],
            actions=actions,
            source={"episode": number},
        )


def _calvin_part(given: RobotSpec, source: Path) -> RobotSpec:
    """What CALVIN's format keeps of a dataset; ValueError where it needs something else."""
    cameras = tuple(camera for wanted in calvin.CAMERAS for camera in given.cameras if camera.name == wanted.name)
    state = tuple(name for name in calvin.STATE if name in given.state)
    part = dataclasses.replace(given, cameras=cameras, state=state)
    require_equal(part, calvin.SPEC, left_name=f"the dataset {source}", right_name="CALVIN's format")
    return part


def _lerobot_writer(target: Path, spec: RobotSpec, storage: LeRobotConfig, note: dict[str, Any]) -> LeRobotWriter:
    if not (target / layout.OURS).is_file():
        return LeRobotWriter.create(target, spec, storage, note)
    writer = LeRobotWriter.resume(target)
    now = {"note": note, "spec": spec_to_json(spec), "storage": dataclasses.asdict(storage)}
    require_same(json.loads(json.dumps(now)), {name: writer.about.get(name) for name in now}, target)
    return writer


def _write(writer: Writer, episodes: Sequence[Episode], reader: _Reader, tell: Progress) -> None:
    last = writer.last_source
    for number in range(0 if last is None else last["episode"] + 1, len(episodes)):
        try:
            episode = reader.read(episodes, number)
        except ValueError:
            continue  # damaged: told and counted when the target is compared
        writer.add(episode)
        tell("convert", (number + 1) / len(episodes), f"{writer.num_episodes} episodes")


def _verify(target: Path, episodes: Sequence[Episode], reader: _Reader, exact: bool, tell: Progress) -> Converted:
    """Read the target and compare every episode with the source's; what is damaged there must be missing here."""
    made = detect(target).load(target)
    lost: dict[int, str] = {}
    frames, psnr = 0, dict.fromkeys(reader.cameras, np.inf)
    for number in range(len(episodes)):
        try:
            original = reader.read(episodes, number)
        except ValueError as error:
            lost[number] = str(error)
            continue
        place = number - len(lost)
        if place >= len(made) or not _same_numbers(made[place], original):
            raise ValueError(f"{target} must hold episode {number} of the source as its episode {place}{AGAIN}")
        shown = made[place].images(np.arange(len(original)))
        psnr = {camera: min(worst, decibels(shown[camera], original.images[camera])) for camera, worst in psnr.items()}
        frames += len(original)
        tell("verify", (number + 1) / len(episodes), f"{place + 1} episodes are equal")
    if len(made) != len(episodes) - len(lost):
        raise ValueError(f"{target} must hold {len(episodes) - len(lost)} episodes, but holds {len(made)}{AGAIN}")
    lossy = {camera: value for camera, value in psnr.items() if value < np.inf}
    if exact and lossy:
        raise ValueError(f"{target} must hold the pictures as they were, but {list(lossy)} differ{AGAIN}")
    tell_losses(lost, len(episodes), target)
    return Converted(
        episodes=len(made),
        frames=frames,
        damaged_episodes=len(lost) + left_out(episodes),
        left_out=reader.left_out,
        psnr=lossy,
    )


def decibels(shown: np.ndarray, original: np.ndarray) -> float:
    """Peak signal-to-noise ratio of two uint8 arrays, 10 log10(255^2 / mean squared error); infinite when equal."""
    error = np.mean(np.square(shown.astype(np.float32) - original), dtype=np.float64)
    return float(10 * np.log10(255**2 / error)) if error else np.inf


def _same_numbers(made: Episode, original: EpisodeData) -> bool:
    steps = np.arange(len(original))
    return (
        (len(made), made.instructions) == (len(original), original.instructions)
        and (made.task == original.task or not original.task)
        and np.array_equal(made.states(steps), original.states)
        and np.array_equal(made.actions(steps), original.actions)
    )
