"""a_frames, a_scaling, a_windows, a_random_shift: frames, scales, windows and shifts of actions and pictures."""

from __future__ import annotations

import re
from collections.abc import Callable

import numpy as np
import torch

from tests.golden_check.fixture import Fixture
from volition import geometry
from volition.compat import actions, shift, windows

CLOSED_FORM = 1e-6
EULER = 1e-5  # the reference takes arccosines of float32 numbers
POSITION, ANGLE, MATRIX = 1e-6, 2e-4, 3e-4  # an angle in the action's units of 0.01 rad


def notes(fixture: Fixture) -> None:
    """Remarks in prose about the run of the reference; nothing in them is an output."""
    fixture.json(fixture.name)


def frames(fixture: Fixture) -> None:
    groups = {key.split("/")[0] for key in fixture.keys("")}
    if "euler" in groups:
        eulers(fixture)
    for group in sorted(groups - {"euler"}):
        given, state = fixture.input(f"{group}/action"), fixture.input(f"{group}/robot_obs")
        tcp = actions.world_to_tcp(given, state)
        world = actions.tcp_to_world(given, state)
        found = {"tcp": tcp, "world_from_action_as_tcp": world, "roundtrip": actions.tcp_to_world(tcp, state)}
        for name, values in found.items():
            if fixture.has(f"{group}/{name}"):
                compare_frame(fixture, f"{group}/{name}", values, state)
        if fixture.has(f"{group}/no_nan_fallback"):
            fixture.compare(f"{group}/no_nan_fallback", np.isfinite(tcp).all(-1).ravel())


def compare_frame(fixture: Fixture, key: str, found: np.ndarray, state: np.ndarray) -> None:
    """Positions, rotation matrices, and Euler angles as far as they are well defined.

    Near gimbal lock the reference's float32 angles are off by more: by 1 over the cosine of the middle one.
    """
    if found.ndim == 4:  # the reference loses the time axis of [B, T, H, 7]
        found = found.reshape(found.shape[0], -1, 1, found.shape[-1])
        state = state.reshape(state.shape[0], -1, 1, state.shape[-1])
    now = 0 if key.endswith("/tcp") else state[..., 3:6].astype(np.float64)
    definite = np.cos(now + found[..., 3:6] * actions.ROTATION_SCALE)[..., 1:2]

    def seen(values: np.ndarray) -> np.ndarray:
        """Everything in units in which POSITION is its tolerance."""
        turn = values[..., 3:6].astype(np.float64)
        matrix = geometry.euler_to_matrix(now + turn * actions.ROTATION_SCALE).reshape(*values.shape[:-1], 9)
        rest = np.delete(values, [3, 4, 5], axis=-1)
        return np.concatenate([rest, matrix * (POSITION / MATRIX), turn * definite * (POSITION / ANGLE)], axis=-1)

    fixture.compare(key, found, atol=POSITION, seen=seen)


def eulers(fixture: Fixture) -> None:
    angles = fixture.input("euler/angles")
    for key in fixture.keys("euler/matrix_"):
        order = key.removeprefix("euler/matrix_")
        matrix = geometry.euler_to_matrix(angles, order)
        fixture.compare(key, matrix, atol=CLOSED_FORM)
        back = geometry.matrix_to_euler(matrix, order)
        fixture.compare("euler/back" if order == "XYZ" else f"euler/back_{order}", back, atol=EULER, seen=on_circle)


def on_circle(angles: np.ndarray) -> np.ndarray:
    """-pi and pi are the same angle."""
    return np.concatenate([np.cos(angles), np.sin(angles)], axis=-1)


def scaling(fixture: Fixture) -> None:
    x, mean, std = (fixture.input(key) for key in ("x", "reg_mean", "reg_std"))
    for key in fixture.keys("norm_") + fixture.keys("unnorm_"):
        name, low, high, keep = key.replace("norm_torch", "norm").split("_")
        values = actions.normalize(x, float(low), float(high), keep_gripper=keep == "1")
        if name == "unnorm":  # the way back from there
            values = actions.unnormalize(values, float(low), float(high), keep_gripper=keep == "1")
        fixture.compare(key, values, atol=CLOSED_FORM)
    rows = {"1d": x[0], "2d": x}
    regular = {"reg": actions.regularize, "unreg": actions.unregularize}
    companded = {"mu": actions.mu_law, "imu": actions.inverse_mu_law}
    for key in fixture.keys(""):
        if found := re.fullmatch(r"(reg|unreg)_(1d|2d)_vec_([01])", key):
            values = regular[found[1]](rows[found[2]], mean, std, keep_last=found[3] == "1")
            fixture.compare(key, values, atol=CLOSED_FORM, rtol=CLOSED_FORM)
        elif found := re.fullmatch(r"(mu|imu)_(1d|2d)_(0|1|torch)", key):
            values = companded[found[1]](rows[found[2]], keep_last=found[3] != "0")
            fixture.compare(key, values, atol=CLOSED_FORM, rtol=CLOSED_FORM)
        elif found := re.fullmatch(r"(mu|imu)_grid_(\d+)", key):
            values = companded[found[1]](fixture.input("mu_grid_x"), float(found[2]), keep_last=False)
            fixture.compare(key, values, atol=CLOSED_FORM)
    grippers(fixture)


def grippers(fixture: Fixture) -> None:
    gripper = fixture.input("gripper_in")
    opened = gripper == 1  # OXE: anything else is closed, 1 + 1e-7 too
    fixture.compare("gripper_refine_default", np.where(opened, 1, -1))
    fixture.compare("gripper_refine_value0", np.where(opened, 1, 0))
    fixture.compare("gripper_refine_status_value5", np.where(opened, 5, gripper))
    fixture.compare("calvin_gripper_map", actions.gripper_to_label(gripper))
    steps = np.zeros((3, 7))
    steps[:, -1] = [1, -1, 1]
    fixture.compare(
        "reg_scalar_default_gripper", actions.regularize(steps, 0.0, 1.0, keep_last=True), atol=CLOSED_FORM / 10
    )


def window_tables(fixture: Fixture) -> None:
    for key in fixture.keys("claw_"):
        n, k = map(int, key.split("_")[1:])
        fixture.compare(key, np.triu(np.tril(np.ones((n, n)), k)))
    for key in fixture.keys("gcd_"):
        if found := re.fullmatch(r"gcd_(data|train)_utils_w(\d+)_c(\d+)", key):
            later, window, size = int(found[1] == "train"), int(found[2]), int(found[3])
            rows = [windows.chunks(row[later:], size)[:window] for row in fixture.input("gcd_in")]
            fixture.compare(key, np.stack(rows))
    for key in fixture.keys("episode_"):
        _, kind, left_pad, length, window, ahead, what = key.split("_")
        steps, valid = windows.episode_windows(
            *(int(part[1:]) for part in (length, window, ahead)),
            every_history=kind == "range",
            left_pad=left_pad == "1",
        )
        fixture.compare(key, valid if what == "mask" else steps + 100)
    for key in fixture.keys("tensor_chunk_"):
        if found := re.fullmatch(r"tensor_chunk_(1d_)?n(\d+)", key):
            sequence = fixture.input("tensor_chunk_in")
            fixture.compare(key, windows.chunks(sequence[:, 0] if found[1] else sequence, int(found[2])))
    if fixture.has("pad_seq"):
        rows, _, width = fixture.shape("pad_seq")
        given = [np.arange(width - 2)[None], np.arange(width)[None]][:rows]
        fixture.compare("pad_seq", windows.pad_right(given, -100))


def random_shift(fixture: Fixture) -> None:
    images = torch.from_numpy(fixture.input("img"))
    pad = 4
    for key in fixture.keys(""):
        if key.endswith("_shift_xy"):
            shifts = torch.from_numpy(fixture.input(key)).reshape(-1, 2)
            if "_single_" in key:  # one draw for all pictures
                shifts = shifts[:1].expand(len(images), 2)
            name = key.removesuffix("shift_xy") + "out"
            shifted = shift.shift_images(images, shifts, pad)
            fixture.compare(name, shifted.reshape(fixture.shape(name)).numpy(), atol=EULER)
        elif found := re.fullmatch(r"seed(\d+)_each_pad(\d+)", key):
            generator = torch.Generator().manual_seed(int(found[1]))
            shifts = shift.draw_shifts(len(images), int(found[2]), generator=generator)
            fixture.compare(key, shift.shift_images(images, shifts, int(found[2])).numpy(), atol=EULER)


CHECKS: list[tuple[re.Pattern[str], Callable[[Fixture], None]]] = [
    (re.compile(r"[a-z]_notes"), notes),
    (re.compile(r"a_frames.*"), frames),
    (re.compile(r"a_scaling.*"), scaling),
    (re.compile(r"a_windows.*"), window_tables),
    (re.compile(r"a_random_shift.*"), random_shift),
]
