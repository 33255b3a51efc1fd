"""What published RLDS datasets mean: the one table of names. A dataset that is not in it is read with units "unknown".

Only what its publishers document, or what its numbers show, is in here; everything else stays unknown.
"""

from __future__ import annotations

from dataclasses import dataclass

from volition.contract import Dimension
from volition.data.spec import UNKNOWN

POSE = ("x", "y", "z", "roll", "pitch", "yaw")
# Wide enough for every step of an arm at these rates: a range of the dataset, not of the part of it that is at hand.
MOTION = (
    *(Dimension(name=name, unit="1.0 m", low=-0.5, high=0.5) for name in "xyz"),
    *(Dimension(name=f"r{name}", unit="1.0 rad", low=-3.2, high=3.2) for name in "xyz"),
)


@dataclass(frozen=True, kw_only=True)
class Known:
    """One dataset. Numbers are given as they are stored; names and units say what they are."""

    name: str  # as in dataset_info.json
    control_hz: float
    action: tuple[str, ...]  # features, in the order in which they make up an action; below `steps/`
    dimensions: tuple[Dimension, ...]  # of an action
    state: tuple[str, ...]  # features below `steps/`
    state_names: tuple[str, ...]
    frame: str = UNKNOWN
    rotation: str = UNKNOWN
    relative: bool = True
    skip_first: int = 0  # steps at the beginning of every episode whose actions mean nothing


KNOWN = (
    Known(
        name="bridge_dataset",
        control_hz=5.0,
        action=("action",),
        dimensions=(*MOTION, Dimension(name="gripper", unit="1 open, 0 closed", low=0.0)),
        state=("observation/state",),
        state_names=(*POSE, "gripper"),
        rotation="euler_xyz",
        skip_first=1,  # nothing was commanded yet: the action is zero to 1e-9 and tells a policy to stand still
    ),
    Known(
        name="fractal20220817_data",
        control_hz=3.0,
        action=("action/world_vector", "action/rotation_delta", "action/gripper_closedness_action"),
        dimensions=(*MOTION, Dimension(name="gripper", unit="+1 closing, -1 opening, 0 as it is")),
        state=("observation/base_pose_tool_reached", "observation/gripper_closed"),
        state_names=(*POSE[:3], "qx", "qy", "qz", "qw", "gripper_closed"),
    ),
)
