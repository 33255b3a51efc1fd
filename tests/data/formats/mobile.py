"""Mobile-VLA: one file an episode, frames taken at events, metadata as attributes."""

from __future__ import annotations

from pathlib import Path

import numpy as np

from tests.data.formats.robomimic import frames

SENTENCES = ("Go to the box on the left", "Go to the box on the right")
SIZE = (9, 16)  # the robot's own are 720 by 1280
EVENTS = ("episode_start", "start_action", "stop_action")


def write_episode(path: Path, seed: int, length: int, sentence: str) -> None:
    import h5py

    with h5py.File(path, "w") as file:
        file.attrs.update({"episode_name": path.stem, "total_duration": 1.5 * length, "num_frames": length})
        file.attrs["action_chunk_size"] = 8
        file.create_dataset("images", data=frames(seed, length, SIZE), compression="gzip")
        speeds = np.random.default_rng(seed).choice([0.0, 1.15, -1.15], (length, 3))
        file.create_dataset("actions", data=speeds.astype(np.float32), compression="gzip")
        events = [EVENTS[min(step, 2)] for step in range(length)]
        file.create_dataset("action_event_types", data=np.array(events, dtype=h5py.string_dtype()), compression="gzip")
        if sentence:
            file["language_instruction"] = np.array([sentence.encode()], dtype="S256")


def make(root: Path) -> Path:
    folder = root / "mobile_vla_dataset"
    folder.mkdir(parents=True)
    for seed, (side, sentence) in enumerate(zip(("left", "right"), SENTENCES)):
        write_episode(folder / f"episode_20250808_12313{seed}_1box_vert_{side}.h5", seed, 5 - seed, sentence)
    return folder
