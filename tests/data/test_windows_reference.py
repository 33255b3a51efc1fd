"""Windows against the reference's tables of frames and masks: the same where it is right; where it errs, both are said.

The reference reads a row of `window + ahead` frames and makes chunks (j, k) of it, which are its entries j + k; ours
says of every entry (j, k) itself whether it counts. How its rows are made is in `compat`, and compared there.
"""

from __future__ import annotations

import json
import re

import numpy as np
import pytest

from tests.data.test_windows import Counting
from tests.source_tree import ROOT
from volition.data.windows import Windows

GOLDEN = ROOT / "tests" / "golden"
CALVIN = json.loads((GOLDEN / "e_calvin_index.json").read_text())
with np.load(GOLDEN / "a_windows.npz") as stored:
    TABLES = {key: stored[key] for key in stored if key.startswith("episode_")}
FIRST = 100  # the number of an episode's first frame in these tables


def chunked(row: np.ndarray, window: int, ahead: int) -> np.ndarray:
    """[window + ahead, ...] -> [window, ahead, ...]"""
    return row[np.arange(window)[:, None] + np.arange(ahead)]


@pytest.mark.parametrize("name", CALVIN["tables"])
def test_calvin_windows(name: str) -> None:
    window, ahead, skip = map(int, re.findall(r"\d+", name))
    table = CALVIN["tables"][name]
    starts: dict[int, list[int]] = {}
    for annotation, start, files, mask in zip(
        table["lang_lookup"], table["episode_lookup"], table["files"], table["action_mask"], strict=True
    ):
        starts.setdefault(annotation, []).append(start)
        first, end = CALVIN["episodes"][annotation]
        windows = Windows([Counting(0, end - first + 1)], num_obs_steps=window, action_horizon=ahead)
        ours = windows.sample(start - first + window - 1)
        theirs, counts = (chunked(np.array(row), window, ahead) for row in (files, mask))
        np.testing.assert_array_equal(ours.observation.state[:, 1] + first, files[:window])
        np.testing.assert_array_equal((ours.actions[..., 0] + first)[ours.mask], theirs[ours.mask])
        # An annotation's last frame is a step too; the reference masks it, as if it were padding.
        asked = start + np.arange(window)[:, None] + np.arange(ahead)
        np.testing.assert_array_equal(counts, asked < end)
        np.testing.assert_array_equal(ours.mask, asked <= end)
    for annotation, (first, end) in enumerate(CALVIN["episodes"]):
        # Every frame is the last of a window of ours. The reference has no window with a short history, none that ends
        # with the last frame, and of the others it leaves out what it skips.
        assert starts.get(annotation, []) == list(range(first, end + 1 - window, skip))
        assert len(Windows([Counting(0, end - first + 1)], num_obs_steps=window, action_horizon=1)) == end - first + 1


@pytest.mark.parametrize("name", sorted(key for key in TABLES if re.match(r"episode_sliding_1_.*idx", key)))
def test_windows_padded_at_both_ends(name: str) -> None:
    length, window, ahead = map(int, re.findall(r"[Lwn](\d+)", name))
    windows = Windows([Counting(0, length)], num_obs_steps=window, action_horizon=ahead)
    frames, valid = TABLES[name] - FIRST, TABLES[name.replace("idx", "mask")]
    assert len(windows) == len(frames) == length
    for last, (row, real) in enumerate(zip(frames, valid)):
        sample = windows.sample(last)
        np.testing.assert_array_equal(sample.observation.state[:, 1], row[:window])
        np.testing.assert_array_equal(sample.actions[..., 0][sample.mask], chunked(row, window, ahead)[sample.mask])
        # Of a step before the episode the reference masks only what lies before it too: shown the first frame, the
        # policy is to know what is done some frames later, a different number of them for every such step.
        theirs = chunked(real, window, ahead)
        np.testing.assert_array_equal(sample.mask, theirs & real[:window, None])
        assert (theirs & ~real[:window, None]).any() == (last < window - 1 and ahead > 1)
    whole = name.replace("sliding_1", "sliding_0")  # without padding at the beginning: later windows are the same
    np.testing.assert_array_equal(TABLES[whole] - FIRST, frames[window - 1 :])
    every = name.replace("sliding", "range")  # its histories of every length are windows with steps masked
    np.testing.assert_array_equal(TABLES[every][::window] - FIRST, frames)


@pytest.mark.parametrize("stride", [1, 2])
def test_a_stride_leaves_out_columns(stride: int) -> None:
    """The reference's windows hold neighbouring frames; ours, `stride` apart, are columns of its wider ones."""
    window, ahead, name = 3, 2, "episode_sliding_1_L6_w3_n2"
    frames, valid = TABLES[f"{name}_idx"] - FIRST, TABLES[f"{name}_mask"]
    steps = (window - 1) // stride + 1
    windows = Windows([Counting(0, 6)], num_obs_steps=steps, obs_stride=stride, action_horizon=ahead)
    for last, (row, real) in enumerate(zip(frames, valid)):
        sample = windows.sample(last)
        np.testing.assert_array_equal(sample.observation.state[:, 1], row[:window:stride])
        np.testing.assert_array_equal(sample.mask, chunked(real, window, ahead)[::stride] & real[:window:stride, None])
