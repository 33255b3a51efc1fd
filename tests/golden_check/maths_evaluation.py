"""f_euler, f_postprocess and f_simpler_transform: from a prediction to what the robot is told."""

from __future__ import annotations

import re
from collections.abc import Callable

import numpy as np

from tests.golden_check.fixture import Fixture
from volition import geometry
from volition.compat.actions import ActionScaling
from volition.compat.postprocess import CalvinOutput, GripperState, SimplerOutput

CLOSED_FORM, DOUBLE, TCP = 1e-6, 1e-5, 2e-4
SCALED = (-0.65, 0.65)


def euler(fixture: Fixture) -> None:
    """Roll, pitch, yaw about fixed axes; other angles of the same rotation are as good (at gimbal lock)."""
    angles = fixture.input("euler_zyx")
    matrix = matrix_of(angles)
    back = geometry.matrix_to_euler(matrix, "ZYX")[..., ::-1]
    for prefix in ("", "common_"):
        fixture.compare(f"{prefix}rotm", matrix, atol=CLOSED_FORM)
        fixture.compare(f"{prefix}back", back, atol=CLOSED_FORM, seen=matrix_of)


def matrix_of(roll_pitch_yaw: np.ndarray) -> np.ndarray:
    return geometry.euler_to_matrix(roll_pitch_yaw[..., ::-1], "ZYX")


def postprocess(fixture: Fixture) -> None:
    states = fixture.input("in/robot_obs")
    for key in fixture.keys(""):
        if key.startswith("in"):
            continue
        convert = output_of(key)
        if key.startswith("discrete"):
            three = "_n3" if "n3" in key else ""
            rows = [convert.discrete(a, s) for a, s in zip(fixture.input(f"in_discrete{three}"), states)]
        else:
            group = "in_pre" if key.startswith("pre") else "in"
            chunk = slice(0, 1) if re.search(r"n1(_|$)", key) else slice(None)  # a policy of one step
            arm, gripper = (fixture.input(f"{group}/{name}")[:, 0, :, chunk] for name in ("arm", "gripper_logit"))
            rows = [convert(a, g, s) for a, g, s in zip(arm, gripper, states)]
        fixture.compare(key, np.stack(rows), atol=TCP if "tcp" in key else DOUBLE)


def output_of(key: str) -> CalvinOutput:
    """What its name says of a case; the reference executes the oldest frame of a window."""
    parts = key.split("_")
    scaling = ActionScaling(normal=SCALED if "norm" in parts else None, mu=255.0 if "mu" in parts else None)
    return CalvinOutput(scaling=scaling, tcp="tcp" in parts, composed="raw_calvin_false" in key, frame=0)


def simpler(fixture: Fixture) -> None:
    for robot in sorted({key.split("/")[0] for key in fixture.keys("")}):
        fixture.note(f"{robot}/mask")  # the reference scales every dimension
        low, high = (tuple(fixture.input(f"{robot}/{key}").tolist()) for key in ("q01", "q99"))
        convert = SimplerOutput(robot=robot, low=low, high=high)
        actions = convert.unnormalize(fixture.input(f"{robot}/normalised"))
        fixture.compare(f"{robot}/unnormalised", actions, atol=CLOSED_FORM)
        state, told = GripperState(), []
        for action in actions:
            command, state = convert(action, state)
            told.append(command)
        for key in ("world_vector", "rot_axangle", "gripper"):
            fixture.compare(f"{robot}/{key}", np.stack([command[key] for command in told]), atol=CLOSED_FORM)
        fixture.compare(f"{robot}/terminate_episode", np.zeros((len(actions), 1)))  # never


CHECKS: list[tuple[re.Pattern[str], Callable[[Fixture], None]]] = [
    (re.compile(r"f_euler.*"), euler),
    (re.compile(r"f_postprocess.*"), postprocess),
    (re.compile(r"f_simpler_transform.*"), simpler),
]
