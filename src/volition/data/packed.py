"""The packed cache on disk: every picture of a dataset, encoded, in a few large files that are mapped into memory.

    FOLDER/pack.json                 which dataset (key), how pictures are kept, the cameras' sizes, how many shards
    FOLDER/shard-00000.json          lengths of its episodes, which could not be read and why, a checksum of every file
    FOLDER/CAMERA-00000.pack         records back to back, then their offsets: uint64[frames + 1], little-endian
    FOLDER/states-00000.npy, actions-00000.npy      float32[frames, S] and [frames, A]

Nothing of it is held in memory: a record is found by two numbers of the mapped offsets. A shard's file is checked
against its checksum when a process touches it first, so a run notices damage before it learns from it. Arrow's own
file format was the other candidate: a row is found as fast there, but a batch must be whole in memory to be written.
"""

from __future__ import annotations

import mmap
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from functools import cached_property
from pathlib import Path
from typing import Any

import numpy as np

from volition.data.codecs import Codec, PackConfig, Records
from volition.data.files import read_json, sha256, understood
from volition.records import Episode

INDEX = "pack.json"
VERSION = 1
STATES, ACTIONS = "states", "actions"


class RecordFile:
    """Byte strings by their number, from one mapped file."""

    def __init__(self, path: Path, count: int) -> None:
        with path.open("rb") as file:
            self._data = memoryview(mmap.mmap(file.fileno(), 0, access=mmap.ACCESS_READ))
        self._offsets = np.frombuffer(self._data[-8 * (count + 1) :], "<u8")

    def __getitem__(self, number: int) -> memoryview:
        return self._data[int(self._offsets[number]) : int(self._offsets[number + 1])]


@dataclass(frozen=True, kw_only=True)
class ShardIndex:
    """What shard-NNNNN.json says."""

    episodes: tuple[int, ...]  # numbers of the episodes that it holds
    lengths: tuple[int, ...]  # of these, in frames
    lost: dict[int, str]  # number of an episode that could not be read -> why
    until: int  # episodes of the dataset before this one are in this shard, in an earlier one, or lost
    sha256: dict[str, str]  # file -> hexadecimal

    @classmethod
    def read(cls, path: Path) -> ShardIndex:
        tree = read_json(path)
        with understood(path, "list the episodes and the files of a shard"):
            return cls(
                episodes=tuple(map(int, tree["episodes"])),
                lengths=tuple(map(int, tree["lengths"])),
                lost={int(number): str(why) for number, why in tree["lost"].items()},
                until=int(tree["until"]),
                sha256={str(name): str(digest) for name, digest in tree["sha256"].items()},
            )


class Shard:
    """Files are opened, and checked, when they are first used."""

    def __init__(
        self, folder: Path, number: int, index: ShardIndex, sizes: Mapping[str, tuple[int, int]], codec: Codec
    ) -> None:
        self.index, self.sizes, self.codec = index, dict(sizes), codec
        self._folder, self._number = folder, number

    @cached_property
    def states(self) -> np.ndarray:
        return self._numbers(STATES)

    @cached_property
    def actions(self) -> np.ndarray:
        return self._numbers(ACTIONS)

    def images(self, first: int, steps: np.ndarray) -> dict[str, np.ndarray]:
        """Camera -> uint8[n, height, width, 3] of the episode that begins at frame `first` of this shard."""
        chosen = np.asarray(steps).tolist()
        found = {}
        for camera, (height, width) in self.sizes.items():
            found[camera] = np.empty((len(chosen), height, width, 3), np.uint8)
            self.codec.decode(_from(self._files[camera], first), chosen, found[camera])
        return found

    @cached_property
    def _files(self) -> dict[str, RecordFile]:
        count = sum(self.index.lengths)
        return {camera: RecordFile(self._checked(record_name(camera, self._number)), count) for camera in self.sizes}

    def _numbers(self, kind: str) -> np.ndarray:
        return np.asarray(np.load(self._checked(number_name(kind, self._number)), mmap_mode="r", allow_pickle=False))

    def _checked(self, name: str) -> Path:
        path = self._folder / name
        if not path.is_file() or sha256(path) != self.index.sha256.get(name):
            raise ValueError(
                f"{path} must be as it was written, but its checksum differs from the one in "
                f"{shard_name(self._number)}: it is damaged or missing. Delete {self._folder} and run again: it is a "
                "cache, made anew from the dataset"
            )
        return path


def _from(file: RecordFile, first: int) -> Records:
    return lambda step: file[first + step]


@dataclass(frozen=True, kw_only=True)
class PackedEpisode:
    """Implements `records.Episode`."""

    task: str
    instructions: tuple[str, ...]
    length: int
    shard: Shard
    first: int  # its first frame within the shard

    def __len__(self) -> int:
        return self.length

    def images(self, steps: np.ndarray) -> dict[str, np.ndarray]:
        return self.shard.images(self.first, steps)

    def states(self, steps: np.ndarray) -> np.ndarray:
        return self.shard.states[self.first + np.asarray(steps)]

    def actions(self, steps: np.ndarray) -> np.ndarray:
        return self.shard.actions[self.first + np.asarray(steps)]


@dataclass(frozen=True, kw_only=True)
class Pack:
    shards: tuple[Shard, ...]

    @property
    def lost(self) -> dict[int, str]:
        return {number: why for shard in self.shards for number, why in shard.index.lost.items()}

    def wrap(self, episodes: Sequence[Episode]) -> list[PackedEpisode]:
        """Those that the pack holds, `episodes` being all of its dataset, in order."""
        if len(episodes) != self.shards[-1].index.until:
            raise ValueError(f"the pack is of {self.shards[-1].index.until} episodes, but {len(episodes)} were given")
        found = []
        for shard in self.shards:
            first = 0
            for number, length in zip(shard.index.episodes, shard.index.lengths):
                of = episodes[number]
                found.append(
                    PackedEpisode(task=of.task, instructions=of.instructions, length=length, shard=shard, first=first)
                )
                first += length
        return found


def open_pack(folder: Path, key: str, config: PackConfig) -> Pack | None:
    """None where there is no finished pack, or one of another dataset, of other pictures or of another version."""
    if not (folder / INDEX).is_file():
        return None
    about = read_json(folder / INDEX)
    with understood(folder / INDEX, "say version, key, pictures, cameras and shards"):
        if (about["version"], about["key"], about["pictures"]) != (VERSION, key, config.name):
            return None
        sizes = {str(name): (int(height), int(width)) for name, (height, width) in about["cameras"].items()}
        count = int(about["shards"])
    codec = config.codec()
    indices = [ShardIndex.read(folder / shard_name(number)) for number in range(count)]
    return Pack(shards=tuple(Shard(folder, number, index, sizes, codec) for number, index in enumerate(indices)))


def about_pack(key: str, config: PackConfig, sizes: Mapping[str, tuple[int, int]]) -> dict[str, Any]:
    """The content of pack.json but for the number of shards, which is known at the end."""
    cameras = {camera: list(size) for camera, size in sizes.items()}
    return {"version": VERSION, "key": key, "pictures": config.name, "cameras": cameras}


def shard_name(number: int) -> str:
    return f"shard-{number:05d}.json"


def record_name(camera: str, number: int) -> str:
    return f"{camera}-{number:05d}.pack"


def number_name(kind: str, number: int) -> str:
    return f"{kind}-{number:05d}.npy"
