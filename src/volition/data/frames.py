"""The frame cache on disk: every frame of a dataset, decoded, as one flat file a camera that is mapped into memory.

FOLDER/frames.json          which dataset (key), how many frames, the cameras' sizes; written last
FOLDER/CAMERA.u8            uint8[frames, height, width, 3]
"""

from __future__ import annotations

import shutil
from collections.abc import Mapping
from pathlib import Path
from types import TracebackType
from typing import BinaryIO

import numpy as np

from volition.data.files import read_json, write_json

INDEX = "frames.json"


class FrameWriter:
    """Appends frames camera by camera; a context. They count only after `finish_frames`."""

    def __init__(self, folder: Path, sizes: Mapping[str, tuple[int, int]], *, num_frames: int = 0) -> None:
        """Go on after `num_frames` frames (what lies beyond is dropped); with 0, start anew."""
        self.folder, self.sizes = folder, dict(sizes)
        if not num_frames:
            shutil.rmtree(folder, ignore_errors=True)
        folder.mkdir(parents=True, exist_ok=True)
        (folder / INDEX).unlink(missing_ok=True)
        self._files: dict[str, BinaryIO] = {}
        for camera, (height, width) in self.sizes.items():
            file = (folder / f"{camera}.u8").open("ab")
            self._files[camera] = file
            if file.tell() < num_frames * height * width * 3:
                self.close()
                raise ValueError(
                    f"{file.name} must hold {num_frames} frames {height}x{width}, but has only {file.tell()} bytes"
                )
            file.truncate(num_frames * height * width * 3)
            file.seek(0, 2)

    def append(self, camera: str, frames: np.ndarray) -> None:
        """uint8[n, height, width, 3]"""
        expected = (*self.sizes[camera], 3)
        if frames.shape[1:] != expected or frames.dtype != np.uint8:
            raise ValueError(
                f"frames of {camera!r} must be uint8{list(expected)}, got {frames.dtype}{frames.shape[1:]}"
            )
        self._files[camera].write(np.ascontiguousarray(frames).data)

    def count(self, camera: str) -> int:
        """How many frames the camera has so far."""
        height, width = self.sizes[camera]
        return self._files[camera].tell() // (height * width * 3)

    def append_file(self, camera: str, path: Path) -> None:
        with path.open("rb") as source:
            shutil.copyfileobj(source, self._files[camera], 1 << 22)

    def close(self) -> None:
        for file in self._files.values():
            file.close()

    def __enter__(self) -> FrameWriter:
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        self.close()


def finish_frames(folder: Path, sizes: Mapping[str, tuple[int, int]], *, key: str, num_frames: int) -> None:
    """Declare what a closed `FrameWriter` left in `folder` valid for the dataset with this fingerprint."""
    cameras = {camera: list(size) for camera, size in sizes.items()}
    write_json(folder / INDEX, {"key": key, "frames": num_frames, "cameras": cameras})


def open_frames(folder: Path, key: str) -> dict[str, np.memmap] | None:
    """Camera -> uint8[frames, height, width, 3], read-only; None when there is no cache or it is another dataset's.

    ValueError when the cache claims to be right but its files have the wrong size.
    """
    if not (folder / INDEX).is_file():
        return None
    index = read_json(folder / INDEX)
    if index["key"] != key:
        return None
    found = {}
    for camera, (height, width) in index["cameras"].items():
        path, shape = folder / f"{camera}.u8", (index["frames"], height, width, 3)
        if not path.is_file() or path.stat().st_size != int(np.prod(shape)):
            raise ValueError(
                f"{path} must hold {index['frames']} frames {height}x{width}; delete {folder} and try again"
            )
        found[camera] = np.memmap(path, np.uint8, "r", shape=shape)
    return found
