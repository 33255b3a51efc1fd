from __future__ import annotations

import dataclasses

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st
from hypothesis.extra.numpy import arrays

from volition.data.statistics import (
    QUANTILES,
    RunningStatistics,
    image_statistics,
    merge_statistics,
    vector_statistics,
)

ROWS = arrays(np.float32, st.tuples(st.integers(1, 40), st.just(3)), elements=st.floats(-1000, 1000, width=32))


@given(rows=ROWS, cuts=st.lists(st.integers(0, 40), max_size=4))
def test_any_split_into_blocks_gives_what_numpy_says(rows: np.ndarray, cuts: list[int]) -> None:
    running = RunningStatistics(3)
    for block in np.split(rows, sorted(cut % (len(rows) + 1) for cut in cuts)):
        running.update(block)
    found, exact = running.result(), rows.astype(np.float64)
    assert found.count == len(rows)
    np.testing.assert_allclose(found.mean, exact.mean(0), atol=1e-6)
    np.testing.assert_allclose(found.std, exact.std(0), atol=1e-6)
    np.testing.assert_array_equal(found.min, exact.min(0))
    np.testing.assert_array_equal(found.max, exact.max(0))
    for name, q in QUANTILES.items():
        np.testing.assert_allclose(getattr(found, name), np.quantile(exact, q, axis=0), atol=1e-6)


def test_quantiles_of_more_rows_than_are_kept_are_close() -> None:
    rng = np.random.default_rng(0)
    rows = rng.normal(size=(40_000, 2))
    running = RunningStatistics(2, capacity=4000)
    for block in np.array_split(np.sort(rows, axis=0), 37):  # sorted: keeping only the first rows would be far off
        running.update(block)
    found = running.result()
    for name, q in QUANTILES.items():
        np.testing.assert_allclose(getattr(found, name), np.quantile(rows, q, axis=0), atol=0.15)
    np.testing.assert_allclose(found.mean, rows.mean(0), atol=1e-12)


@given(left=ROWS, right=ROWS)
def test_merging_equals_statistics_of_the_union(left: np.ndarray, right: np.ndarray) -> None:
    merged = merge_statistics([vector_statistics(left), vector_statistics(right)])
    union = vector_statistics(np.concatenate([left, right]))
    assert merged.count == union.count
    for name in ("mean", "std", "min", "max"):
        np.testing.assert_allclose(getattr(merged, name), getattr(union, name), atol=1e-4)


def test_image_statistics_are_those_of_the_pixels() -> None:
    frames = np.random.default_rng(1).integers(0, 200, (5, 8, 8, 3)).astype(np.uint8)
    found = image_statistics(frames, max_frames=5, pixel_stride=1)
    pixels = frames.reshape(-1, 3) / 255
    np.testing.assert_allclose(found.mean, pixels.mean(0))
    np.testing.assert_allclose(found.std, pixels.std(0))
    np.testing.assert_allclose(found.min, pixels.min(0))
    np.testing.assert_allclose(found.max, pixels.max(0))
    np.testing.assert_allclose(found.q50, np.quantile(pixels, 0.5, axis=0, method="inverted_cdf"))
    assert dataclasses.asdict(found)["count"] == 5


def test_errors_say_what_is_wrong() -> None:
    with pytest.raises(ValueError, match=r"row 1, dimension 0 is nan"):
        RunningStatistics(2).update(np.array([[0.0, 1.0], [np.nan, 1.0]]))
    with pytest.raises(ValueError, match=r"shape \[n, 2\], got \[3\]"):
        RunningStatistics(2).update(np.zeros(3))
    with pytest.raises(ValueError, match="at least one row"):
        RunningStatistics(2).result()
    with pytest.raises(ValueError, match="at least one part"):
        merge_statistics([])
