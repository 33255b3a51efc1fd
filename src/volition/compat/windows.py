"""Which frames the reference's windows and chunks are made of."""

from __future__ import annotations

from collections.abc import Sequence

import numpy as np


def chunks(sequence: np.ndarray, size: int) -> np.ndarray:
    """[T, ...] -> [T - size + 1, size, ...]: entry (t, k) is step t + k."""
    return np.moveaxis(np.lib.stride_tricks.sliding_window_view(sequence, size, axis=0), -1, 1)


def episode_windows(
    length: int, window: int, ahead: int, *, every_history: bool, left_pad: bool
) -> tuple[np.ndarray, np.ndarray]:
    """Step numbers int64[n, window + ahead], clipped to 0..length - 1, and bool[n, window + ahead], False outside.

    One row for every last seen step t, holding t - window + 1 .. t + ahead; without `left_pad` only those whose history
    is whole. `every_history` repeats a row `window` times, with ever more of its oldest steps masked.
    """
    seen = np.arange(0 if left_pad else window - 1, length)
    wanted = seen[:, None] + np.arange(1 - window, ahead + 1)
    valid = (wanted >= 0) & (wanted < length)
    steps = np.clip(wanted, 0, length - 1)
    if every_history:
        hidden = np.arange(window + ahead) < np.arange(window)[:, None]
        steps = np.repeat(steps, window, axis=0)
        valid = np.repeat(valid, window, axis=0) & ~np.tile(hidden, (len(seen), 1))
    return steps, valid


def pad_right(rows: Sequence[np.ndarray], value: int) -> np.ndarray:
    """Arrays that differ in their last axis, padded to the longest and stacked."""
    longest = max(row.shape[-1] for row in rows)
    before = [[(0, 0)] * (row.ndim - 1) for row in rows]
    return np.stack(
        [
            np.pad(row, [*others, (0, longest - row.shape[-1])], constant_values=value)
            for row, others in zip(rows, before)
        ]
    )
