"""How the reference scales, companders and turns actions [x y z roll pitch yaw gripper].

Its regularising and companding mean to leave the gripper alone, but leave the last entry of the FIRST axis as it was:
the gripper of one action, the last time step of a sequence. `keep_last` repeats that; our transforms name dimensions.
"""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np

from volition import geometry
from volition.data.action_transforms import compress, expand

ROTATION_SCALE = 0.01  # radians that its frames take an action's rotation unit to be; CALVIN's is 0.05
SPREAD_FLOOR = 1e-6


def normalize(actions: np.ndarray, low: float, high: float, *, keep_gripper: bool) -> np.ndarray:
    """Clip to low..high and stretch to [-1, 1]; the last column may stay as it was, unclipped."""
    scaled = 2 * (np.clip(actions, low, high) - low) / (high - low) - 1
    if keep_gripper:
        scaled[..., -1] = actions[..., -1]
    return scaled


def unnormalize(actions: np.ndarray, low: float, high: float, *, keep_gripper: bool = False) -> np.ndarray:
    """[-1, 1] to low..high, without clipping; by default the gripper too."""
    scaled = 0.5 * (actions + 1) * (high - low) + low
    if keep_gripper:
        scaled[..., -1] = actions[..., -1]
    return scaled


def regularize(
    actions: np.ndarray, mean: np.ndarray | float, std: np.ndarray | float, *, keep_last: bool
) -> np.ndarray:
    return _kept((actions - mean) / (std + SPREAD_FLOOR), actions, keep_last)


def unregularize(
    actions: np.ndarray, mean: np.ndarray | float, std: np.ndarray | float, *, keep_last: bool
) -> np.ndarray:
    return _kept(actions * (std + SPREAD_FLOOR) + mean, actions, keep_last)


def mu_law(actions: np.ndarray, mu: float = 255, *, keep_last: bool) -> np.ndarray:
    return _kept(compress(actions, float(mu)), actions, keep_last)


def inverse_mu_law(actions: np.ndarray, mu: float = 255, *, keep_last: bool) -> np.ndarray:
    return _kept(expand(actions, float(mu)), actions, keep_last)


@dataclass(frozen=True, kw_only=True)
class ActionScaling:
    """What its datasets do to actions, in this order; None is left out. `undo` is what its wrapper does in return.

    The way back is not the inverse: regularising is never undone, and the gripper is scaled though it was kept.
    """

    normal: tuple[float, float] | None = None  # low and high
    regular: tuple[float, float] | None = None  # mean and deviation
    mu: float | None = None

    def apply(self, actions: np.ndarray) -> np.ndarray:
        """A sequence [T, 7]."""
        if self.normal:
            actions = normalize(actions, *self.normal, keep_gripper=True)
        if self.regular:
            actions = regularize(actions, *self.regular, keep_last=True)
        return actions if self.mu is None else mu_law(actions, self.mu, keep_last=True)

    def undo(self, action: np.ndarray) -> np.ndarray:
        """One action [7]."""
        if self.mu is not None:
            action = inverse_mu_law(action, self.mu, keep_last=True)
        return unnormalize(action, *self.normal) if self.normal else action


def gripper_to_label(gripper: np.ndarray) -> np.ndarray:
    """CALVIN's -1 closed, +1 open -> 0, 1; the floor turns 0.999999 into 0."""
    return np.floor((gripper + 1) / 2)


def world_to_tcp(actions: np.ndarray, robot_obs: np.ndarray) -> np.ndarray:
    """`geometry.world_to_tcp` with the rotation the other way round: from the new orientation back to the old one."""
    return _turned_back(geometry.world_to_tcp(actions, robot_obs[..., 3:6], rotation_scale=ROTATION_SCALE))


def tcp_to_world(actions: np.ndarray, robot_obs: np.ndarray) -> np.ndarray:
    """The inverse, which the reference cannot run as shipped."""
    return geometry.tcp_to_world(_turned_back(actions), robot_obs[..., 3:6], rotation_scale=ROTATION_SCALE)


def _turned_back(actions: np.ndarray) -> np.ndarray:
    matrix = geometry.euler_to_matrix(actions[..., 3:6].astype(np.float64) * ROTATION_SCALE)
    angles = geometry.matrix_to_euler(np.swapaxes(matrix, -1, -2)) / ROTATION_SCALE
    return np.concatenate([actions[..., :3], angles, actions[..., 6:]], axis=-1)


def _kept(changed: np.ndarray, given: np.ndarray, keep_last: bool) -> np.ndarray:
    if keep_last:
        changed[-1] = given[-1]
    return changed
