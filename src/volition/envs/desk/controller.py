"""From relative actions to joint targets: the target pose that the desk keeps, and its inverse kinematics.

action --follow--> kept pose (not further than the lead from the arm) --Arm.solve--> joint targets, finger targets
"""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np

from volition.envs.desk.kinematics import (
    FINGER_OPEN,
    Arm,
    rotation_from_euler,
    rotation_from_vector,
    rotation_vector,
)

METRES_PER_UNIT, RADIANS_PER_UNIT = 0.02, 0.05
LARGEST_LEAD, LARGEST_TURN = 0.06, 0.4  # metres and radians of the kept target beyond the measured pose
_CLOSED = -0.01  # finger target, metres: 1 cm beyond closed, so that a grasp presses


@dataclass(frozen=True, kw_only=True)
class Command:
    """All that the controller remembers between two steps."""

    joints: np.ndarray  # float64[7], radians: the joint targets sent last
    position: np.ndarray  # float64[3], metres: the kept target
    rotation: np.ndarray  # float64[3, 3]
    gripper: float  # +1 open, -1 closed

    @property
    def control(self) -> np.ndarray:
        """float64[9]: targets of the seven joints and the two fingers."""
        finger = FINGER_OPEN if self.gripper > 0 else _CLOSED
        return np.concatenate((self.joints, (finger, finger)))


class Controller:
    """Turns actions into commands; keeps nothing itself."""

    def __init__(self) -> None:
        self._arm = Arm()

    def at_rest(self, joints: np.ndarray, gripper: float) -> Command:
        """The command that holds the arm where `joints` float64[7] put it."""
        position, rotation = self._arm.forward(joints)
        return Command(joints=joints.copy(), position=position, rotation=rotation, gripper=1.0 if gripper > 0 else -1.0)

    def follow(self, last: Command, action: np.ndarray, position: np.ndarray, rotation: np.ndarray) -> Command:
        """The command after `action` float64[7], with the tcp measured at `position` and `rotation`."""
        move = np.clip(action, -1.0, 1.0)
        turn = rotation_from_euler(move[3:6] * RADIANS_PER_UNIT)
        target = _near(last.position + move[:3] * METRES_PER_UNIT, position)
        turned = _near_rotation(turn @ last.rotation, rotation)
        joints, _ = self._arm.solve(target, turned, last.joints)
        return Command(joints=joints, position=target, rotation=turned, gripper=1.0 if move[6] > 0 else -1.0)


def _near(target: np.ndarray, measured: np.ndarray) -> np.ndarray:
    """Pull a target back that has run ahead of the arm, so that it cannot wind up against an obstacle."""
    lead = target - measured
    distance = float(np.linalg.norm(lead))
    return measured + lead * (LARGEST_LEAD / distance) if distance > LARGEST_LEAD else target


def _near_rotation(target: np.ndarray, measured: np.ndarray) -> np.ndarray:
    lead = rotation_vector(target @ measured.T)
    angle = float(np.linalg.norm(lead))
    return rotation_from_vector(lead * (LARGEST_TURN / angle)) @ measured if angle > LARGEST_TURN else target
