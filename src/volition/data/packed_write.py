"""Making the packed cache: shard after shard, so that an interruption costs one of them.

    episode --Codec--> records of the shard at work --full--> its checksums in shard-NNNNN.json, which make it count
    all episodes done --> pack.json, and the folder FOLDER.part becomes FOLDER

Of several processes that want the same pack, one makes it and the others wait. Memory holds one block of pictures.
"""

from __future__ import annotations

import dataclasses
import logging
import shutil
from collections.abc import Callable, Iterator, Mapping, Sequence
from pathlib import Path
from types import TracebackType

import numpy as np

from volition.data.cache import BLOCK, picture_sizes, place_of, read_numbers, reading, tell_losses
from volition.data.codecs import GROUP, Codec, PackConfig
from volition.data.files import alone, read_json, sha256, sync, write_json
from volition.data.packed import (
    ACTIONS,
    INDEX,
    STATES,
    Pack,
    PackedEpisode,
    ShardIndex,
    about_pack,
    number_name,
    open_pack,
    record_name,
    shard_name,
)
from volition.records import Episode

assert BLOCK % GROUP == 0, "a block begins with the first picture of a group"

BYTES = 64 << 20  # of one camera's records in a shard, about: what an interruption loses

logger = logging.getLogger(__name__)

Progress = Callable[[int, int], None]


def packed(
    episodes: Sequence[Episode],
    root: Path,
    config: PackConfig,
    *,
    folder: Path | None = None,
    selection: str = "",
    progress: Progress | None = None,
) -> list[PackedEpisode]:
    """As `cache.cached`, with the pictures encoded. `progress` is told frames done and frames in all."""
    place, key = place_of(root, folder, f"{selection}-{config.name}")
    pack = open_pack(place, key, config)
    if pack is None:
        place.parent.mkdir(parents=True, exist_ok=True)
        with alone(place.with_name(f"{place.name}.lock")):
            pack = open_pack(place, key, config) or _make(episodes, place, key, config, progress)
    tell_losses(pack.lost, len(episodes), root)
    return pack.wrap(episodes)


def _make(episodes: Sequence[Episode], place: Path, key: str, config: PackConfig, progress: Progress | None) -> Pack:
    part = place.with_name(f"{place.name}.part")
    sizes = picture_sizes(episodes)
    about = about_pack(key, config, sizes)
    try:
        if not (part / INDEX).is_file() or read_json(part / INDEX) != about:
            shutil.rmtree(part, ignore_errors=True)
            part.mkdir(parents=True)
            write_json(part / INDEX, about)
        done = _finished_shards(part)
        logger.info("packing %d episodes into %s, %d of them done before", len(episodes), place, _until(done))
        shards = [*done, *_new_shards(episodes, part, sizes, config, done, progress)]
        if not any(index.episodes for index in shards):
            raise ValueError(
                f"none of {len(episodes)} episodes can be read; the last one: {[*shards[-1].lost.values()][-1]}"
            )
        write_json(part / INDEX, about | {"shards": len(shards)})
        shutil.rmtree(place, ignore_errors=True)
        part.rename(place)
        sync(place.parent)
    except OSError as error:
        raise OSError(
            f"the packed cache {place} cannot be written: {error}; make room and run again, it goes on from there"
        ) from error
    pack = open_pack(place, key, config)
    assert pack is not None, f"{place}: the pack was just made"
    return pack


def _finished_shards(part: Path) -> list[ShardIndex]:
    found: list[ShardIndex] = []
    while (path := part / shard_name(len(found))).is_file():
        found.append(ShardIndex.read(path))
    return found


def _until(shards: Sequence[ShardIndex]) -> int:
    return shards[-1].until if shards else 0


def _new_shards(
    episodes: Sequence[Episode],
    part: Path,
    sizes: Mapping[str, tuple[int, int]],
    config: PackConfig,
    done: Sequence[ShardIndex],
    progress: Progress | None,
) -> Iterator[ShardIndex]:
    """The shards that are still to be made, each on the disk when it comes."""
    ends = np.cumsum([len(episode) for episode in episodes]).tolist()
    number, at = len(done), _until(done)
    while at < len(episodes):
        with _ShardWriter(part, number, sizes, config.codec()) as shard:
            while at < len(episodes) and shard.bytes < BYTES:
                shard.add(at, episodes[at])
                at += 1
                if progress is not None:
                    progress(ends[at - 1], ends[-1])
            yield shard.finish(until=at)
        number += 1


class _ShardWriter:
    """Files of one shard, a context; leftovers of an interrupted one are overwritten. It counts after `finish`."""

    def __init__(self, folder: Path, number: int, sizes: Mapping[str, tuple[int, int]], codec: Codec) -> None:
        self._folder, self._number, self._sizes, self._codec = folder, number, sizes, codec
        self._paths = {camera: folder / record_name(camera, number) for camera in sizes}
        self._files = {camera: path.open("wb") for camera, path in self._paths.items()}
        self._offsets = {camera: [0] for camera in sizes}
        self._numbers: list[tuple[np.ndarray, np.ndarray]] = []
        self._episodes: list[int] = []
        self._lost: dict[int, str] = {}

    @property
    def bytes(self) -> int:
        """Of its largest file."""
        return max(offsets[-1] for offsets in self._offsets.values())

    def add(self, number: int, episode: Episode) -> None:
        """An episode that cannot be read leaves nothing but the reason."""
        count = len(next(iter(self._offsets.values())))
        try:
            numbers = read_numbers(episode)
            for start in range(0, len(episode), BLOCK):
                self._append(episode, np.arange(start, min(start + BLOCK, len(episode))))
        except ValueError as error:
            self._lost[number] = str(error)
            for camera, offsets in self._offsets.items():
                del offsets[count:]
                self._files[camera].seek(offsets[-1])
                self._files[camera].truncate()
        else:
            self._numbers.append(numbers)
            self._episodes.append(number)

    def _append(self, episode: Episode, steps: np.ndarray) -> None:
        with reading():
            block = episode.images(steps)
        shapes = {camera: pictures.shape[1:] for camera, pictures in block.items()}
        expected = {camera: (*size, 3) for camera, size in self._sizes.items()}
        if shapes != expected:
            raise ValueError(f"pictures must be of the shapes {expected}, but are {shapes}")
        for camera, pictures in block.items():
            offsets = self._offsets[camera]
            for record in self._codec.encode(pictures):
                self._files[camera].write(record)
                offsets.append(offsets[-1] + len(record))

    def finish(self, *, until: int) -> ShardIndex:
        """Everything on the disk, the index last."""
        for camera, file in self._files.items():
            file.write(np.array(self._offsets[camera], "<u8").tobytes())
            file.close()
        paths = [*self._paths.values()]
        for kind, arrays in zip((STATES, ACTIONS), zip(*self._numbers)):
            paths.append(self._folder / number_name(kind, self._number))
            np.save(paths[-1], np.concatenate(arrays))
        for path in paths:
            sync(path)
        index = ShardIndex(
            episodes=tuple(self._episodes),
            lengths=tuple(len(actions) for _, actions in self._numbers),
            lost=self._lost,
            until=until,
            sha256={path.name: sha256(path) for path in paths},
        )
        write_json(self._folder / shard_name(self._number), dataclasses.asdict(index))
        return index

    def __enter__(self) -> _ShardWriter:
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        for file in self._files.values():
            file.close()
