"""Rotations in every form that robots use, and relative actions in the world's or the tool's frame.

    euler_to_matrix / matrix_to_euler               any order, intrinsic: "XYZ" is Rx(a) Ry(b) Rz(c)
    quaternion_to_matrix / matrix_to_quaternion     (x, y, z, w)
    axis_angle_to_matrix / matrix_to_axis_angle     axis times angle
    world_to_tcp / tcp_to_world                     relative actions, each the inverse of the other

All take any leading shape, radians, right-handed axes and rotations of column vectors, compute in float64 and return
the floating type that they were given. A rotation about the fixed axes x, then y, then z is "ZYX" with the angles
reversed. Everything is finite everywhere: at gimbal lock, where only the sum of two angles is defined, the angles
found are one choice of many that give the same matrix.
"""

from __future__ import annotations

import numpy as np

AXES = "XYZ"


def axis_rotation(axis: int, angle: np.ndarray | np.floating) -> np.ndarray:
    """Rotation about a coordinate axis: angle [...] -> [..., 3, 3]."""
    j, k = (axis + 1) % 3, (axis + 2) % 3
    matrix = np.zeros((*np.shape(angle), 3, 3))
    matrix[..., axis, axis] = 1
    matrix[..., j, j] = matrix[..., k, k] = np.cos(angle)
    matrix[..., k, j] = np.sin(angle)
    matrix[..., j, k] = -matrix[..., k, j]
    return matrix


def euler_to_matrix(angles: np.ndarray, order: str = "XYZ") -> np.ndarray:
    """[..., 3] -> [..., 3, 3]: the product, from left to right, of the rotations about the axes of `order`."""
    first, second, third = _axes(order)
    parts = _float64(angles, 3)
    matrix = axis_rotation(first, parts[..., 0]) @ axis_rotation(second, parts[..., 1])
    return (matrix @ axis_rotation(third, parts[..., 2])).astype(_kind(angles))


def matrix_to_euler(matrix: np.ndarray, order: str = "XYZ") -> np.ndarray:
    """[..., 3, 3] -> [..., 3]; the middle angle in [-pi/2, pi/2], or in [0, pi] where an axis is used twice.

    The first angle is read off the column that the third rotation leaves alone and is then undone, which leaves the
    other two well defined even at gimbal lock.
    """
    i, j, third = _axes(order)
    m = 3 - i - j  # the axis besides the first two
    sign = 1 if (j - i) % 3 == 1 else -1
    full = _float64(matrix, 3)
    if third == m:
        first = np.arctan2(-sign * full[..., j, m], full[..., m, m])
        rest = axis_rotation(i, -first) @ full
        middle = np.arctan2(sign * rest[..., i, m], rest[..., m, m])
        last = np.arctan2(sign * rest[..., j, i], rest[..., j, j])
    else:
        first = np.arctan2(full[..., j, i], -sign * full[..., m, i])
        rest = axis_rotation(i, -first) @ full
        middle = np.arctan2(-sign * rest[..., m, i], rest[..., i, i])
        last = np.arctan2(-sign * rest[..., j, m], rest[..., j, j])
    return np.stack([first, middle, last], axis=-1).astype(_kind(matrix))


def quaternion_to_matrix(quaternion: np.ndarray) -> np.ndarray:
    """(x, y, z, w) [..., 4] -> [..., 3, 3]; any length but 0 will do."""
    q = _float64(quaternion, 4)
    length = np.linalg.norm(q, axis=-1, keepdims=True)
    if not (length > 0).all():
        raise ValueError("a quaternion must not be zero, at least one of those given is")
    vector, w = np.split(q / length, [3], axis=-1)
    outer = vector[..., :, None] * vector[..., None, :]
    square = (vector**2).sum(-1)[..., None, None]
    matrix = (w[..., None] ** 2 - square) * np.eye(3) + 2 * outer + 2 * w[..., None] * _cross(vector)
    return matrix.astype(_kind(quaternion))


def matrix_to_quaternion(matrix: np.ndarray) -> np.ndarray:
    """[..., 3, 3] -> (x, y, z, w) [..., 4] of length 1 with w >= 0.

    q q^T is linear in the matrix; its column with the largest diagonal entry is the quaternion, up to its length
    (Shepperd 1978, as an outer product).
    """
    r = _float64(matrix, 3)
    trace = np.trace(r, axis1=-2, axis2=-1)
    outer = np.empty((*r.shape[:-2], 4, 4))  # 4 q q^T
    outer[..., :3, :3] = r + np.swapaxes(r, -1, -2) + (1 - trace)[..., None, None] * np.eye(3)
    axial = np.stack([r[..., 2, 1] - r[..., 1, 2], r[..., 0, 2] - r[..., 2, 0], r[..., 1, 0] - r[..., 0, 1]], axis=-1)
    outer[..., 3, :3] = outer[..., :3, 3] = axial
    outer[..., 3, 3] = 1 + trace
    best = np.argmax(np.diagonal(outer, axis1=-2, axis2=-1), axis=-1)
    column = np.take_along_axis(outer, best[..., None, None], axis=-1)[..., 0]
    unit = column / np.linalg.norm(column, axis=-1, keepdims=True)
    return np.where(unit[..., 3:] < 0, -unit, unit).astype(_kind(matrix))


def axis_angle_to_matrix(vector: np.ndarray) -> np.ndarray:
    """Axis times angle [..., 3] -> [..., 3, 3]."""
    v = _float64(vector, 3)
    half = np.linalg.norm(v, axis=-1, keepdims=True) / 2
    sine = np.sinc(half / np.pi) / 2 * v  # sin(half) * axis, without dividing by 0
    return quaternion_to_matrix(np.concatenate([sine, np.cos(half)], axis=-1)).astype(_kind(vector))


def matrix_to_axis_angle(matrix: np.ndarray) -> np.ndarray:
    """[..., 3, 3] -> axis times angle [..., 3], the angle in [0, pi]."""
    vector, w = np.split(matrix_to_quaternion(_float64(matrix, 3)), [3], axis=-1)
    sine = np.linalg.norm(vector, axis=-1, keepdims=True)
    angle = 2 * np.arctan2(sine, w)
    small = sine < 1e-12
    return (vector * np.where(small, 2, angle / np.where(small, 1, sine))).astype(_kind(matrix))


def wrap(angle: np.ndarray) -> np.ndarray:
    """The same angle in [-pi, pi]; what lies there already is returned as it is."""
    turned = np.remainder(angle + np.pi, 2 * np.pi) - np.pi
    return np.where(np.abs(angle) <= np.pi, angle, turned)


def world_to_tcp(
    actions: np.ndarray, tcp_euler: np.ndarray, *, rotation_scale: float, order: str = "XYZ"
) -> np.ndarray:
    """Relative actions [..., 6 + g] of the world's frame, as the tool sees them; the g other numbers stay.

    In the world an action moves the tool by its first three numbers and adds `rotation_scale` radians times the next
    three to `tcp_euler` [..., 3], its Euler angles now. The tool sees R^T p, and the rotation R^T R' from its
    orientation R to the new one R', as Euler angles divided by `rotation_scale`.
    """
    move, turn, rest, now = _parts(actions, tcp_euler, rotation_scale)
    old = euler_to_matrix(now, order)
    seen = np.swapaxes(old, -1, -2)
    new = euler_to_matrix(now + turn * rotation_scale, order)
    turned = matrix_to_euler(seen @ new, order) / rotation_scale
    return _joined((seen @ move[..., None])[..., 0], turned, rest, actions, tcp_euler)


def tcp_to_world(
    actions: np.ndarray, tcp_euler: np.ndarray, *, rotation_scale: float, order: str = "XYZ"
) -> np.ndarray:
    """The inverse of `world_to_tcp`: the same motion and new orientation; the angles are increments in [-pi, pi]."""
    move, turn, rest, now = _parts(actions, tcp_euler, rotation_scale)
    old = euler_to_matrix(now, order)
    new = old @ euler_to_matrix(turn * rotation_scale, order)
    turned = wrap(matrix_to_euler(new, order) - now) / rotation_scale
    return _joined((old @ move[..., None])[..., 0], turned, rest, actions, tcp_euler)


def _parts(
    actions: np.ndarray, euler: np.ndarray, scale: float
) -> tuple[np.ndarray, np.ndarray, np.ndarray, np.ndarray]:
    """Position, rotation and rest of the actions, and the Euler angles, all float64 with the same leading shape."""
    if not scale > 0:
        raise ValueError(f"rotation_scale must be above 0 radians, is {scale}")
    if actions.shape[-1:] < (6,) or euler.shape[-1:] != (3,):
        raise ValueError(
            f"actions must be [..., 6 or more], tcp_euler [..., 3]; got {list(actions.shape)} and {list(euler.shape)}"
        )
    leading = np.broadcast_shapes(actions.shape[:-1], euler.shape[:-1])
    wide = np.broadcast_to(actions, (*leading, actions.shape[-1])).astype(np.float64)
    move, turn, rest = np.split(wide, [3, 6], axis=-1)
    return move, turn, rest, np.broadcast_to(euler, (*leading, 3)).astype(np.float64)


def _joined(move: np.ndarray, turn: np.ndarray, rest: np.ndarray, *given: np.ndarray) -> np.ndarray:
    return np.concatenate([move, turn, rest], axis=-1).astype(np.result_type(*map(_kind, given)))


def _cross(vector: np.ndarray) -> np.ndarray:
    """[..., 3] -> [..., 3, 3], the matrix that multiplies as the cross product does."""
    x, y, z = np.moveaxis(vector, -1, 0)
    zero = np.zeros_like(x)
    rows = [[zero, -z, y], [z, zero, -x], [-y, x, zero]]
    return np.stack([np.stack(row, axis=-1) for row in rows], axis=-2)


def _axes(order: str) -> tuple[int, int, int]:
    if len(order) != 3 or not set(order) <= set(AXES) or order[1] in (order[0], order[2]):
        raise ValueError(f"order must be three of X, Y and Z, neighbours different, such as 'XYZ'; is {order!r}")
    first, second, third = (AXES.index(axis) for axis in order)
    return first, second, third


def _float64(array: np.ndarray, last: int) -> np.ndarray:
    if array.shape[-1:] != (last,):
        raise ValueError(f"the last dimension must be {last}, got the shape {list(array.shape)}")
    return array.astype(np.float64)


def _kind(array: np.ndarray) -> np.dtype:
    """The floating type of a result: what was given, integers as float64."""
    return array.dtype if array.dtype.kind == "f" else np.dtype(np.float64)
