from __future__ import annotations

import itertools
import math

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from hypothesis.extra import numpy as hnp

from volition import geometry

TAIT_BRYAN = ["".join(order) for order in itertools.permutations("XYZ")]
PROPER = [f"{a}{b}{a}" for a, b in itertools.permutations("XYZ", 2)]
EXACT = 1e-9
# Exact quarter turns often: gimbal lock is there, not near there.
ANGLE = st.one_of(
    st.sampled_from([k * math.pi / 2 for k in range(-4, 5)]),
    st.floats(-2 * math.pi, 2 * math.pi, allow_nan=False),
    st.sampled_from([math.pi / 2 - 1e-9, math.pi / 2 + 1e-9, -math.pi / 2 + 1e-12]),
)
SHAPE = st.sampled_from([(), (1,), (3,), (2, 3), (2, 1, 2), (0,)])


def arrays(last: int, elements: st.SearchStrategy[float] = ANGLE) -> st.SearchStrategy[np.ndarray]:
    return SHAPE.flatmap(lambda shape: hnp.arrays(np.float64, (*shape, last), elements=elements))


def scipy_free_rotation(axis: str, angle: float) -> np.ndarray:
    """Rodrigues' formula, written on its own."""
    k = np.eye(3)["XYZ".index(axis)]
    cross = np.array([np.cross(k, column) for column in np.eye(3)]).T
    return np.eye(3) + math.sin(angle) * cross + (1 - math.cos(angle)) * cross @ cross


@pytest.mark.parametrize("order", TAIT_BRYAN + PROPER)
def test_a_matrix_is_the_product_of_the_axes_rotations(order: str) -> None:
    angles = np.array([0.3, -1.1, 2.5])
    wanted = np.linalg.multi_dot([scipy_free_rotation(axis, angle) for axis, angle in zip(order, angles)])
    np.testing.assert_allclose(geometry.euler_to_matrix(angles, order), wanted, atol=EXACT)


@settings(max_examples=60)
@given(arrays(3), st.sampled_from(TAIT_BRYAN + PROPER))
def test_angles_found_make_the_same_matrix_everywhere(angles: np.ndarray, order: str) -> None:
    matrix = geometry.euler_to_matrix(angles, order)
    back = geometry.matrix_to_euler(matrix, order)
    assert back.shape == angles.shape
    np.testing.assert_allclose(geometry.euler_to_matrix(back, order), matrix, atol=EXACT)
    low, high = (0, math.pi) if order in PROPER else (-math.pi / 2, math.pi / 2)
    assert ((back[..., 1] >= low - EXACT) & (back[..., 1] <= high + EXACT)).all()


@pytest.mark.parametrize("order", TAIT_BRYAN)
def test_regular_angles_come_back_themselves(order: str) -> None:
    angles = np.random.default_rng(0).uniform([-3, -1.5, -3], [3, 1.5, 3], (100, 3))
    np.testing.assert_allclose(
        geometry.matrix_to_euler(geometry.euler_to_matrix(angles, order), order), angles, atol=EXACT
    )


@settings(max_examples=60)
@given(arrays(3))
def test_quaternions_and_axis_angles_carry_the_rotation(angles: np.ndarray) -> None:
    matrix = geometry.euler_to_matrix(angles)
    quaternion, vector = geometry.matrix_to_quaternion(matrix), geometry.matrix_to_axis_angle(matrix)
    np.testing.assert_allclose(geometry.quaternion_to_matrix(quaternion), matrix, atol=EXACT)
    np.testing.assert_allclose(geometry.axis_angle_to_matrix(vector), matrix, atol=EXACT)
    np.testing.assert_allclose(np.linalg.norm(quaternion, axis=-1), 1.0, atol=EXACT)
    assert (quaternion[..., 3] >= 0).all()
    assert (np.linalg.norm(vector, axis=-1) <= math.pi + EXACT).all()


def test_known_quaternions_and_turns() -> None:
    half = math.sqrt(0.5)
    quarter_about_z = np.array([[0.0, -1, 0], [1, 0, 0], [0, 0, 1]])
    np.testing.assert_allclose(geometry.matrix_to_quaternion(quarter_about_z), [0, 0, half, half], atol=EXACT)
    np.testing.assert_allclose(geometry.matrix_to_axis_angle(quarter_about_z), [0, 0, math.pi / 2], atol=EXACT)
    np.testing.assert_allclose(geometry.quaternion_to_matrix(np.array([0, 0, 2, 2])), quarter_about_z, atol=EXACT)
    assert not geometry.matrix_to_axis_angle(np.eye(3)).any()
    tiny = np.array([1e-15, 0, -2e-15])
    np.testing.assert_allclose(
        geometry.matrix_to_axis_angle(geometry.axis_angle_to_matrix(tiny)), tiny, rtol=1e-9, atol=0
    )


@settings(max_examples=80)
@given(
    arrays(7, st.floats(-1, 1)),
    hnp.arrays(np.float64, (3,), elements=ANGLE),
    st.sampled_from([0.01, 0.05, 1.0]),
    st.data(),
)
def test_the_inverse_is_the_inverse(actions: np.ndarray, now: np.ndarray, scale: float, data: st.DataObject) -> None:
    order = data.draw(st.sampled_from(TAIT_BRYAN))
    for there, back in (
        (geometry.world_to_tcp, geometry.tcp_to_world),
        (geometry.tcp_to_world, geometry.world_to_tcp),
    ):
        changed = there(actions, now, rotation_scale=scale, order=order)
        returned = back(changed, now, rotation_scale=scale, order=order)
        assert changed.shape == returned.shape == actions.shape
        assert np.isfinite(changed).all()
        np.testing.assert_allclose(returned[..., :3], actions[..., :3], atol=EXACT)
        np.testing.assert_array_equal(returned[..., 6], actions[..., 6])
        base = 0.0 if there is geometry.tcp_to_world else now
        meant, found = (
            geometry.euler_to_matrix(base + values[..., 3:6] * scale, order) for values in (actions, returned)
        )
        np.testing.assert_allclose(found, meant, atol=EXACT)


def test_a_tool_that_looks_down_sees_what_is_left_of_it() -> None:
    upside_down = np.array([math.pi, 0.0, 0.0])
    action = np.array([0.1, 0.2, 0.3, 0.0, 0.0, 1.0, -1.0])
    seen = geometry.world_to_tcp(action, upside_down, rotation_scale=0.05)
    np.testing.assert_allclose(seen, [0.1, -0.2, -0.3, 0, 0, 1.0, -1.0], atol=EXACT)


def test_leading_shapes_broadcast_and_the_floating_type_stays() -> None:
    actions = np.zeros((2, 4, 7), np.float32)
    states = np.zeros((2, 1, 3), np.float32)
    assert geometry.world_to_tcp(actions, states, rotation_scale=0.05).dtype == np.float32
    assert geometry.world_to_tcp(actions, states, rotation_scale=0.05).shape == (2, 4, 7)
    assert geometry.world_to_tcp(actions, states.astype(np.float64), rotation_scale=0.05).dtype == np.float64
    assert geometry.world_to_tcp(actions[0, 0, :6], states, rotation_scale=0.05).shape == (2, 1, 6)
    assert geometry.euler_to_matrix(np.array([0, 1, 2])).dtype == np.float64


@given(hnp.arrays(np.float64, (5,), elements=st.floats(-50, 50)))
def test_wrapped_angles_are_the_same_angles(angles: np.ndarray) -> None:
    wrapped = geometry.wrap(angles)
    assert (np.abs(wrapped) <= math.pi).all()
    np.testing.assert_allclose(np.exp(1j * wrapped), np.exp(1j * angles), atol=EXACT)
    np.testing.assert_array_equal(geometry.wrap(np.array([-math.pi, math.pi, 0.0])), [-math.pi, math.pi, 0.0])


@pytest.mark.parametrize("order", ["XY", "XXY", "XYY", "xyz", "ABC"])
def test_an_order_that_is_none_is_refused(order: str) -> None:
    with pytest.raises(ValueError, match="neighbours different"):
        geometry.euler_to_matrix(np.zeros(3), order)


def test_shapes_and_scales_that_mean_nothing_are_refused() -> None:
    with pytest.raises(ValueError, match="last dimension must be 3"):
        geometry.euler_to_matrix(np.zeros(4))
    with pytest.raises(ValueError, match="must not be zero"):
        geometry.quaternion_to_matrix(np.zeros((2, 4)))
    with pytest.raises(ValueError, match="above 0"):
        geometry.world_to_tcp(np.zeros(7), np.zeros(3), rotation_scale=0.0)
    with pytest.raises(ValueError, match="6 or more"):
        geometry.world_to_tcp(np.zeros(5), np.zeros(3), rotation_scale=1.0)
    with pytest.raises(ValueError, match=r"tcp_euler \[\.\.\., 3\]"):
        geometry.tcp_to_world(np.zeros(7), np.zeros(15), rotation_scale=1.0)
