"""Steps, velocities and positions are one motion said in three ways, along the world's axes or a base's own."""

from __future__ import annotations

import math
from typing import Any

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from volition import geometry
from volition.robots import RoboAction, convert
from volition.robots.guard import RoboGuard
from volition_client import Hold, SafetyLimits

HZ = 10.0
WAYS = (("step", "world"), ("step", "body"), ("velocity", "world"), ("velocity", "body"), ("position", "world"))
numbers = st.floats(-0.5, 0.5)
ways = st.sampled_from(WAYS)
poses = st.tuples(*[numbers] * 5, st.floats(-math.pi, math.pi))


@st.composite
def actions(draw: Any, planar: bool = False) -> RoboAction:
    """Turns of less than half a turn a step; `planar`: those of a base on its plane, which is no position."""
    kind, frame = draw(st.sampled_from(WAYS[:4]) if planar else ways)
    rate = HZ if kind == "velocity" else 1.0
    x, y, z, rx, ry, rz = (draw(numbers) * rate for _ in range(6))
    if planar:
        z = rx = ry = 0.0
    return RoboAction(translation=(x, y, z), rotation=(rx, ry, rz), gripper=draw(numbers), kind=kind, frame=frame)


def same_motion(left: RoboAction, right: RoboAction) -> bool:
    """To within rounding; angles may be told in two ways."""
    assert (left.kind, left.frame, left.gripper) == (right.kind, right.frame, right.gripper)
    turn = geometry.axis_angle_to_matrix if left.kind == "velocity" else geometry.euler_to_matrix
    return np.allclose(left.translation, right.translation, atol=1e-9) and np.allclose(
        turn(np.array(left.rotation)), turn(np.array(right.rotation)), atol=1e-9
    )


@given(st.lists(actions(), min_size=1, max_size=3), ways, poses)
@settings(max_examples=30)
def test_every_way_to_say_a_motion_leads_back(asked: list[RoboAction], way: Any, pose: tuple[float, ...]) -> None:
    kind, frame = way
    said = convert(asked, kind, frame=frame, control_hz=HZ, pose=pose)
    assert all((one.kind, one.frame) == way for one in said)
    place = pose
    for action, other in zip(asked, said):
        [back] = convert([other], action.kind, frame=action.frame, control_hz=HZ, pose=place)
        assert same_motion(back, action)
        [there] = convert([action], "position", control_hz=HZ, pose=place)
        place = (*there.translation, *there.rotation)


@given(st.lists(actions(), min_size=2, max_size=4), ways, poses)
@settings(max_examples=30)
def test_a_trajectory_ends_where_it_did(asked: list[RoboAction], way: Any, pose: tuple[float, ...]) -> None:
    said = convert(asked, way[0], frame=way[1], control_hz=HZ, pose=pose)
    ends = [convert(one, "position", control_hz=HZ, pose=pose)[-1] for one in (asked, said)]
    assert same_motion(*ends)


@given(actions(planar=True))
@settings(max_examples=30)
def test_a_base_is_guarded_alike_in_steps_and_in_velocities(action: RoboAction) -> None:
    limits = SafetyLimits(Hold((0.0,) * 7), speed=1.0, acceleration=4.0, turn_speed=1.0, turn_acceleration=5.0)
    safe = {}
    for kind in ("step", "velocity"):
        [asked] = convert([action], kind, control_hz=HZ)
        guarded, found = RoboGuard(limits, HZ, kind=kind, frame=action.frame).guard(asked)
        safe[kind] = guarded, [one.kind for one in found]
        if not found:
            assert guarded == asked, "to the bit"
    assert same_motion(*convert([guarded for guarded, _ in safe.values()], "velocity", control_hz=HZ))
    assert safe["step"][1] == safe["velocity"][1]


@given(st.tuples(*[numbers] * 3), st.tuples(*[numbers] * 3), st.floats(-9, 9))
@settings(max_examples=30)
def test_a_base_that_is_told_places_drives_there(there: Any, here: Any, turned: float) -> None:
    pose = (*here[:2], 0.0, 0.0, 0.0, here[2] + turned)
    place = RoboAction(translation=(*there[:2], 0.0), rotation=(0.0, 0.0, there[2] + turned), kind="position")
    asked = convert([place], "velocity", frame="body", control_hz=HZ, pose=pose)
    safe, found = RoboGuard(SafetyLimits(Hold((0.0,) * 6)), HZ, kind="velocity", frame="body").trajectory(asked)
    assert not found
    assert same_motion(convert(safe, "position", control_hz=HZ, pose=pose)[0], place)


@given(actions(), poses)
@settings(max_examples=30)
def test_a_twist_is_the_velocity(action: RoboAction, pose: tuple[float, ...]) -> None:
    [velocity] = convert([action], "velocity", control_hz=HZ, pose=pose)
    twist = velocity.to_twist(HZ)
    assert [*twist["linear"].values(), *twist["angular"].values()] == velocity.to_array().tolist()
    if action.kind == "step":
        assert np.allclose(list(action.to_twist(HZ)["angular"].values()), velocity.rotation, atol=1e-9)


def test_by_hand() -> None:
    """A base at (1, 2) looks along y; half a metre a second forward for a tenth of a second."""
    forward = RoboAction(translation=(0.5, 0.0, 0.0), rotation=(0.0, 0.0, 1.0), kind="velocity", frame="body")
    pose = (1.0, 2.0, 0.0, 0.0, 0.0, math.pi / 2)
    [step] = convert([forward], "step", frame="world", control_hz=HZ, pose=pose)
    assert step.to_array() == pytest.approx([0.0, 0.05, 0.0, 0.0, 0.0, 0.1])
    [there] = convert([forward], "position", control_hz=HZ, pose=pose)
    assert there.to_array() == pytest.approx([1.0, 2.05, 0.0, 0.0, 0.0, math.pi / 2 + 0.1])
    assert there.frame == "world"


def test_what_cannot_be_known_is_not_guessed() -> None:
    still: dict[str, Any] = {"translation": (0.0,) * 3, "rotation": (0.0,) * 3}
    tool = RoboAction(**still, frame="other")
    assert convert([tool], "velocity", control_hz=HZ)[0].frame == "other"
    for action, kind in ((RoboAction(**still), "position"), (RoboAction(**still, kind="position"), "step")):
        with pytest.raises(ValueError, match="only where the robot's pose is told"):
            convert([action], kind, control_hz=HZ)  # type: ignore[arg-type]
    with pytest.raises(ValueError, match="both frames are 'world' or 'body'"):
        convert([tool], "position", control_hz=HZ, pose=(0.0,) * 6)
    with pytest.raises(ValueError, match="6 finite numbers"):
        convert([RoboAction(**still)], "position", control_hz=HZ, pose=(0.0,) * 3)
    with pytest.raises(ValueError, match=r"motion\.convert"):
        RoboAction(**still, kind="position").to_twist(HZ)
