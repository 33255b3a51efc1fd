"""Which windows make up the batch of a step: a pure function of (seed, step), so resuming a run needs no state.

Windows are laid out task by task, every task as wide as its weight; a batch takes one random point from each of
`batch_size` equal stretches. So tasks, and within a task its episodes, are served evenly in every batch.
"""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass, field
from typing import Literal

import numpy as np

from volition.data.windows import Windows


@dataclass(frozen=True, kw_only=True)
class SamplerConfig:
    """`balance`: "tasks" gives every task the same share of the samples, "frames" every frame.

    `weights` multiplies the shares of the tasks it names; the others keep 1.
    """

    batch_size: int = 32
    seed: int = 0
    balance: Literal["tasks", "frames"] = "tasks"
    weights: Mapping[str, float] = field(default_factory=dict)

    def __post_init__(self) -> None:
        if self.batch_size < 1:
            raise ValueError(f"batch_size must be at least 1, got {self.batch_size}")
        if self.seed < 0:
            raise ValueError(f"seed must be at least 0, got {self.seed}")
        if self.balance not in ("tasks", "frames"):
            raise ValueError(f"balance must be 'tasks' or 'frames', got {self.balance!r}")
        bad = {task: weight for task, weight in self.weights.items() if not weight >= 0}
        if bad:
            raise ValueError(f"weights must be at least 0, got {bad}")


@dataclass(frozen=True, kw_only=True)
class Draw:
    """A batch, as the arguments of `Windows.sample`."""

    indices: np.ndarray  # int64[batch]
    choices: np.ndarray  # int64[batch], which wording, to be taken modulo their number


class Sampler:
    def __init__(self, windows: Windows, config: SamplerConfig) -> None:
        tasks = [episode.task for episode in windows.episodes]
        names = sorted(set(tasks))
        unknown = sorted(set(config.weights) - set(names))
        if unknown:
            raise ValueError(f"weights name tasks {unknown} that the dataset lacks; it has {names}")
        number = np.array([names.index(task) for task in tasks])
        self.config = config
        self.tasks = tuple(names)
        order = np.argsort(number, kind="stable")  # episodes, task by task
        lengths = np.array([len(episode) for episode in windows.episodes])
        self._first = (windows.ends - lengths)[order]  # the first window of each
        self._lengths = lengths[order]
        frames = np.bincount(number, weights=lengths)
        share = frames if config.balance == "frames" else np.ones(len(names))
        share = share * np.array([config.weights.get(name, 1.0) for name in names])
        if not share.sum() > 0:
            raise ValueError(f"at least one task must have a weight above 0, got {dict(config.weights)}")
        self.shares = share / share.sum()  # float[tasks]
        per_episode = self.shares[number[order]] * self._lengths / frames[number[order]]
        self._ends = np.cumsum(per_episode)
        self._starts = self._ends - per_episode
        self._widths = per_episode

    def draw(self, step: int, *, rank: int = 0, num_ranks: int = 1) -> Draw:
        """The batch of `step`, or the share of `rank`: together the ranks have exactly the batch of one."""
        if not 0 <= rank < num_ranks or self.config.batch_size % num_ranks:
            raise ValueError(
                f"rank must be in 0..num_ranks-1 and batch_size a multiple of num_ranks, got rank={rank}, "
                f"num_ranks={num_ranks}, batch_size={self.config.batch_size}"
            )
        rng = np.random.default_rng((self.config.seed, step))
        size = self.config.batch_size
        points = (np.arange(size) + rng.random(size)) / size * self._ends[-1]
        episodes = np.minimum(np.searchsorted(self._ends, points, side="right"), self._last_used())
        within = (points - self._starts[episodes]) / self._widths[episodes] * self._lengths[episodes]
        indices = self._first[episodes] + np.clip(within.astype(np.int64), 0, self._lengths[episodes] - 1)
        order = rng.permutation(size)
        choices = rng.integers(0, 1 << 30, size)
        return Draw(indices=indices[order][rank::num_ranks], choices=choices[rank::num_ranks])

    def _last_used(self) -> int:
        """Rounding may put a point past the last episode that has any share."""
        return int(np.flatnonzero(self._widths > 0)[-1])
