"""Which windows make up the batch of a step: a pure function of (seed, step), so resuming a run needs no state.

Windows that are drawn alike form a stratum: a task of a dataset, or all of it. Strata take turns, each as often as its
weight asks for and as evenly as can be, so every batch has its share of each. A stratum hands out its windows in an
order that is spread over all of them, each exactly once before any comes again: that is its epoch. A next one has
another order.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import Literal

import numpy as np

from volition.data.spread import make_keys, spread
from volition.records import Episode

NUM_TURNS = 1 << 16  # after which strata take turns as before; a share is exact to one of them
Balance = Literal["tasks", "frames"]


@dataclass(frozen=True, kw_only=True)
class Stratum:
    """Windows of one source, by episode: which comes first, and how many there are."""

    source: int
    weight: float  # relative to the other strata
    firsts: np.ndarray  # int64[E]
    lengths: np.ndarray  # int64[E]


def make_strata(
    episodes: Sequence[Episode],
    *,
    windows: np.ndarray | None = None,
    source: int = 0,
    weight: float = 1.0,
    balance: Balance = "tasks",
    task_weights: Mapping[str, float] | None = None,
) -> list[Stratum]:
    """`windows` int[E]: how many each episode has, by default one a frame.

    `balance`: "tasks" gives every task the same share of the source's samples, "frames" every frame.

    `task_weights` multiplies the shares of tasks, the others keep 1; those with 0 are left out, and tasks that this
    source lacks are no matter. Every task is a stratum, with "frames" all tasks that have the same weight.
    """
    if balance not in ("tasks", "frames"):
        raise ValueError(f"balance must be 'tasks' or 'frames', got {balance!r}")
    weights = dict(task_weights or {})
    for name, value in [("the weight of a source", weight), *weights.items()]:
        if not 0 <= value < float("inf"):
            raise ValueError(f"weights must be at least 0 and finite, got {value} for {name}")
    lengths = np.array([len(episode) for episode in episodes], np.int64) if windows is None else windows
    firsts = np.cumsum(lengths) - lengths
    groups: dict[str | float, list[int]] = {}
    for number, episode in enumerate(episodes):
        groups.setdefault(episode.task if balance == "tasks" else weights.get(episode.task, 1.0), []).append(number)
    shares = {
        key: weights.get(key, 1.0) if isinstance(key, str) else key * int(lengths[chosen].sum())
        for key, chosen in groups.items()
    }
    if not sum(shares.values()) > 0:
        raise ValueError(f"at least one task must have a weight above 0, got {weights}")
    return [
        Stratum(
            source=source,
            weight=weight * shares[key] / sum(shares.values()),
            firsts=firsts[groups[key]],
            lengths=lengths[groups[key]],
        )
        for key in sorted(groups)  # whatever the order of episodes
        if shares[key] > 0
    ]


@dataclass(frozen=True, kw_only=True)
class Draw:
    """A batch: of every sample its source, and the arguments of `Windows.sample`."""

    sources: np.ndarray  # int64[batch]
    indices: np.ndarray  # int64[batch]
    choices: np.ndarray  # int64[batch], which wording, to be taken modulo their number


class Sampler:
    """Needs memory for episodes, not for windows; a batch of any step costs the same."""

    def __init__(self, strata: Sequence[Stratum], *, batch_size: int, seed: int = 0) -> None:
        if batch_size < 1:
            raise ValueError(f"batch_size must be at least 1, got {batch_size}")
        if seed < 0:
            raise ValueError(f"seed must be at least 0, got {seed}")
        used = [stratum for stratum in strata if stratum.weight > 0]
        if not used:
            raise ValueError("at least one source must have a weight above 0")
        self.batch_size, self.seed = batch_size, seed
        lengths = np.concatenate([stratum.lengths for stratum in used])
        self._episode_source = np.repeat([s.source for s in used], [len(s.lengths) for s in used])
        self._episode_ends = np.cumsum(lengths)  # counted through all strata
        self._episode_starts = self._episode_ends - lengths
        self._firsts = np.concatenate([stratum.firsts for stratum in used])
        self._sizes = np.array([int(stratum.lengths.sum()) for stratum in used])  # windows of each stratum
        self._begins = np.cumsum(self._sizes) - self._sizes
        shares = np.array([stratum.weight for stratum in used])
        self._counts = np.maximum(np.rint(shares / shares.sum() * NUM_TURNS), 1).astype(np.int64)  # turns of each
        # Turn j of a stratum with n turns comes at (j + 1/2) / n of the way.
        self._turn_stratum = np.repeat(np.arange(len(used)), self._counts)
        self._turn_number = np.concatenate([np.arange(count) for count in self._counts])
        order = np.argsort((self._turn_number + 0.5) / self._counts[self._turn_stratum], kind="stable")
        self._turn_stratum, self._turn_number = self._turn_stratum[order], self._turn_number[order]

    def draw(self, step: int, *, rank: int = 0, num_ranks: int = 1) -> Draw:
        """The batch of step 1, 2, ..., or the share of `rank`: together the ranks have exactly the batch of one.

        Workers of a rank take whole steps in turn, or share each: worker w of n is rank * n + w of num_ranks * n.
        """
        if step < 1:
            raise ValueError(f"steps are counted from 1, got {step}")
        if not 0 <= rank < num_ranks or self.batch_size % num_ranks:
            raise ValueError(
                f"rank must be in 0..num_ranks-1 and batch_size a multiple of num_ranks, got rank={rank}, "
                f"num_ranks={num_ranks}, batch_size={self.batch_size}"
            )
        rng = np.random.default_rng((self.seed, step))
        # Neighbours in the turns have different strata: no rank shall get all of one.
        places = (rng.permutation(self.batch_size) + (step - 1) * self.batch_size)[rank::num_ranks]
        choices = rng.integers(0, 1 << 30, self.batch_size)[rank::num_ranks]
        sources, indices = self._at(places)
        return Draw(sources=sources, indices=indices, choices=choices)

    def _at(self, places: np.ndarray) -> tuple[np.ndarray, np.ndarray]:
        """Sources and windows at any places of the endless row of samples."""
        rounds, turns = np.divmod(places, len(self._turn_stratum))
        stratum = self._turn_stratum[turns]
        before = rounds * self._counts[stratum] + self._turn_number[turns]  # samples of the stratum so far
        epochs, rest = np.divmod(before, self._sizes[stratum])
        keys = make_keys(self.seed, stratum, epochs)
        windows = self._begins[stratum] + spread(rest, self._sizes[stratum], keys)
        episodes = np.searchsorted(self._episode_ends, windows, side="right")
        return self._episode_source[episodes], self._firsts[episodes] + windows - self._episode_starts[episodes]
