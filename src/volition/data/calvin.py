"""Reading CALVIN's own format: one .npz a frame, language segments in a pickled dictionary.

    SPLIT/episode_0000052.npz                       rgb_static, rgb_gripper, rel_actions, robot_obs, ...
    SPLIT/ep_start_end_ids.npy                      int[n, 2], first and last frame of every recording
    SPLIT/lang_annotations/auto_lang_ann.npy        language.ann, language.task, info.indx: (first, last) of segments

Ends are inclusive. The pickle may build numpy arrays and plain Python values and nothing else.
"""

from __future__ import annotations

import io
import pickle
import zipfile
from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np

from volition.contract import Camera, RobotSpec, relative_arm_7d

ANNOTATIONS = Path("lang_annotations/auto_lang_ann.npy")
RANGES = Path("ep_start_end_ids.npy")
CAMERAS = (Camera(name="static", height=200, width=200), Camera(name="gripper", height=84, width=84))
STATE = (
    *("tcp_x", "tcp_y", "tcp_z", "tcp_roll", "tcp_pitch", "tcp_yaw", "gripper_width"),
    *(f"joint_{i}" for i in range(1, 8)),
    "gripper_action",
)
SPEC = RobotSpec(action_space=relative_arm_7d(), cameras=CAMERAS, state=STATE, control_hz=30.0)

# What a pickled numpy object consists of, under the old and the new names of numpy's modules.
_HARMLESS = {
    ("numpy", "ndarray"),
    ("numpy", "dtype"),
    *((f"numpy.{core}.multiarray", name) for core in ("core", "_core") for name in ("_reconstruct", "scalar")),
    *((f"numpy.{core}.numeric", "_frombuffer") for core in ("core", "_core")),
    ("_codecs", "encode"),
    *(
        ("builtins", name)
        for name in ("dict", "list", "tuple", "set", "frozenset", "int", "float", "str", "bytes", "bool")
    ),
}


class _HarmlessUnpickler(pickle.Unpickler):
    def find_class(self, module: str, name: str) -> Any:
        if (module, name) not in _HARMLESS:
            raise pickle.UnpicklingError(f"it asks for {module}.{name}")
        return super().find_class(module.replace("numpy.core", "numpy._core"), name)


def read_pickled_array(path: Path) -> Any:
    """The object in a .npy file that numpy pickled: ValueError when it would load anything but arrays and values."""
    if not path.is_file():
        raise FileNotFoundError(f"{path} must exist but is missing; is {path.parent} part of a CALVIN split?")
    data = io.BytesIO(path.read_bytes())
    try:
        version = np.lib.format.read_magic(data)
        read_header = np.lib.format.read_array_header_1_0 if version == (1, 0) else np.lib.format.read_array_header_2_0
        _, _, kind = read_header(data)
        if not kind.hasobject:
            return np.load(io.BytesIO(path.read_bytes()), allow_pickle=False)
        return _HarmlessUnpickler(data).load()
    except (pickle.UnpicklingError, EOFError, ValueError, TypeError, AttributeError, IndexError, KeyError) as error:
        raise ValueError(
            f"{path} must hold plain arrays and values; refused: {error}. Do not load it otherwise"
        ) from error


@dataclass(frozen=True, kw_only=True)
class CalvinEpisode:
    """Implements `records.Episode`: one annotated segment."""

    root: Path
    first: int
    last: int  # inclusive
    task: str
    instructions: tuple[str, ...]

    def __len__(self) -> int:
        return self.last - self.first + 1

    def images(self, steps: np.ndarray) -> dict[str, np.ndarray]:
        keys = {camera.name: f"rgb_{camera.name}" for camera in CAMERAS}
        frames = [self._frame(step, tuple(keys.values())) for step in steps.tolist()]
        return {name: np.stack([frame[key] for frame in frames]) for name, key in keys.items()}

    def states(self, steps: np.ndarray) -> np.ndarray:
        return np.stack([self._frame(step, ("robot_obs",))["robot_obs"] for step in steps.tolist()]).astype(np.float32)

    def actions(self, steps: np.ndarray) -> np.ndarray:
        return np.stack([self._frame(step, ("rel_actions",))["rel_actions"] for step in steps.tolist()]).astype(
            np.float32
        )

    def _frame(self, step: int, keys: Sequence[str]) -> dict[str, np.ndarray]:
        path = self.root / f"episode_{self.first + step:07d}.npz"
        if not path.is_file():
            raise FileNotFoundError(f"{path} must exist: frame {step} of segment {self.first}..{self.last} is missing")
        try:
            with path.open("rb") as file, np.load(file, allow_pickle=False) as arrays:
                found = {key: arrays[key] for key in keys}
        except (zipfile.BadZipFile, ValueError, KeyError, OSError, EOFError) as error:
            raise ValueError(f"{path} must be a frame with {list(keys)}, but {error}; the file is damaged") from error
        for key, values in found.items():
            if values.shape != _SHAPES[key]:
                raise ValueError(f"{path}: {key} must have shape {list(_SHAPES[key])}, has {list(values.shape)}")
        return found


_SHAPES = {
    "robot_obs": (len(STATE),),
    "rel_actions": (SPEC.action_space.dim,),
    **{f"rgb_{camera.name}": (camera.height, camera.width, 3) for camera in CAMERAS},
}


def load_calvin(root: Path) -> list[CalvinEpisode]:
    """All annotated segments of a split such as `task_ABC_D/training`, in the order of the annotations."""
    path = root / ANNOTATIONS
    tree = read_pickled_array(path)
    try:
        tree = tree.item() if isinstance(tree, np.ndarray) else tree
        sentences, tasks, ranges = tree["language"]["ann"], tree["language"]["task"], tree["info"]["indx"]
        segments = [(int(first), int(last)) for first, last in ranges]
    except (KeyError, TypeError, ValueError, IndexError) as error:
        raise ValueError(f"{path} must hold language.ann, language.task and info.indx, but {error!r}") from error
    if not len(sentences) == len(tasks) == len(segments) or not segments:
        raise ValueError(
            f"{path} must hold as many sentences as tasks and segments, and at least one; "
            f"it holds {len(sentences)}, {len(tasks)} and {len(segments)}"
        )
    backwards = [segment for segment in segments if segment[1] < segment[0]]
    if backwards:
        raise ValueError(f"{path} must hold segments (first, last) with first <= last, but has {backwards[0]}")
    return [
        CalvinEpisode(root=root, first=first, last=last, task=str(task), instructions=(str(sentence),))
        for (first, last), task, sentence in zip(segments, tasks, sentences)
    ]
