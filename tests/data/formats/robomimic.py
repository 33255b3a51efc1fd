"""robomimic: one file, a group for every demonstration; and LIBERO, which keeps its files the same way."""

from __future__ import annotations

import json
from pathlib import Path
from typing import Any

import numpy as np

LENGTHS = {"demo_0": 4, "demo_2": 3, "demo_10": 2}
SIZE = (8, 10)


def frames(seed: int, length: int, size: tuple[int, int] = SIZE) -> np.ndarray:
    return np.random.default_rng(seed).integers(0, 255, (length, *size, 3)).astype(np.uint8)


def motion(seed: int, length: int, width: int = 7) -> np.ndarray:
    values = np.random.default_rng(seed).uniform(-1, 1, (length, width))
    values[:, -1] = np.sign(values[:, -1])
    return values


def write_demos(path: Path, attributes: dict[str, Any], observations: dict[str, int], cameras: tuple[str, ...]) -> None:
    """`attributes` of the group of demonstrations; `observations` by name and width."""
    import h5py

    path.parent.mkdir(parents=True, exist_ok=True)
    with h5py.File(path, "w") as file:
        data = file.create_group("data")
        data.attrs["total"] = sum(LENGTHS.values())
        for name, value in attributes.items():
            data.attrs[name] = value if isinstance(value, str) else json.dumps(value)
        for seed, (demo, length) in enumerate(LENGTHS.items()):
            group = data.create_group(demo)
            group.attrs["num_samples"] = length
            group["actions"] = motion(seed, length)
            for name, width in observations.items():
                group[f"obs/{name}"] = np.random.default_rng(seed).normal(size=(length, width))
            for number, camera in enumerate(cameras):
                group.create_dataset(f"obs/{camera}", data=frames(10 * seed + number, length), compression="gzip")
        file["mask/train"] = np.array([name.encode() for name in LENGTHS])


def make(root: Path) -> Path:
    arguments = {"env_name": "Lift", "type": 1, "env_kwargs": {"control_freq": 20}}
    observations = {"robot0_eef_pos": 3, "robot0_eef_quat": 4, "robot0_gripper_qpos": 2, "object": 10}
    cameras = ("agentview_image", "robot0_eye_in_hand_image")
    write_demos(root / "ph/image.hdf5", {"env_args": arguments}, observations, cameras)
    (root / "ph/image.hdf5.json").write_text('{"words": "lift the cube"}')
    return root / "ph/image.hdf5"


SENTENCE = "turn on the stove and put the moka pot on it"


def make_libero(root: Path) -> Path:
    observations = {"ee_pos": 3, "ee_ori": 3, "ee_states": 6, "gripper_states": 2, "joint_states": 7}
    for scene, problem in (
        ("KITCHEN_SCENE3_turn_on_the_stove", {}),
        ("STUDY_SCENE1_pick_up_the_book", {"problem_info": {"language_instruction": SENTENCE}}),
    ):
        attributes = {"env_args": {"env_name": "Libero", "env_kwargs": {"control_freq": 20}}, **problem}
        path = root / "libero_10" / f"{scene}_demo.hdf5"
        write_demos(path, attributes, observations, ("agentview_rgb", "eye_in_hand_rgb"))
    return root / "libero_10"
