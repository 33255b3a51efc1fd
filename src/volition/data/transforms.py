"""Between robot units and what a model should see: a map on observations, a bijection on actions.

    encode(actions)   robot units -> model units, in training        decode   the way back, when acting
    observe           the observation as the model sees it, in both
    space             what the model's numbers mean, given what the robot's mean

Every transform carries both directions, so training and serving cannot differ. All are frozen dataclasses of numbers:
they travel in configs and contracts. Here are those that every policy has; `data.action_transforms` has those that a
recipe chooses. Arrays: observation.state float32[T, S]; actions float32[T, H, A], a chunk for each of its steps, in
training, and float32[H, A] or [A], planned at the newest step, when acting.
"""

from __future__ import annotations

import dataclasses
from collections.abc import Sequence
from dataclasses import dataclass
from itertools import accumulate

import numpy as np

from volition.contract import ActionSpace
from volition.data.columns import with_ranges
from volition.data.statistics import Statistics
from volition.records import Observation

MIN_SPREAD = 1e-4  # a dimension that hardly moves is shifted, not blown up


@dataclass(frozen=True)
class Transform:
    """Identity. Subclasses override the directions they change; none changes its input in place."""

    def space(self, given: ActionSpace) -> ActionSpace:
        """What `encode` makes of actions in `given`; ValueError for a space that the transform does not fit."""
        return given

    def known(self, given: np.ndarray) -> np.ndarray:
        """Which dimensions `encode` has something to say of, bool[A], given those of the robot that there are."""
        return given

    def observe(self, observation: Observation) -> Observation:
        return observation

    def encode(self, actions: np.ndarray, observation: Observation) -> np.ndarray:
        return actions

    def decode(self, actions: np.ndarray, observation: Observation) -> np.ndarray:
        return actions


@dataclass(frozen=True, kw_only=True)
class Chain(Transform):
    """Transforms applied in order, undone in reverse; each sees the observation as the ones before it left it."""

    transforms: tuple[Transform, ...] = ()

    def space(self, given: ActionSpace) -> ActionSpace:
        for transform in self.transforms:
            given = transform.space(given)
        return given

    def known(self, given: np.ndarray) -> np.ndarray:
        for transform in self.transforms:
            given = transform.known(given)
        return given

    def observe(self, observation: Observation) -> Observation:
        for transform in self.transforms:
            observation = transform.observe(observation)
        return observation

    def encode(self, actions: np.ndarray, observation: Observation) -> np.ndarray:
        for transform, seen in self._stages(observation):
            actions = transform.encode(actions, seen)
        return actions

    def decode(self, actions: np.ndarray, observation: Observation) -> np.ndarray:
        for transform, seen in reversed(self._stages(observation)):
            actions = transform.decode(actions, seen)
        return actions

    def _stages(self, observation: Observation) -> list[tuple[Transform, Observation]]:
        seen = accumulate(self.transforms, lambda before, t: t.observe(before), initial=observation)
        return list(zip(self.transforms, seen))


@dataclass(frozen=True, kw_only=True)
class Scale:
    """`(x - offset) / factor` per dimension."""

    offset: tuple[float, ...]
    factor: tuple[float, ...]

    def __post_init__(self) -> None:
        if len(self.offset) != len(self.factor) or not all(factor > 0 for factor in self.factor):
            raise ValueError(
                f"offset and factor must be equally long, factors above 0; got {self.offset}, {self.factor}"
            )

    def forward(self, values: np.ndarray) -> np.ndarray:
        self._check(values)
        return ((values - np.array(self.offset)) / np.array(self.factor)).astype(np.float32)

    def backward(self, values: np.ndarray) -> np.ndarray:
        self._check(values)
        return (values * np.array(self.factor) + np.array(self.offset)).astype(np.float32)

    def _check(self, values: np.ndarray) -> None:
        if values.shape[-1] != len(self.offset):
            raise ValueError(f"values must have {len(self.offset)} dimensions, got shape {list(values.shape)}")


def make_scale(statistics: Statistics, kind: str, *, keep: Sequence[int] = ()) -> Scale:
    """mean_std: to mean 0 and deviation 1. min_max, quantiles (1 % and 99 %): that range to [-1, 1].

    Dimensions in `keep` (binary ones, say) are left as they are.
    """
    if kind == "mean_std":
        offset, factor = np.array(statistics.mean), np.array(statistics.std)
    elif kind in ("min_max", "quantiles"):
        low, high = (statistics.min, statistics.max) if kind == "min_max" else (statistics.q01, statistics.q99)
        offset, factor = (np.array(low) + np.array(high)) / 2, (np.array(high) - np.array(low)) / 2
    else:
        raise ValueError(f"normalisation must be 'mean_std', 'min_max' or 'quantiles', got {kind!r}")
    factor = np.where(factor < MIN_SPREAD, 1.0, factor)
    offset[list(keep)], factor[list(keep)] = 0.0, 1.0
    return Scale(offset=tuple(offset.tolist()), factor=tuple(factor.tolist()))


@dataclass(frozen=True, kw_only=True)
class NormalizeActions(Transform):
    """Also how a unit is changed: metres per step become multiples of 0.02 m with the factor 0.02."""

    scale: Scale

    def space(self, given: ActionSpace) -> ActionSpace:
        ends = [[getattr(d, end) for d in given.dimensions] for end in ("low", "high")]
        ranges = self.scale.forward(np.array(ends)).T.tolist()
        same = [pair == (0, 1) for pair in zip(self.scale.offset, self.scale.factor)]
        changed = {i: (low, high) for i, (low, high) in enumerate(ranges) if not same[i]}
        return with_ranges(given, changed, unit="scaled")

    def encode(self, actions: np.ndarray, observation: Observation) -> np.ndarray:
        return self.scale.forward(actions)

    def decode(self, actions: np.ndarray, observation: Observation) -> np.ndarray:
        return self.scale.backward(actions)


@dataclass(frozen=True, kw_only=True)
class NormalizeState(Transform):
    scale: Scale

    def observe(self, observation: Observation) -> Observation:
        return dataclasses.replace(observation, state=self.scale.forward(observation.state))


@dataclass(frozen=True, kw_only=True)
class ClipActions(Transform):
    """Both ways into the range of the action space: a bijection on valid actions, a bound for what a model makes up."""

    low: tuple[float, ...]
    high: tuple[float, ...]

    def __post_init__(self) -> None:
        if len(self.low) != len(self.high) or not all(low <= high for low, high in zip(self.low, self.high)):
            raise ValueError(f"low and high must be equally long, none above the other; got {self.low}, {self.high}")

    def encode(self, actions: np.ndarray, observation: Observation) -> np.ndarray:
        return self._clip(actions)

    def decode(self, actions: np.ndarray, observation: Observation) -> np.ndarray:
        return self._clip(actions)

    def _clip(self, actions: np.ndarray) -> np.ndarray:
        if actions.shape[-1] != len(self.low):
            raise ValueError(f"actions must have {len(self.low)} dimensions, got shape {list(actions.shape)}")
        return np.clip(actions, np.array(self.low, np.float32), np.array(self.high, np.float32)).astype(np.float32)


def clip_to(space: ActionSpace) -> ClipActions:
    """The clip that `space` asks for; all that relative arm actions need."""
    dimensions = space.dimensions
    return ClipActions(low=tuple(d.low for d in dimensions), high=tuple(d.high for d in dimensions))


@dataclass(frozen=True, kw_only=True)
class SelectState(Transform):
    """Show the model only some entries of the state, in this order; () shows none."""

    entries: tuple[int, ...]

    def observe(self, observation: Observation) -> Observation:
        return dataclasses.replace(observation, state=observation.state[:, list(self.entries)])


@dataclass(frozen=True)
class Deafen(Transform):
    """No instruction: the deaf twin, which tells what listening is worth."""

    def observe(self, observation: Observation) -> Observation:
        return dataclasses.replace(observation, instruction="")


@dataclass(frozen=True)
class BlackOut(Transform):
    """Every camera is black: the blind twin, which tells what seeing is worth."""

    def observe(self, observation: Observation) -> Observation:
        blank = {name: np.zeros_like(x) for name, x in observation.images.items()}
        return dataclasses.replace(observation, images=blank)
