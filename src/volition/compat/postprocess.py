"""From what a policy of the reference puts out to what CALVIN's or SIMPLER's robot is told.

CalvinOutput       its evaluation wrapper after the network
SimplerOutput      the conversion to SIMPLER's actions, after that wrapper
"""

from __future__ import annotations

from dataclasses import dataclass, field, replace

import numpy as np

from volition import geometry
from volition.compat.actions import ActionScaling, tcp_to_world

POSE_UNITS = np.array([50.0] * 3 + [20.0] * 3)  # per metre and per radian, of CALVIN's relative actions


@dataclass(frozen=True, kw_only=True)
class CalvinOutput:
    """One action float64[7] out of a prediction: the first step of the chunk of `frame`, gripper -1 or 1.

    With interleaved history the reference executes what was predicted for the OLDEST frame of its window (`frame=0`),
    which is stale; the newest is the default here. For all other histories there is one frame.
    """

    scaling: ActionScaling = field(default_factory=ActionScaling)
    tcp: bool = False  # the policy's actions are in the tool's frame
    composed: bool = False  # they are poses in the tool's frame, in metres and radians (`raw_calvin` off)
    frame: int = -1

    def __call__(self, arm: np.ndarray, gripper_logits: np.ndarray, robot_obs: np.ndarray) -> np.ndarray:
        """[T, n, 6] or [n, 6], [..., 1] and [15]."""
        opened = (gripper_logits > 0).astype(np.float64)
        return self.discrete(np.concatenate([arm, opened], axis=-1), robot_obs)

    def discrete(self, actions: np.ndarray, robot_obs: np.ndarray) -> np.ndarray:
        """The same from actions [T, n, 7] or [n, 7] whose gripper is decided already."""
        action = (actions[self.frame] if actions.ndim == 3 else actions)[0].astype(np.float64)
        if self.tcp:
            action = tcp_to_world(action, robot_obs)
        opened = action[-1] > 0  # before scaling, which would move the threshold
        action = self.scaling.undo(action)
        if self.composed:
            action = _composed(action, robot_obs[3:6])
        return np.concatenate([action[:-1], [1.0 if opened else -1.0]])


def _composed(action: np.ndarray, euler: np.ndarray) -> np.ndarray:
    """A pose in the tool's frame -> CALVIN's relative action; differences of angles are not wrapped."""
    now = _fixed_axes(euler)
    move = now @ action[:3]
    turn = geometry.matrix_to_euler(now @ _fixed_axes(action[3:6]), "ZYX")[::-1] - euler
    return np.concatenate([np.concatenate([move, turn]) * POSE_UNITS, action[6:]])


def _fixed_axes(roll_pitch_yaw: np.ndarray) -> np.ndarray:
    return geometry.euler_to_matrix(roll_pitch_yaw[..., ::-1], "ZYX")


@dataclass(frozen=True)
class GripperState:
    """What a robot's gripper has been told so far. Make a new one for every episode."""

    previous: float | None = None  # -1 closed, 1 open
    command: float = 0.0
    repeats: int = 0  # how often `command` is still to be given
    opened: int = 0  # how many predictions in a row were open


@dataclass(frozen=True, kw_only=True)
class SimplerOutput:
    """What a gripper is told differs.

    google_robot    a change is a relative command, 2 close and -2 open, given `sticky` times in a row
    widowx_bridge   absolute, -1 closed and 1 open; open only after two open predictions in a row
    """

    robot: str
    low: tuple[float, ...]  # 1 % and 99 % quantiles of the dataset's actions
    high: tuple[float, ...]
    sticky: int = 2  # SIMPLER's own policies repeat 15 times

    def __post_init__(self) -> None:
        if self.robot not in ("google_robot", "widowx_bridge"):
            raise ValueError(f"robot must be 'google_robot' or 'widowx_bridge', got {self.robot!r}")

    def unnormalize(self, action: np.ndarray) -> np.ndarray:
        """[..., 7] in [-1, 1], gripper -1 or 1 -> the dataset's units, gripper 0 or 1."""
        low, high = np.array(self.low), np.array(self.high)
        return 0.5 * (action + 1) * (high - low) + low

    def __call__(self, action: np.ndarray, state: GripperState) -> tuple[dict[str, np.ndarray], GripperState]:
        """An action [7] in the dataset's units -> world_vector [3], rot_axangle [3] and gripper [1]."""
        turn = geometry.matrix_to_axis_angle(_fixed_axes(action[3:6]))
        opened = bool(action[6] > 0.5)
        command, state = (self._sticky if self.robot == "google_robot" else _delayed)(opened, state)
        return {"world_vector": action[:3], "rot_axangle": turn, "gripper": np.array([command])}, state

    def _sticky(self, opened: bool, state: GripperState) -> tuple[float, GripperState]:
        now = 1.0 if opened else -1.0
        command = 0.0 if state.previous is None else state.previous - now  # 2: close, -2: open
        if state.repeats:
            return state.command, replace(state, previous=now, repeats=state.repeats - 1)
        return command, GripperState(previous=now, command=command, repeats=self.sticky - 1 if command else 0)


def _delayed(opened: bool, state: GripperState) -> tuple[float, GripperState]:
    count = state.opened + 1 if opened else 0
    return 1.0 if count >= 2 else -1.0, replace(state, opened=count)
