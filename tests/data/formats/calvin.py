"""A CALVIN split: one .npz a frame, two segments."""

from pathlib import Path
from typing import Any

import numpy as np

SEGMENTS = ((3, 6), (9, 9))


def frame(number: int) -> dict[str, np.ndarray]:
    rng = np.random.default_rng(number)
    return {
        "rgb_static": rng.integers(0, 255, (200, 200, 3)).astype(np.uint8),
        "rgb_gripper": rng.integers(0, 255, (84, 84, 3)).astype(np.uint8),
        "rel_actions": rng.uniform(-1, 1, 7),
        "robot_obs": rng.normal(size=15),
        "scene_obs": rng.normal(size=24),
    }


def annotations(**changes: Any) -> dict[str, Any]:
    language = {
        "ann": ["open it", "lift the block"],
        "task": ["open_drawer", "lift_red_block_table"],
        "emb": np.ones((2, 1, 4)),
    }
    return {"language": language | changes, "info": {"indx": list(SEGMENTS), "episodes": []}}


def make(root: Path) -> Path:
    split = root / "training"
    (split / "lang_annotations").mkdir(parents=True)
    for first, last in SEGMENTS:
        for number in range(first, last + 1):
            np.savez(split / f"episode_{number:07d}.npz", **frame(number))  # type: ignore[arg-type]
    np.save(split / "lang_annotations/auto_lang_ann.npy", annotations())  # type: ignore[arg-type]
    return split
