"""What an episode of a layout holds: actions, states by name, and pictures of cameras, raw or encoded.

`group` is an h5py group, everywhere; a camera has the name of its dataset.
"""

from __future__ import annotations

from typing import Any

import numpy as np

from volition.contract import Camera
from volition.data.hdf5_files import listed, matching, numbers, rows
from volition.data.hdf5_layouts import Hdf5Layout
from volition.data.pictures import decode_image


def actions(group: Any, layout: Hdf5Layout, steps: np.ndarray | None = None) -> np.ndarray:
    """float32[n, A]"""
    found = _all(group, (layout.actions,))
    if len(found) != 1:
        raise ValueError(f"it must have one {layout.actions!r}, but has {len(found)}")
    return numbers(found[0], steps)


def states(group: Any, layout: Hdf5Layout, steps: np.ndarray | None = None) -> dict[str, np.ndarray]:
    """Dataset's name -> float32[n, D], in the order in which they are joined."""
    return {name_of(dataset): numbers(dataset, steps) for dataset in _all(group, layout.states)}


def cameras(group: Any, layout: Hdf5Layout) -> list[Any]:
    """The datasets of pictures; ValueError for one that holds no pictures."""
    found = _all(group, layout.images)
    for dataset in found:
        if not _is_raw(dataset) and not _is_encoded(dataset):
            raise ValueError(
                f"{dataset.name} must hold uint8[T, height, width, 3] or T encoded pictures, "
                f"but holds {dataset.dtype}{list(dataset.shape)}"
            )
    return found


def camera_of(dataset: Any) -> Camera:
    height, width = dataset.shape[1:3] if _is_raw(dataset) else _decoded(dataset, np.array([0])).shape[1:3]
    return Camera(name=name_of(dataset), height=height, width=width)


def pictures(dataset: Any, layout: Hdf5Layout, steps: np.ndarray) -> np.ndarray:
    """uint8[n, height, width, 3], RGB and upright, as far as the layout knows what is stored."""
    frames = rows(dataset, steps) if _is_raw(dataset) else _decoded(dataset, steps)
    if layout.channels == "bgr":
        frames = frames[..., ::-1]
    if layout.turn != "none":
        frames = frames[:, ::-1] if layout.turn == "flip_rows" else frames[:, ::-1, ::-1]
    return np.ascontiguousarray(frames)


def name_of(dataset: Any) -> str:
    return str(dataset.name).rpartition("/")[2]


def _all(group: Any, patterns: tuple[str, ...]) -> list[Any]:
    found = []
    for pattern in patterns:
        matches = list(matching(group, pattern))
        if not matches or not all(hasattr(match, "shape") for match in matches):
            raise ValueError(f"it must have data {pattern!r}, but in {group.name} there are {listed(group)}")
        found += matches
    return found


def _is_raw(dataset: Any) -> bool:
    return dataset.ndim == 4 and dataset.shape[-1] == 3 and min(dataset.shape[1:]) > 0 and dataset.dtype == np.uint8


def _is_encoded(dataset: Any) -> bool:
    """Bytes in rows padded to the same length. Rows of different lengths would make the library look elsewhere."""
    return (dataset.ndim == 2 and dataset.dtype == np.uint8) or (dataset.ndim == 1 and dataset.dtype.kind == "S")


def _decoded(dataset: Any, steps: np.ndarray) -> np.ndarray:
    found = [
        decode_image(cell if isinstance(cell, bytes) else cell.tobytes(), f"frame {step} of {dataset.name}")
        for step, cell in zip(steps, rows(dataset, steps))
    ]
    if len({frame.shape for frame in found}) != 1:
        raise ValueError(f"{dataset.name} must hold pictures of one size, but has several")
    return np.stack(found)
