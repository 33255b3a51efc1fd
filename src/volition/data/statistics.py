"""What a dataset's numbers look like: mean, spread, range and quantiles, per dimension, in one pass over any size.

for block in blocks: running.update(block)      float[n, D]
running.result() -> Statistics                  one number per dimension and kind
image_statistics(frames) -> Statistics          per colour channel, in [0, 1]
"""

from __future__ import annotations

import dataclasses
from collections.abc import Sequence
from dataclasses import dataclass

import numpy as np

QUANTILES = {"q01": 0.01, "q10": 0.10, "q50": 0.50, "q90": 0.90, "q99": 0.99}


@dataclass(frozen=True, kw_only=True)
class Statistics:
    """Per dimension, as tuples so that they can be part of a config. `std` is that of the population."""

    count: int
    mean: tuple[float, ...]
    std: tuple[float, ...]
    min: tuple[float, ...]
    max: tuple[float, ...]
    q01: tuple[float, ...]
    q10: tuple[float, ...]
    q50: tuple[float, ...]
    q90: tuple[float, ...]
    q99: tuple[float, ...]

    @property
    def dim(self) -> int:
        return len(self.mean)


class RunningStatistics:
    """Exact count, mean, std, min and max; quantiles from a uniform sample of at most `capacity` rows.

    The sample is exact while fewer rows have been seen, and reproducible for the same sequence of rows.
    """

    def __init__(self, dim: int, *, capacity: int = 65536) -> None:
        self.dim = dim
        self.count = 0
        self._mean = np.zeros(dim)
        self._squares = np.zeros(dim)  # sum of squared deviations from the mean
        self._min, self._max = np.full(dim, np.inf), np.full(dim, -np.inf)
        self._kept = np.zeros((capacity, dim))
        self._rng = np.random.default_rng(0)

    def update(self, rows: np.ndarray) -> None:
        """Take in float[n, D]; ValueError when the width is wrong or a number is not finite."""
        if rows.ndim != 2 or rows.shape[1] != self.dim:
            raise ValueError(f"statistics need rows of shape [n, {self.dim}], got {list(rows.shape)}")
        if not len(rows):
            return
        rows = rows.astype(np.float64)
        if not np.isfinite(rows).all():
            bad = np.argwhere(~np.isfinite(rows))[0]
            raise ValueError(f"values must be finite, but row {bad[0]}, dimension {bad[1]} is {rows[tuple(bad)]}")
        self._keep(rows)
        mean, total = rows.mean(0), self.count + len(rows)
        shift = mean - self._mean
        self._squares += ((rows - mean) ** 2).sum(0) + shift**2 * self.count * len(rows) / total
        self._mean += shift * len(rows) / total
        self._min, self._max = np.minimum(self._min, rows.min(0)), np.maximum(self._max, rows.max(0))
        self.count = total

    def result(self) -> Statistics:
        if not self.count:
            raise ValueError("statistics need at least one row, got none; is the dataset empty?")
        kept = self._kept[: min(self.count, len(self._kept))]
        quantiles = np.quantile(kept, list(QUANTILES.values()), axis=0)
        return Statistics(
            count=self.count,
            mean=_numbers(self._mean),
            std=_numbers(np.sqrt(self._squares / self.count)),
            min=_numbers(self._min),
            max=_numbers(self._max),
            **{name: _numbers(row) for name, row in zip(QUANTILES, quantiles)},
        )

    def _keep(self, rows: np.ndarray) -> None:
        """Reservoir sampling: row number i replaces a kept one with probability capacity / (i + 1)."""
        free = max(len(self._kept) - self.count, 0)
        self._kept[self.count : self.count + free][: len(rows)] = rows[:free]
        late = rows[free:]
        seen = self.count + free + np.arange(len(late))
        places = (self._rng.random(len(late)) * (seen + 1)).astype(np.int64)
        chosen = places < len(self._kept)
        self._kept[places[chosen]] = late[chosen]


def vector_statistics(rows: np.ndarray) -> Statistics:
    """Of float[n, D], exactly."""
    running = RunningStatistics(rows.shape[1], capacity=max(len(rows), 1))
    running.update(rows)
    return running.result()


def image_statistics(frames: np.ndarray, *, max_frames: int = 16, pixel_stride: int = 4) -> Statistics:
    """Per channel in [0, 1], from at most `max_frames` of uint8[n, height, width, 3] and every few pixels of each.

    `count` is the number of frames looked at, as other readers of the format expect.
    """
    chosen = np.unique(np.linspace(0, len(frames) - 1, max_frames).round().astype(int))
    pixels = frames[chosen, ::pixel_stride, ::pixel_stride].reshape(-1, frames.shape[-1])
    histograms = np.stack([np.bincount(channel, minlength=256) for channel in pixels.T])  # [3, 256]
    levels = np.arange(256) / 255
    share = histograms / histograms.sum(1, keepdims=True)
    mean = share @ levels
    deviations = (levels - mean[:, None]) ** 2
    cumulative = share.cumsum(1)
    present = histograms > 0
    return Statistics(
        count=len(chosen),
        mean=_numbers(mean),
        std=_numbers(np.sqrt((share * deviations).sum(1))),
        min=_numbers(levels[present.argmax(1)]),
        max=_numbers(levels[255 - present[:, ::-1].argmax(1)]),
        **{name: _numbers(levels[(cumulative >= q - 1e-12).argmax(1)]) for name, q in QUANTILES.items()},
    )


def side_by_side(parts: Sequence[Statistics]) -> Statistics:
    """Of the dimensions of all parts; `count` is the largest of theirs."""
    names = [field.name for field in dataclasses.fields(Statistics) if field.name != "count"]
    columns = {name: tuple(value for part in parts for value in getattr(part, name)) for name in names}
    return Statistics(count=max(part.count for part in parts), **columns)


def merge_statistics(parts: Sequence[Statistics]) -> Statistics:
    """Of the union of several sets: exact but for the quantiles, which are averaged by count."""
    if not parts:
        raise ValueError("merging statistics needs at least one part, got none")
    counts = np.array([part.count for part in parts], dtype=np.float64)
    share = (counts / counts.sum())[:, None]
    column = {name: np.array([getattr(part, name) for part in parts]) for name in ("mean", "std", "min", "max")}
    mean = (share * column["mean"]).sum(0)
    variance = (share * (column["std"] ** 2 + (column["mean"] - mean) ** 2)).sum(0)
    return Statistics(
        count=int(counts.sum()),
        mean=_numbers(mean),
        std=_numbers(np.sqrt(variance)),
        min=_numbers(column["min"].min(0)),
        max=_numbers(column["max"].max(0)),
        **{name: _numbers((share * np.array([getattr(part, name) for part in parts])).sum(0)) for name in QUANTILES},
    )


def _numbers(row: np.ndarray) -> tuple[float, ...]:
    return tuple(float(value) for value in row)
