"""Reading CALVIN's own format: one .npz a frame, language segments in a pickled dictionary.

    SPLIT/episode_0000052.npz (or .pkl)             rgb_static, rgb_gripper, rel_actions, robot_obs, ...
    SPLIT/ep_start_end_ids.npy                      int[n, 2], first and last frame of every recording
    SPLIT/lang_annotations/auto_lang_ann.npy        language.ann, language.task, info.indx: (first, last) of segments

Ends are inclusive. The pickle may build numpy arrays and plain Python values and nothing else.
"""

from __future__ import annotations

import io
import logging
import pickle
import struct
import tokenize
import zipfile
import zlib
from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np

from volition.contract import Camera, RobotSpec, relative_arm_7d
from volition.data.episodes import Episodes
from volition.data.files import understood

logger = logging.getLogger(__name__)

ANNOTATIONS = Path("lang_annotations/auto_lang_ann.npy")
RANGES, LENGTHS = Path("ep_start_end_ids.npy"), Path("ep_lens.npy")
DIGITS = 7  # of a frame's number in its file's name
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


# What numpy, zlib and the unpickler raise over bytes that are damaged or made up.
_NONSENSE = (
    *(pickle.UnpicklingError, zipfile.BadZipFile, zlib.error, struct.error, EOFError, ValueError, TypeError),
    *(AttributeError, IndexError, KeyError, OverflowError, MemoryError, NotImplementedError, RuntimeError),
    *(ImportError, AssertionError, SyntaxError, tokenize.TokenError),
)


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
    except _NONSENSE as error:
        raise ValueError(
            f"{path} must hold plain arrays and values; refused: {error}. Do not load it otherwise"
        ) from error


def frame_name(number: int) -> str:
    return f"episode_{number:0{DIGITS}d}.npz"


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
        path = self.root / frame_name(self.first + step)
        if not path.is_file():
            path = path.with_suffix(".pkl")
        if not path.is_file():
            raise FileNotFoundError(
                f"{path.with_suffix('.npz')} must exist: frame {step} of segment {self.first}..{self.last} is missing"
            )
        try:
            with path.open("rb") as file:
                arrays = _HarmlessUnpickler(file).load() if path.suffix == ".pkl" else np.load(file, allow_pickle=False)
                found = {key: np.asarray(arrays[key]) for key in keys}
        except (*_NONSENSE, OSError) as error:
            raise ValueError(f"{path} must be a frame with {list(keys)}, but {error!r}; the file is damaged") from error
        for key, values in found.items():
            shape, kind = _KINDS[key]
            if values.shape != shape or not np.issubdtype(values.dtype, kind):
                raise ValueError(
                    f"{path}: {key} must have shape {list(shape)} of {kind.__name__}, "
                    f"has {list(values.shape)} of {values.dtype}"
                )
        return found


_KINDS: dict[str, tuple[tuple[int, ...], type]] = {
    "robot_obs": ((len(STATE),), np.floating),
    "rel_actions": ((SPEC.action_space.dim,), np.floating),
    **{f"rgb_{camera.name}": ((camera.height, camera.width, 3), np.uint8) for camera in CAMERAS},
}


def load_calvin(root: Path) -> Episodes[CalvinEpisode]:
    """All annotated segments of a split such as `task_ABC_D/training`, in the order of the annotations."""
    return load_annotated(root, "lang_annotations")


def load_annotated(root: Path, folder: str) -> Episodes[CalvinEpisode]:
    """As `folder` annotates them. Annotations of the same frames and task are wordings of one episode."""
    path = root / folder / ANNOTATIONS.name
    tree = read_pickled_array(path)
    with understood(path, "hold language.ann, language.task and info.indx"):
        tree = tree.item() if isinstance(tree, np.ndarray) else tree
        sentences = [str(sentence) for sentence in tree["language"]["ann"]]
        tasks = [str(task) for task in tree["language"]["task"]]
        segments = [(int(first), int(last)) for first, last in tree["info"]["indx"]]
    if not len(sentences) == len(tasks) == len(segments) or not segments:
        raise ValueError(
            f"{path} must hold as many sentences as tasks and segments, and at least one; "
            f"it holds {len(sentences)}, {len(tasks)} and {len(segments)}"
        )
    wordings: dict[tuple[int, int, str], dict[str, None]] = {}
    for (first, last), task, sentence in zip(segments, tasks, sentences):
        wordings.setdefault((first, last, task), {})[sentence] = None
    return _whole([(*key, tuple(said)) for key, said in wordings.items()], root, path)


def load_play(root: Path) -> Episodes[CalvinEpisode]:
    """Whole recordings, without task or words."""
    path = root / RANGES
    ranges = read_pickled_array(path)
    if not isinstance(ranges, np.ndarray) or ranges.ndim != 2 or ranges.shape[1] != 2 or ranges.dtype.kind not in "iu":
        raise ValueError(f"{path} must hold whole numbers, first and last frame of each recording")
    return _whole([(int(first), int(last), "", ("",)) for first, last in ranges], root, path)


def _whole(
    segments: Sequence[tuple[int, int, str, tuple[str, ...]]], root: Path, path: Path
) -> Episodes[CalvinEpisode]:
    """Those that have frames; a segment without any is left out aloud, and it is an error when none is left."""
    found, reasons = [], []
    for first, last, task, said in segments:
        if 0 <= first <= last < 10**DIGITS:
            found.append(CalvinEpisode(root=root, first=first, last=last, task=task, instructions=said))
        else:
            reasons.append(f"{path}: the segment ({first}, {last}) of {task!r} must have a frame: 0 <= first <= last")
    for reason in reasons:
        logger.warning("left out: %s", reason)
    if not found:
        raise ValueError(f"{path} must hold at least one segment, but holds none; {'; '.join(reasons[:3])}")
    return Episodes(found, left_out=len(reasons), reasons=reasons)
