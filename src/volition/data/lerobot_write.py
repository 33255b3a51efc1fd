"""Writing LeRobotDataset v3.0 so that nothing finished is lost.

    add(episode) or adopt(folder) --> staged folders on the disk, one an episode
    seal()                        --> staged episodes become a shard; info.json, replaced last, makes them count
    close()                       --> seals the rest

Killed at any moment, the folder holds a whole dataset up to the last shard and the staged episodes after it;
`LeRobotWriter.resume` goes on from there. Memory holds one episode, whatever the size of the dataset.
"""

from __future__ import annotations

import dataclasses
import json
import logging
import secrets
import shutil
from pathlib import Path
from types import TracebackType
from typing import Any

import pyarrow.parquet as pq

from volition.contract import RobotSpec
from volition.data import lerobot_layout as layout
from volition.data.files import read_json, replacing, write_json
from volition.data.fingerprint import fingerprint
from volition.data.frames import are_complete, finish_frames, segment_path
from volition.data.lerobot_shard import (
    Place,
    Staged,
    committed_shards,
    drop_uncommitted,
    episode_lengths,
    read_staged,
    write_shard,
    write_statistics,
)
from volition.data.lerobot_stage import EpisodeData, LeRobotConfig, fps_of, is_whole, stage
from volition.data.spec import spec_from_json, spec_to_json

logger = logging.getLogger(__name__)


class LeRobotWriter:
    """Open one with `create` or `resume`; use it as a context, or call `close`."""

    def __init__(self, root: Path, about: dict[str, Any], info: dict[str, Any]) -> None:
        self.root = root
        self.about = about  # meta/volition.json: spec, storage and what the caller noted
        self.spec = spec_from_json(about["spec"], str(root / layout.OURS))
        self.config = LeRobotConfig(**about["storage"])
        self._info = info
        self._token = secrets.token_hex(4)
        self._sentences = _read_sentences(root)
        self._shards = committed_shards(root, info["total_episodes"])
        self._staged = self._recover()
        self._staged_bytes = sum(staged.bytes for staged in self._staged)

    @classmethod
    def create(
        cls, root: Path, spec: RobotSpec, config: LeRobotConfig, note: dict[str, Any] | None = None
    ) -> LeRobotWriter:
        """Begin a dataset in a folder that does not exist or is empty. `note` is JSON, kept for the caller."""
        if root.exists() and any(root.iterdir()):
            raise ValueError(
                f"{root} must not exist or be empty to begin a dataset; resume it, or choose another folder"
            )
        about = {
            "format": 1,
            "spec": spec_to_json(spec),
            "storage": dataclasses.asdict(config),
            "note": note or {},
        }
        info = layout.info(spec, images=config.images, fps=fps_of(spec), megabytes=config.megabytes)
        (root / layout.STAGED).mkdir(parents=True)
        write_json(root / layout.OURS, about)
        return cls(root, about, info)

    @classmethod
    def resume(cls, root: Path) -> LeRobotWriter:
        """Go on with a dataset that `create` began, after whatever ended it."""
        about = read_json(root / layout.OURS)
        spec = spec_from_json(about.get("spec"), str(root / layout.OURS))
        config = LeRobotConfig(**about["storage"])
        if (root / layout.INFO).is_file():
            info = read_json(root / layout.INFO)
        else:
            info = layout.info(spec, images=config.images, fps=fps_of(spec), megabytes=config.megabytes)
        (root / layout.STAGED).mkdir(parents=True, exist_ok=True)
        return cls(root, about, info)

    @property
    def num_episodes(self) -> int:
        return int(self._info["total_episodes"]) + len(self._staged)

    @property
    def num_frames(self) -> int:
        return int(self._info["total_frames"]) + sum(staged.length for staged in self._staged)

    @property
    def last_source(self) -> dict[str, Any] | None:
        """The `source` of the newest episode; None when there is none."""
        if self._staged:
            return self._staged[-1].source
        if not self._shards:
            return None
        place = Place(shard=self._shards - 1, first_episode=0, first_frame=0)
        table = pq.read_table(self.root / layout.EPISODES_PATH.format(**place.indices), columns=[layout.SOURCE])
        source: dict[str, Any] = json.loads(table[layout.SOURCE][-1].as_py())
        return source

    def scratch(self, name: str) -> Path:
        """Where a worker process may `stage` an episode for `adopt`; what is never adopted is removed.

        The name is this writer's alone: workers of one that was killed may be at work for some moments yet.
        """
        return self.root / layout.STAGED / f"loose-{self._token}-{name}"

    def add(self, episode: EpisodeData) -> None:
        """Append an episode; it is durable when this returns."""
        folder = self.scratch("own")
        stage(folder, episode, self.spec, self.config)
        self.adopt(folder)

    def adopt(self, folder: Path) -> None:
        """Append an episode that `stage` wrote to a `scratch` folder with this writer's spec and config."""
        target = self.root / layout.STAGED / _staged_name(self.num_episodes)
        folder.rename(target)
        staged = read_staged(target)
        self._staged.append(staged)
        self._staged_bytes += staged.bytes
        if self._staged_bytes >= self.config.megabytes << 20:
            self.seal()

    def seal(self) -> None:
        """Make a shard of the staged episodes. When it fails (disk full), they stay staged."""
        if not self._staged:
            return
        info = dict(self._info)
        place = Place(shard=self._shards, first_episode=info["total_episodes"], first_frame=info["total_frames"])
        known = dict.fromkeys(self._sentences)
        known.update(dict.fromkeys(text for staged in self._staged for text in staged.instructions))
        write_shard(self.root, info, self._staged, place, list(known))
        with replacing(self.root / layout.TASKS) as path:
            pq.write_table(layout.tasks_table(list(known)), path)
        write_statistics(self.root, info)
        info |= {
            "total_episodes": self.num_episodes,
            "total_frames": self.num_frames,
            "total_tasks": len(known),
            "splits": {"train": f"0:{self.num_episodes}"},
        }
        write_json(self.root / layout.INFO, info)
        self._info, self._sentences, self._shards = info, list(known), self._shards + 1
        sealed, self._staged, self._staged_bytes = self._staged, [], 0  # Ctrl-C may come once more while they go
        for number, staged in enumerate(sealed, place.first_episode):
            self._retire(staged.folder, number)

    def close(self) -> None:
        """Seal what is staged; the dataset is whole."""
        self.seal()
        for left in (self.root / layout.STAGED).iterdir():  # by workers that were stopped
            shutil.rmtree(left, ignore_errors=True)
        if self.config.keep_frames and self._shards:
            self._finish_frames()

    def __enter__(self) -> LeRobotWriter:
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        self.close()

    def _recover(self) -> list[Staged]:
        """The staged episodes that follow the last shard; anything else that a crash left is removed."""
        drop_uncommitted(self.root, self._shards)
        committed = int(self._info["total_episodes"])
        folders = sorted((self.root / layout.STAGED).iterdir())
        named = {folder.name: folder for folder in folders}
        found: list[Staged] = []
        while (name := _staged_name(committed + len(found))) in named:
            if not is_whole(named[name]):
                logger.warning("%s is damaged: it and what follows must be recorded again", named[name])
                break
            found.append(read_staged(named[name]))
        for number in range(committed):  # a crash came after the commit
            if _staged_name(number) in named:
                self._retire(named[_staged_name(number)], number)
        for folder in folders:
            if all(folder != staged.folder for staged in found):
                shutil.rmtree(folder, ignore_errors=True)
        return found

    def _retire(self, folder: Path, number: int) -> None:
        """A staged episode is in a shard now: its frames move to the cache, the rest is not needed any more."""
        if self.config.keep_frames:
            (self.root / layout.FRAMES).mkdir(exist_ok=True)
            for camera in self.spec.image_sizes:
                if (folder / f"{camera}.u8").is_file():
                    (folder / f"{camera}.u8").replace(segment_path(self.root / layout.FRAMES, camera, number))
        shutil.rmtree(folder)

    def _finish_frames(self) -> None:
        folder, sizes, lengths = self.root / layout.FRAMES, self.spec.image_sizes, episode_lengths(self.root)
        if are_complete(folder, sizes, lengths):
            finish_frames(folder, sizes, lengths, fingerprint(self.root))
        else:
            logger.warning("%s lost files since the recording began: training will decode the dataset once", folder)


def _staged_name(episode: int) -> str:
    return f"episode-{episode:08d}"


def _read_sentences(root: Path) -> list[str]:
    """Every sentence, in the order of task_index."""
    if not (root / layout.TASKS).is_file():
        return []
    table = pq.read_table(root / layout.TASKS).to_pylist()
    return [row["task"] for row in sorted(table, key=lambda row: int(row["task_index"]))]
