"""Where people's HDF5 files keep what an episode needs: one record a layout, recognised by what a file contains.

A *pattern* names groups or datasets, `obs/*_rgb` for all that end so; an *address* names one value: `words` a dataset,
`@frames` an attribute, `/data@env_args:env_kwargs.control_freq` an entry of the JSON text in an attribute. Both are
looked up below the episode, or with a leading slash from the top of the file.

What a file cannot say (whether its pictures are upside down, its words, its rate) is said by a record of the user's
own, or by a JSON file beside the data with the fields that differ: see `read_layout`.
"""

from __future__ import annotations

import dataclasses
import re
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from volition.contract import Dimension
from volition.data.files import read_json, understood
from volition.data.spec import UNKNOWN

TURNS = ("none", "flip_rows", "rotate_180")
CHANNELS = ("rgb", "bgr")
OPTIONS = "hdf5.json"  # in the folder, or after the name of a file: demo.hdf5.json


@dataclass(frozen=True, kw_only=True)
class Hdf5Layout:
    """Fields without a default every layout must give; what is empty does not exist in this layout."""

    name: str
    signs: tuple[str, ...]  # patterns or attributes, from the top: every file of this layout has all of them
    actions: str  # pattern of one dataset, [T, A]
    images: tuple[str, ...]  # patterns; uint8[T, height, width, 3], or T encoded pictures, which may be padded
    control_hz: float  # where neither `rate` nor `seconds` says it
    episodes: str = ""  # pattern from the top of groups that are an episode each; empty: the file is one episode
    states: tuple[str, ...] = ()  # patterns of datasets [T, n], joined in this order
    state_names: tuple[str, ...] = ()  # empty: the datasets' names, with numbers
    dimensions: tuple[Dimension, ...] = ()  # of an action; empty: numbers for names, "unknown" units, ranges as found
    ranges_as_found: bool = False  # let the data say the range of `dimensions`
    frame: str = UNKNOWN
    rotation: str = UNKNOWN
    relative: bool = False
    instruction: tuple[str, ...] = ()  # addresses, the first that exists counts; several texts are several wordings
    words: str = ""  # the instruction where the file has none
    name_holds: str = ""  # regular expression: its first group in the file's name is the instruction, _ for blanks
    task: str = ""  # address
    task_holds: str = "(.*)"  # regular expression: its first group is the task
    length: str = ""  # address of the number of frames, compared with the data
    rate: str = ""  # address of the frames a second
    seconds: str = ""  # address of the duration of the episode
    turn: str = "none"  # what sets the pictures upright, one of TURNS; nothing is turned unasked
    channels: str = "rgb"  # the order in which pictures are stored
    known: str = ""  # of its pictures: said on loading, while `turn` and `channels` say nothing

    def __post_init__(self) -> None:
        if self.turn not in TURNS:
            raise ValueError(f"turn must be one of {', '.join(TURNS)}, got {self.turn!r}")
        if self.channels not in CHANNELS:
            raise ValueError(f"channels must be one of {', '.join(CHANNELS)}, got {self.channels!r}")
        if not 0 < self.control_hz < float("inf"):
            raise ValueError(f"control_hz must be above 0, got {self.control_hz}")
        if not self.images:
            raise ValueError("images must name at least one dataset of pictures, got none")
        for pattern in (self.name_holds, self.task_holds):
            if pattern and re.compile(pattern).groups < 1:
                raise ValueError(f"name_holds and task_holds need a group in round brackets, got {pattern!r}")


_JOINTS = ("waist", "shoulder", "elbow", "forearm_roll", "wrist_angle", "wrist_rotate")
_ALOHA_NAMES = tuple(f"{side}_{joint}" for side in ("left", "right") for joint in (*_JOINTS, "gripper"))

# robosuite's OSC_POSE controller: inputs of -1..1 stand for steps of 0.05 m and 0.5 rad (axis-angle) along the axes of
# the world; grippers close at +1.
_OSC_POSE = (
    *(Dimension(name=name, unit="0.05 m") for name in "xyz"),
    *(Dimension(name=f"r{name}", unit="0.5 rad") for name in "xyz"),
    Dimension(name="gripper", unit="-1 open, +1 closed", kind="binary"),
)

ROBOMIMIC = Hdf5Layout(
    name="robomimic",
    signs=("data/*/actions",),
    episodes="data/*",
    actions="actions",
    states=("obs/robot?_eef_pos", "obs/robot?_eef_quat", "obs/robot?_gripper_qpos"),
    images=("obs/*_image",),
    instruction=("@ep_meta:lang",),
    task="/data@env_args:env_name",
    length="@num_samples",
    rate="/data@env_args:env_kwargs.control_freq",
    control_hz=20.0,
)
LIBERO = dataclasses.replace(
    ROBOMIMIC,
    name="libero",
    signs=("data/*/actions", "data/*/obs/agentview_rgb"),
    states=("obs/ee_pos", "obs/ee_ori", "obs/gripper_states", "obs/joint_states"),
    images=("obs/*_rgb",),
    dimensions=_OSC_POSE,
    frame="world",
    rotation="axis_angle",
    relative=True,
    instruction=("/data@problem_info:language_instruction",),
    name_holds="^(?:[A-Z][A-Z0-9]*_)*(.+?)(?:_demo)?$",
    task="",  # its env_name is that of the kind of scene: the sentence tells tasks apart
    known="LIBERO stores pictures upside down, as OpenGL renders them: turn='flip_rows' sets them upright, "
    "turn='rotate_180' is what OpenVLA and its successors train and act with",
)
ALOHA = Hdf5Layout(
    name="aloha",
    signs=("action", "observations/qpos", "observations/images"),
    actions="action",
    states=("observations/qpos",),
    state_names=_ALOHA_NAMES,
    images=("observations/images/*",),
    dimensions=tuple(
        Dimension(name=name, unit="0 closed, 1 open" if "gripper" in name else "rad") for name in _ALOHA_NAMES
    ),
    ranges_as_found=True,
    frame="joint",
    rotation="none",
    instruction=("language_instruction", "language_raw", "@language_instruction", "@task"),
    control_hz=50.0,
    known="What a recorder gave to OpenCV's encoder as RGB has red and blue exchanged: look at a picture, and say "
    "channels='bgr' then",
)
MOBILE = Hdf5Layout(
    name="mobile",
    signs=("images", "actions", "action_event_types"),
    actions="actions",
    images=("images",),
    dimensions=(
        Dimension(name="linear_x", unit="m/s"),
        Dimension(name="linear_y", unit="m/s"),
        Dimension(name="angular_z", unit="rad/s"),
    ),
    ranges_as_found=True,
    frame="base",
    rotation="yaw",
    instruction=("language_instruction", "@language_instruction", "@instruction"),
    task="@episode_name",
    task_holds="^(?:episode)?(?:_[0-9]{6,})*_?(.*)$",  # episode_20250808_123136_1box_vert_left
    known="The recorder of Mobile-VLA stores OpenCV's channel order, though its documents say RGB: "
    "look at a picture, and say channels='bgr' where red is blue",
    length="@num_frames",
    seconds="@total_duration",
    control_hz=1.0,
)
LAYOUTS = (LIBERO, ROBOMIMIC, ALOHA, MOBILE)  # the first whose signs are there


def options_path(path: Path) -> Path:
    """Where the options of a dataset may lie: in its folder, or beside its only file."""
    return path / OPTIONS if path.is_dir() else path.with_name(f"{path.name}.{OPTIONS.partition('.')[2]}")


def read_layout(options: Path, found: Hdf5Layout | None) -> Hdf5Layout:
    """`found` with the fields that the JSON file `options` changes; its `layout` names one of LAYOUTS to start from.

    ValueError that names the file when a field is unknown or its value makes no sense, or neither says which layout.
    """
    with understood(options, "hold fields of an Hdf5Layout"):
        tree = dict(read_json(options)) if options.is_file() else {}
        known = {layout.name: layout for layout in LAYOUTS}
        name = tree.pop("layout", None)
        if name is not None and name not in known:
            raise ValueError(f"layout must be one of {', '.join(known)}, got {name!r}")
        base = known[name] if name is not None else found
        fields = [field.name for field in dataclasses.fields(Hdf5Layout)]
        unknown = sorted(tree.keys() - set(fields))
        if unknown:
            raise ValueError(f"there is no field {unknown[0]!r}, but there are layout, {', '.join(fields)}")
        changes = {key: _field(key, value) for key, value in tree.items()}
        return Hdf5Layout(**changes) if base is None else dataclasses.replace(base, **changes)


def _field(name: str, value: Any) -> Any:
    """A value out of JSON as the type that the field has."""
    if name == "dimensions":
        return tuple(Dimension(**dimension) for dimension in value)
    kind = type(getattr(LIBERO, name))
    if kind is tuple and isinstance(value, list) and all(isinstance(item, str) for item in value):
        return tuple(value)
    if kind is float and isinstance(value, int | float) and not isinstance(value, bool):
        return float(value)
    if kind is tuple or not isinstance(value, kind):
        raise ValueError(f"{name} must be {'a list of texts' if kind is tuple else kind.__name__}, got {value!r}")
    return value
