"""The arm: its figures, its inverse kinematics over all that a desk needs reached, and the angle conventions."""

from __future__ import annotations

import numpy as np
import pytest

from tests.envs.desk_tools import DOWN, EXTREMES
from volition.envs.desk import layout as at
from volition.envs.desk.kinematics import (
    BASE_POSITION,
    HOME,
    JOINT_HIGH,
    JOINT_LOW,
    Arm,
    euler_from_rotation,
    rotation_from_euler,
    rotation_from_vector,
    rotation_vector,
)
from volition.envs.desk.layout import LAYOUTS, Layout
from volition.envs.desk.state import Shift


@pytest.fixture(scope="module")
def arm() -> Arm:
    return Arm()


def work_points(layout: Layout) -> list[tuple[float, float, float]]:
    """Where the hand has to be for the tasks, in the furniture frame."""
    low, high = at.table_bounds().low, at.table_bounds().high
    points = [(x, y, z) for x in (low[0], high[0]) for y in (low[1], high[1]) for z in (0.48, 0.58)]
    points += [(*layout.button, 0.49), (layout.switch[0], layout.switch[1] - 0.08, 0.53)]
    points += [(layout.switch[0], layout.switch[1] + 0.08, 0.55)]
    closed, opened = at.DRAWER_HANDLE_Y + 0.03, at.DRAWER_HANDLE_Y - at.DRAWER_TRAVEL - 0.03
    points += [(layout.drawer_x, y, z) for y in (closed, opened) for z in (0.39, 0.50)]
    points += [(layout.drawer_x, -0.26, z) for z in (0.385, 0.50)]
    points += [(layout.cabinet_x + x, at.DOOR_HANDLE_Y, 0.525) for x in (-0.13, 0.13)]
    middle = (at.SHELF_FRONT + at.SHELF_BACK) / 2
    return points + [(layout.cabinet_x + x, middle, z) for x in (-0.13, 0.13) for z in (0.494, 0.57)]


def residual(arm: Arm, point: np.ndarray, yaw: float, lean: float) -> float:
    """Metres between a point and the nearest that a hand leaning outward by `lean` radians gets to it."""
    outward = point[:2] - np.array(BASE_POSITION[:2])
    outward /= np.linalg.norm(outward)
    leaning = rotation_from_vector(-lean * np.array([outward[1], -outward[0], 0.0]))
    hand = leaning @ rotation_from_euler(np.array([0.0, 0.0, yaw])) @ DOWN
    joints, _ = arm.solve(point, hand, HOME, iterations=60)
    assert np.all(joints >= JOINT_LOW)
    assert np.all(joints <= JOINT_HIGH)
    position, turned = arm.forward(joints)
    return float(np.linalg.norm(position - point) + 0.05 * np.linalg.norm(rotation_vector(hand @ turned.T)))


def reached(arm: Arm, layout: Layout, shift: Shift, leans: tuple[float, ...]) -> list[bool]:
    turn, offset = rotation_from_euler(np.array([0, 0, shift.yaw])), np.array([shift.x, shift.y, 0.0])
    points = [turn @ np.array(point) + offset for point in work_points(layout)]
    return [any(residual(arm, point, shift.yaw, lean) < 0.006 for lean in leans) for point in points]


def test_an_upright_hand_reaches_everything_within_6_cm_and_15_degrees(arm: Arm) -> None:
    share = []
    for layout in LAYOUTS.values():
        assert all(reached(arm, layout, Shift(), (0.0,)))
        for x, y, yaw in ((0.06, -0.06, 0.26), (-0.06, 0.06, -0.26), (-0.06, -0.06, 0.26), (0.06, 0.06, -0.26)):
            share += reached(arm, layout, Shift(x, y, yaw), (0.0,))
    assert np.mean(share) > 0.93


def test_a_leaning_hand_reaches_everything_within_8_cm_and_17_degrees(arm: Arm) -> None:
    leans = (0.0, 0.4, -0.4)
    share = [ok for layout in LAYOUTS.values() for shift in EXTREMES for ok in reached(arm, layout, shift, leans)]
    assert np.mean(share) > 0.97


def test_forward_kinematics_has_the_length_of_the_straight_arm(arm: Arm) -> None:
    straight = np.array([0.0, 0.0, 0.0, -0.0698, 0.0, 0.0698, 0.0])
    position, _ = arm.forward(straight)
    # shoulder 0.333, links 0.316 + 0.384; the last part hangs down 0.107 + 0.135 before the wrist's offset of 0.088
    height = position[2] - BASE_POSITION[2]
    assert height == pytest.approx(0.333 + 0.316 + 0.384 - 0.107 - 0.135, abs=0.01)
    assert np.hypot(*(position[:2] - BASE_POSITION[:2])) == pytest.approx(0.088, abs=0.04)


def test_solve_does_not_depend_on_what_was_solved_before(arm: Arm) -> None:
    goal = np.array([0.1, 0.0, 0.55])
    first, _ = arm.solve(goal, DOWN, HOME)
    arm.solve(np.array([-0.3, 0.2, 0.7]), np.eye(3), JOINT_LOW)
    again, left = arm.solve(goal, DOWN, HOME)
    np.testing.assert_array_equal(first, again)
    assert left < 0.2


def test_angles_turn_about_fixed_axes_in_the_order_x_y_z() -> None:
    quarter = np.pi / 2
    np.testing.assert_allclose(rotation_from_euler(np.array([quarter, 0, 0])) @ (0, 1, 0), (0, 0, 1), atol=1e-12)
    both = rotation_from_euler(np.array([quarter, 0, quarter]))  # x first, then the world's z
    np.testing.assert_allclose(both @ (0, 1, 0), (0, 0, 1), atol=1e-12)
    np.testing.assert_allclose(both @ (1, 0, 0), (0, 1, 0), atol=1e-12)


def test_rotations_survive_a_round_trip() -> None:
    rng = np.random.default_rng(0)
    for _ in range(50):
        angles = rng.uniform([-np.pi, -1.5, -np.pi], [np.pi, 1.5, np.pi])
        rotation = rotation_from_euler(angles)
        np.testing.assert_allclose(euler_from_rotation(rotation), angles, atol=1e-9)
        np.testing.assert_allclose(rotation_from_vector(rotation_vector(rotation)), rotation, atol=1e-9)
    for y in (np.pi / 2, -np.pi / 2):  # the poles, where x is free
        rotation = rotation_from_euler(np.array([0.4, y, 1.1]))
        np.testing.assert_allclose(rotation_from_euler(euler_from_rotation(rotation)), rotation, atol=1e-6)
    np.testing.assert_array_equal(rotation_from_vector(np.zeros(3)), np.eye(3))
