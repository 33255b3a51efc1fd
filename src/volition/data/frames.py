"""The frame cache on disk: every frame of a dataset, decoded, in flat files that are mapped into memory.

    FOLDER/frames.json                  which dataset (key), the cameras' sizes, the segments' lengths; written last
    FOLDER/CAMERA-00000000.u8           uint8[frames, height, width, 3] of the first segment, and so on

The recorder leaves one segment an episode, without copying anything; decoding a dataset makes a single one.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from types import TracebackType
from typing import BinaryIO

import numpy as np

from volition.data.files import read_json, write_json

INDEX = "frames.json"
VERSION = 2
MAX_MAPS = 30_000  # a process may hold some 65,000


@dataclass(frozen=True, kw_only=True)
class Frames:
    """Every frame of a dataset, without loading any."""

    ends: np.ndarray  # int[segments], running total of frames
    maps: dict[str, tuple[np.ndarray, ...]]  # camera -> uint8[n, height, width, 3] for every segment

    def __len__(self) -> int:
        return int(self.ends[-1])

    def stretch(self, first: int, length: int) -> dict[str, np.ndarray]:
        """Camera -> frames `first`..`first + length - 1`, which must lie in one segment."""
        segment = int(np.searchsorted(self.ends, first, side="right"))
        start = first - (int(self.ends[segment - 1]) if segment else 0)
        found = {camera: maps[segment][start : start + length] for camera, maps in self.maps.items()}
        assert all(len(frames) == length for frames in found.values()), "an episode lies in one segment"
        return found


class FrameWriter:
    """Fills a new folder with a single segment; a context. It counts only after `finish_frames`."""

    def __init__(self, folder: Path, sizes: Mapping[str, tuple[int, int]]) -> None:
        folder.mkdir(parents=True)
        self.sizes = dict(sizes)
        self.counts = dict.fromkeys(sizes, 0)
        self._files: dict[str, BinaryIO] = {}
        for camera in sizes:
            self._files[camera] = segment_path(folder, camera, 0).open("wb")

    def append(self, camera: str, frames: np.ndarray) -> None:
        """uint8[n, height, width, 3]"""
        expected = (*self.sizes[camera], 3)
        if frames.shape[1:] != expected or frames.dtype != np.uint8:
            raise ValueError(
                f"frames of {camera!r} must be uint8{list(expected)}, got {frames.dtype}{list(frames.shape[1:])}"
            )
        self._files[camera].write(np.ascontiguousarray(frames).data)
        self.counts[camera] += len(frames)

    def cut(self, count: int) -> None:
        """Keep the first `count` frames of every camera."""
        for camera, file in self._files.items():
            size = count * self.sizes[camera][0] * self.sizes[camera][1] * 3
            file.seek(size)
            file.truncate(size)
            self.counts[camera] = count

    def __enter__(self) -> FrameWriter:
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        for file in self._files.values():
            file.close()


def segment_path(folder: Path, camera: str, number: int) -> Path:
    return folder / f"{camera}-{number:08d}.u8"


def are_complete(folder: Path, sizes: Mapping[str, tuple[int, int]], lengths: Sequence[int]) -> bool:
    """Whether every segment is there and as large as it must be."""
    for camera, (height, width) in sizes.items():
        for number, length in enumerate(lengths):
            path = segment_path(folder, camera, number)
            if not path.is_file() or path.stat().st_size != length * height * width * 3:
                return False
    return True


def finish_frames(folder: Path, sizes: Mapping[str, tuple[int, int]], lengths: Sequence[int], key: str) -> None:
    """Declare the segments in `folder` valid for the dataset with the fingerprint `key`."""
    cameras = {camera: list(size) for camera, size in sizes.items()}
    write_json(folder / INDEX, {"version": VERSION, "key": key, "cameras": cameras, "segments": list(lengths)})


def open_frames(folder: Path, key: str) -> Frames | None:
    """None when there is no cache, or it is another dataset's or version's, or has too many files to map.

    ValueError when the cache claims to be right but a file is missing or has the wrong size.
    """
    if not (folder / INDEX).is_file():
        return None
    index = read_json(folder / INDEX)
    if index.get("version") != VERSION or index["key"] != key:
        return None
    if len(index["segments"]) * len(index["cameras"]) > MAX_MAPS:
        return None
    sizes = {camera: (int(height), int(width)) for camera, (height, width) in index["cameras"].items()}
    if not are_complete(folder, sizes, index["segments"]):
        raise ValueError(
            f"{folder} must hold the frames that its {INDEX} lists, but is damaged; delete it and try again"
        )
    maps = {
        camera: tuple(
            np.asarray(np.memmap(segment_path(folder, camera, number), np.uint8, "r", shape=(length, *size, 3)))
            for number, length in enumerate(index["segments"])
        )
        for camera, size in sizes.items()
    }
    return Frames(ends=np.cumsum(index["segments"]), maps=maps)
