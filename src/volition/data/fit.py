"""Numbers of transforms that a dataset decides: what its actions are once other transforms have encoded them."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from typing import Literal

import numpy as np

from volition.contract import ActionSpace
from volition.data.statistics import RunningStatistics, Statistics, side_by_side
from volition.data.transforms import NormalizeActions, Scale, Transform, clip_to, make_scale
from volition.records import Episode, Observation

Normalization = Literal["range", "min_max", "quantiles", "mean_std"]
DEVIATIONS = 3.0  # of the mean that "mean_std" brings to -1..1


@dataclass(frozen=True, kw_only=True)
class Part:
    """Episodes, and how what is learned comes from their actions."""

    encoder: Transform
    episodes: Sequence[Episode]
    known: np.ndarray  # bool[A] of what the encoder makes


def unit_range(
    before: Transform,
    given: ActionSpace,
    episodes: Sequence[Episode],
    *,
    horizon: int,
    kind: Normalization,
    others: Sequence[Part] = (),
) -> tuple[Transform, ...]:
    """What brings what `before` makes of actions in `given` to -1..1, which heads answer in; binary ones stay.

    "range" scales what the space declares, the others what `episodes` hold in chunks of `horizon`, and `others`: least
    and greatest, 1 % and 99 %, or three standard deviations around the mean. What lies beyond that is clipped.
    """
    space = before.space(given)
    if kind != "range":
        scale = make_scale(encoded_statistics(before, space.dim, episodes, horizon, others), kind, keep=space.binary)
        if kind == "mean_std":
            wider = tuple(x if i in space.binary else DEVIATIONS * x for i, x in enumerate(scale.factor))
            scale = Scale(offset=scale.offset, factor=wider)
        return NormalizeActions(scale=scale), clip_to(space.scaled())
    if all((d.low, d.high) == (-1.0, 1.0) for d in space.dimensions if d.kind == "continuous"):
        return ()
    middle = tuple((d.low + d.high) / 2 if d.kind == "continuous" else 0.0 for d in space.dimensions)
    half = tuple((d.high - d.low) / 2 if d.kind == "continuous" else 1.0 for d in space.dimensions)
    return (NormalizeActions(scale=Scale(offset=middle, factor=half)),)


def encoded_statistics(
    transform: Transform,
    dim: int,
    episodes: Sequence[Episode],
    horizon: int,
    others: Sequence[Part] = (),
) -> Statistics:
    """Of every action of every chunk, [dim] numbers as `transform` encodes them at the step that plans the chunk."""
    columns = [RunningStatistics(1) for _ in range(dim)]  # a dimension that an episode lacks does not count
    for part in [Part(encoder=transform, episodes=episodes, known=np.ones(dim, bool)), *others]:
        for episode in part.episodes:
            rows = _encoded(part.encoder, episode, horizon)
            for i in np.flatnonzero(part.known):
                columns[i].update(rows[:, i : i + 1])
    return side_by_side([column.result() for column in columns])


def _encoded(encoder: Transform, episode: Episode, horizon: int) -> np.ndarray:
    """float32[n, A]: every action of every chunk that lies inside the episode."""
    steps = np.arange(len(episode))
    ahead = steps[:, None] + np.arange(horizon)
    chunks = episode.actions(steps)[np.minimum(ahead, steps[-1])]
    planned = Observation(images={}, state=episode.states(steps), instruction="")
    return encoder.encode(chunks, planned)[ahead < len(steps)]
