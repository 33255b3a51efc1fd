"""ALOHA: one file an episode, pictures of one camera raw and of the other as JPEG in padded rows."""

from __future__ import annotations

from pathlib import Path

import numpy as np

from tests.data.formats.robomimic import frames, motion
from volition.data.pictures import encode_image

LENGTHS = {"episode_0": 3, "episode_2": 4, "episode_10": 2}


def padded(pictures: np.ndarray) -> np.ndarray:
    """uint8[T, n] with the JPEG bytes of uint8[T, height, width, 3]."""
    encoded = [np.frombuffer(encode_image(picture, "jpeg"), np.uint8) for picture in pictures]
    width = max(map(len, encoded)) + 5
    return np.stack([np.pad(row, (0, width - len(row))) for row in encoded])


def write_episode(path: Path, seed: int, length: int, width: int = 14) -> None:
    import h5py

    with h5py.File(path, "w") as file:
        file.attrs["sim"], file.attrs["compress"] = False, True
        file["action"] = motion(seed, length, width).astype(np.float32)
        file["observations/qpos"] = motion(seed + 100, length, width)
        file["observations/qvel"] = np.zeros((length, width))
        file["observations/images/cam_high"] = frames(seed, length)
        file["observations/images/cam_left_wrist"] = padded(frames(seed + 50, length))
        file["compress_len"] = np.zeros((2, length))


def make(root: Path) -> Path:
    (root / "transfer_cube").mkdir(parents=True)
    for seed, (name, length) in enumerate(LENGTHS.items()):
        write_episode(root / "transfer_cube" / f"{name}.hdf5", seed, length)
    (root / "transfer_cube/hdf5.json").write_text('{"words": "transfer the cube"}')
    return root / "transfer_cube"
