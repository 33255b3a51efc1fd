"""The arm's geometry and its inverse kinematics.

    pose target --Arm.solve--> joint angles (a few damped least-squares iterations on an arm-only model)

The arm has the kinematics and the joint limits of Franka's Panda (public figures). Its gripper is our own: fingers
longer and a hand narrower than the original, since most failed grasps on a desk are a hand that meets furniture.
Angles are radians; Euler angles turn about the fixed axes x, then y, then z (as CALVIN reports them).
"""

from __future__ import annotations

import numpy as np

from volition.envs.gl import mujoco

JOINT_LOW = np.array([-2.8973, -1.7628, -2.8973, -3.0718, -2.8973, -0.0175, -2.8973])
JOINT_HIGH = np.array([2.8973, 1.7628, 2.8973, -0.0698, 2.8973, 3.7525, 2.8973])
HOME = np.array([1.0413, -0.0147, 0.1409, -2.659, 0.0043, 2.6444, 0.393])  # tcp at (-0.04, -0.10, 0.66), pointing down
FINGER_OPEN = 0.04  # metres a finger

BASE_POSITION = (-0.2, -0.49, 0.55)
_TOOL_LENGTH = 0.135  # metres from the flange's hand frame to the point between the finger tips

# A joint's frame in the frame of the joint before it: position and quaternion (w, x, y, z), unnormalised.
_LINKS = (
    ("0 0 0.333", "1 0 0 0"),
    ("0 0 0", "1 -1 0 0"),
    ("0 -0.316 0", "1 1 0 0"),
    ("0.0825 0 0", "1 1 0 0"),
    ("-0.0825 0.384 0", "1 -1 0 0"),
    ("0 0 0", "1 1 0 0"),
    ("0.088 0 0", "1 1 0 0"),
)
# The shape of a link: capsules as (from, to, radius).
_CAPSULES: tuple[tuple[tuple[str, float], ...], ...] = (
    (("0 0 -0.15 0 0 0", 0.06),),
    (("0 0 0 0 -0.13 0", 0.06),),
    (("0 0 -0.13 0 0 0", 0.05), ("0 0 0 0.0825 0 0", 0.05)),
    (("0 0 0 -0.0825 0.1 0", 0.05),),
    (("0 0 -0.24 0 0 0", 0.042),),
    (("0 0 0 0.088 0 0", 0.042),),
    (("0 0 0.03 0 0 0.075", 0.038),),
)
_FIRST_SOLID_LINK = 4  # the links before it never come near the furniture: they collide with nothing, which saves time
_MASSES = (2.9, 2.7, 2.6, 2.4, 2.6, 1.5, 0.7)


def arm_body() -> str:
    """MJCF of the arm with its gripper: bodies link0..link7, hand, finger_left, finger_right; site tcp, camera."""
    x, y, z = BASE_POSITION
    text = (
        f'<body name="link0" pos="{x} {y} {z}" childclass="robot">'
        '<geom class="look" type="capsule" fromto="0 0 0.04 0 0 0.2" size="0.065" material="arm"/>'
        f'<geom type="cylinder" class="look" fromto="0 0 0 0 0 {-z}" size="0.055" material="pedestal"/>'
    )
    for index, (position, quaternion) in enumerate(_LINKS):
        low, high = JOINT_LOW[index], JOINT_HIGH[index]
        text += (
            f'<body name="link{index + 1}" pos="{position}" quat="{quaternion}" gravcomp="1">'
            f'<joint name="joint{index + 1}" axis="0 0 1" range="{low} {high}" armature="0.1" damping="1"/>'
        )
        capsules = _CAPSULES[index]
        for ends, radius in capsules:
            material = "joint" if len(capsules) == 1 and index in (1, 3, 5) else "arm"
            kind = "look" if index < _FIRST_SOLID_LINK else "robot"
            text += (
                f'<geom class="{kind}" type="capsule" fromto="{ends}" size="{radius}" '
                f'mass="{_MASSES[index] / len(capsules)}" material="{material}"/>'
            )
    return text + _hand() + "</body>" * 8


def _hand() -> str:
    """The gripper: hand frame with z towards the tips and y along the fingers' travel."""
    text = (
        '<body name="hand" pos="0 0 0.107" quat="0.9238795 0 0 -0.3826834" gravcomp="1">'
        '<geom type="box" pos="0 0 0.022" size="0.022 0.062 0.022" mass="0.6" material="hand"/>'
        f'<site name="tcp" pos="0 0 {_TOOL_LENGTH}" size="0.005" group="4"/>'
        '<camera name="gripper" pos="-0.085 0 0.005" xyaxes="0 1 0 0.915 0 -0.403" fovy="64"/>'
    )
    for name, quaternion in (("finger_left", "1 0 0 0"), ("finger_right", "0 0 0 1")):
        text += (
            f'<body name="{name}" quat="{quaternion}" gravcomp="1">'
            f'<joint name="{name}" type="slide" axis="0 1 0" range="0 {FINGER_OPEN}" armature="0.1" damping="10"/>'
            f'<geom type="box" class="pad" pos="0 0.005 {_TOOL_LENGTH - 0.036}" size="0.010 0.005 0.046" mass="0.05"/>'
            "</body>"
        )
    return text + "</body>"


def rotation_from_euler(angles: np.ndarray) -> np.ndarray:
    """Rotation matrix float64[3, 3] of turns about the fixed axes x, y, z by `angles` float[3], radians."""
    (cx, cy, cz), (sx, sy, sz) = np.cos(angles), np.sin(angles)
    return np.array(
        [
            [cz * cy, cz * sy * sx - sz * cx, cz * sy * cx + sz * sx],
            [sz * cy, sz * sy * sx + cz * cx, sz * sy * cx - cz * sx],
            [-sy, cy * sx, cy * cx],
        ]
    )


def euler_from_rotation(rotation: np.ndarray) -> np.ndarray:
    """The inverse of `rotation_from_euler`: x and z in (-pi, pi], y in [-pi/2, pi/2]. At y = +-pi/2, x is set to 0."""
    cosine = float(np.hypot(rotation[0, 0], rotation[1, 0]))
    y = np.arctan2(-rotation[2, 0], cosine)
    if cosine < 1e-9:
        return np.array([0.0, y, np.arctan2(-rotation[0, 1], rotation[1, 1])])
    return np.array([np.arctan2(rotation[2, 1], rotation[2, 2]), y, np.arctan2(rotation[1, 0], rotation[0, 0])])


def rotation_vector(rotation: np.ndarray) -> np.ndarray:
    """Axis times angle, float64[3], radians, angle in [0, pi]."""
    quaternion, vector = np.zeros(4), np.zeros(3)
    mujoco.mju_mat2Quat(quaternion, np.ascontiguousarray(rotation).ravel())
    mujoco.mju_quat2Vel(vector, quaternion, 1.0)
    return vector


def rotation_from_vector(vector: np.ndarray) -> np.ndarray:
    """The inverse of `rotation_vector`."""
    angle = float(np.linalg.norm(vector))
    if angle == 0.0:
        return np.eye(3)
    quaternion, matrix = np.zeros(4), np.zeros(9)
    mujoco.mju_axisAngle2Quat(quaternion, vector / angle, angle)
    mujoco.mju_quat2Mat(matrix, quaternion)
    return matrix.reshape(3, 3)


def quaternion_from_rotation(rotation: np.ndarray) -> np.ndarray:
    """MuJoCo's order: w, x, y, z."""
    quaternion = np.zeros(4)
    mujoco.mju_mat2Quat(quaternion, np.ascontiguousarray(rotation).ravel())
    return quaternion


class Arm:
    """Forward and inverse kinematics of the arm alone. Holds no state between calls."""

    _DAMPING = 0.02
    _NULL_GAIN = 0.05  # share of the way to `HOME` per iteration, in the directions that do not move the hand
    _LARGEST_CHANGE = 0.3  # radians per iteration

    def __init__(self) -> None:
        text = (
            '<mujoco><compiler angle="radian"/><default><default class="robot"/><default class="look"/>'
            '<default class="pad"/></default><asset><material name="arm"/><material name="joint"/>'
            f'<material name="hand"/><material name="pedestal"/></asset><worldbody>{arm_body()}</worldbody></mujoco>'
        )
        self._model = mujoco.MjModel.from_xml_string(text)
        self._data = mujoco.MjData(self._model)
        self._site = self._model.site("tcp").id
        self._position_jacobian = np.zeros((3, self._model.nv))
        self._rotation_jacobian = np.zeros((3, self._model.nv))

    def forward(self, joints: np.ndarray) -> tuple[np.ndarray, np.ndarray]:
        """Joint angles float64[7] -> position float64[3] (world) and rotation float64[3, 3] of the tcp."""
        self._data.qpos[:7] = joints
        mujoco.mj_kinematics(self._model, self._data)
        return self._data.site_xpos[self._site].copy(), self._data.site_xmat[self._site].reshape(3, 3).copy()

    def solve(
        self, position: np.ndarray, rotation: np.ndarray, start: np.ndarray, iterations: int = 2
    ) -> tuple[np.ndarray, float]:
        """Joint angles float64[7] within the limits that bring the tcp near a pose, and the distance left in metres.

        The search begins at the angles `start`. The distance is the one before the last iteration's correction.
        """
        model, data = self._model, self._data
        joints = np.array(start, dtype=np.float64)
        goal, error = quaternion_from_rotation(rotation), np.zeros(6)
        now, inverse, difference = np.zeros(4), np.zeros(4), np.zeros(4)
        for _ in range(iterations):
            data.qpos[:7] = joints
            mujoco.mj_kinematics(model, data)
            mujoco.mj_comPos(model, data)
            mujoco.mj_jacSite(model, data, self._position_jacobian, self._rotation_jacobian, self._site)
            error[:3] = position - data.site_xpos[self._site]
            mujoco.mju_mat2Quat(now, data.site_xmat[self._site])
            mujoco.mju_negQuat(inverse, now)
            mujoco.mju_mulQuat(difference, goal, inverse)
            mujoco.mju_quat2Vel(error[3:], difference, 1.0)
            jacobian = np.concatenate((self._position_jacobian[:, :7], self._rotation_jacobian[:, :7]))
            drift = self._NULL_GAIN * (HOME - joints)
            damped = jacobian @ jacobian.T
            damped[np.diag_indices(6)] += self._DAMPING**2
            change = jacobian.T @ np.linalg.solve(damped, error - jacobian @ drift) + drift
            largest = np.abs(change).max()
            if largest > self._LARGEST_CHANGE:
                change *= self._LARGEST_CHANGE / largest
            joints = np.clip(joints + change, JOINT_LOW, JOINT_HIGH)
        return joints, float(np.linalg.norm(error[:3]))
