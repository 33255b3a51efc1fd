"""What a recipe may do to actions before a policy learns them: `DataConfig.transforms`, in this order.

    MuLaw                                 fine steps near 0
    RelativePosition, RelativeRotation    absolute targets -> as seen from where the robot is
    ToolFrame                             relative motion of the world's frame -> of the tool's
    GripperRange, BinaryGripper           however it is written -> +1 open, -1 closed
    MapActions                            the dataset's dimensions -> the policy's, by name
    Inverse                               any of them the other way round

Dimensions and entries of the state are given by their place. Those of the second and third line are in
`data.frame_transforms`; pictures are changed in `backbones.images`.
"""

from __future__ import annotations

import dataclasses
from dataclasses import dataclass

import numpy as np

from volition.contract import ActionSpace, differences
from volition.data.columns import check_places, ranges, replaced, taken, with_ranges
from volition.data.frame_transforms import RelativePosition, RelativeRotation, ToolFrame
from volition.data.transforms import ClipActions, NormalizeActions, Transform
from volition.records import Observation


def compress(values: np.ndarray, mu: float) -> np.ndarray:
    """sign(x) ln(1 + mu |x|) / ln(1 + mu), ITU-T G.711: -1..1 to itself."""
    return np.sign(values) * np.log1p(mu * np.abs(values)) / np.log1p(mu)


def expand(values: np.ndarray, mu: float) -> np.ndarray:
    return np.sign(values) * np.expm1(np.abs(values) * np.log1p(mu)) / mu


@dataclass(frozen=True, kw_only=True)
class MuLaw(Transform):
    """Finer steps near 0, where most motion is; a bijection of all numbers that keeps -1, 0 and 1."""

    dimensions: tuple[int, ...]
    mu: float = 255.0

    def __post_init__(self) -> None:
        check_places("dimensions", self.dimensions)
        if not self.mu > 0:
            raise ValueError(f"mu must be above 0, is {self.mu}")

    def space(self, given: ActionSpace) -> ActionSpace:
        ends = compress(np.array(list(ranges(given, self.dimensions).values())), self.mu).tolist()
        changed = {i: (low, high) for i, (low, high) in zip(self.dimensions, ends)}
        return with_ranges(given, changed, unit="companded")

    def encode(self, actions: np.ndarray, observation: Observation) -> np.ndarray:
        return replaced(actions, self.dimensions, compress(taken(actions, self.dimensions), self.mu))

    def decode(self, actions: np.ndarray, observation: Observation) -> np.ndarray:
        return replaced(actions, self.dimensions, expand(taken(actions, self.dimensions), self.mu))


@dataclass(frozen=True, kw_only=True)
class GripperRange(Transform):
    """+1 open, -1 closed, linear in between, however the dataset writes it: 0..1, 1..0, metres."""

    dimension: int
    open: float  # as the dataset writes it
    closed: float

    def __post_init__(self) -> None:
        check_places("dimension", (self.dimension,))
        if self.open == self.closed:
            raise ValueError(f"open and closed must differ, both are {self.open}")

    def space(self, given: ActionSpace) -> ActionSpace:
        ends = ranges(given, (self.dimension,))[self.dimension]
        low, high = sorted(self._shown(np.array(ends)).tolist())
        return with_ranges(given, {self.dimension: (low, high)}, unit="+1 open, -1 closed")

    def encode(self, actions: np.ndarray, observation: Observation) -> np.ndarray:
        return replaced(actions, (self.dimension,), self._shown(taken(actions, (self.dimension,))))

    def decode(self, actions: np.ndarray, observation: Observation) -> np.ndarray:
        share = (taken(actions, (self.dimension,)) + 1) / 2
        return replaced(actions, (self.dimension,), self.closed + share * (self.open - self.closed))

    def _shown(self, values: np.ndarray) -> np.ndarray:
        return 2 * (values - self.closed) / (self.open - self.closed) - 1


@dataclass(frozen=True, kw_only=True)
class BinaryGripper(Transform):
    """+1 where the gripper is beyond `threshold` on the side of `open`, else -1; decoded as exactly `open` or `closed`.

    What a policy answers above 0 is open. A width between the two is lost, at most `error` of it.
    """

    dimension: int
    open: float  # as the dataset writes it
    closed: float
    threshold: float

    def __post_init__(self) -> None:
        check_places("dimension", (self.dimension,))
        if not min(self.open, self.closed) < self.threshold < max(self.open, self.closed):
            raise ValueError(
                f"threshold must lie between open={self.open} and closed={self.closed}, is {self.threshold}"
            )

    @property
    def error(self) -> float:
        """The most by which decode(encode(a)) is off, for a between `closed` and `open`."""
        return max(abs(self.open - self.threshold), abs(self.threshold - self.closed))

    def space(self, given: ActionSpace) -> ActionSpace:
        changed = with_ranges(given, {self.dimension: (-1.0, 1.0)}, unit="+1 open, -1 closed")
        dimensions = list(changed.dimensions)
        dimensions[self.dimension] = dataclasses.replace(dimensions[self.dimension], kind="binary")
        return dataclasses.replace(changed, dimensions=tuple(dimensions))

    def encode(self, actions: np.ndarray, observation: Observation) -> np.ndarray:
        beyond = (self._finite(actions) - self.threshold) * (self.open - self.closed) > 0
        return replaced(actions, (self.dimension,), np.where(beyond, 1.0, -1.0))

    def decode(self, actions: np.ndarray, observation: Observation) -> np.ndarray:
        return replaced(actions, (self.dimension,), np.where(self._finite(actions) > 0, self.open, self.closed))

    def _finite(self, actions: np.ndarray) -> np.ndarray:
        gripper = taken(actions, (self.dimension,))
        if np.isnan(gripper).any():
            raise ValueError("a gripper must be a number to be open or closed, at least one is NaN")
        return gripper


@dataclass(frozen=True, kw_only=True)
class MapActions(Transform):
    """The dimensions of a policy, found by name among those of a dataset: for datasets of several robots in one policy.

    What only one of the two has gets a constant: the policy is shown it, the robot is told it. A name that both have
    must mean the same in both; other transforms come before, and make it so.
    """

    given: ActionSpace
    shown: ActionSpace
    constants: tuple[tuple[str, float], ...] = ()  # one for every name that only one of the two has

    def __post_init__(self) -> None:
        given, shown = ({d.name: d for d in space.dimensions} for space in (self.given, self.shown))
        alone = sorted(given.keys() ^ shown.keys())
        if sorted(name for name, _ in self.constants) != alone:
            raise ValueError(
                f"constants must be given for {alone}, got them for {[name for name, _ in self.constants]}"
            )
        found = [line for name in given.keys() & shown.keys() for line in differences(given[name], shown[name], name)]
        found += [
            f"{name}: {value} is not in {d.low}..{d.high}"
            for name, value in self.constants
            for d in [(given | shown)[name]]
            if not d.low <= value <= d.high
        ]
        if found:
            raise ValueError("a name must mean the same to dataset and policy:\n  " + "\n  ".join(sorted(found)))

    def space(self, given: ActionSpace) -> ActionSpace:
        if found := differences(given.dimensions, self.given.dimensions, "dimensions"):
            raise ValueError("MapActions maps actions that these are not:\n  " + "\n  ".join(found))
        return self.shown

    def known(self, given: np.ndarray) -> np.ndarray:
        """A constant is nothing known: a loss leaves it out."""
        there = [d.name for d in self.given.dimensions]
        return np.array([d.name in there and given[there.index(d.name)] for d in self.shown.dimensions])

    def encode(self, actions: np.ndarray, observation: Observation) -> np.ndarray:
        return self._mapped(actions, self.given, self.shown)

    def decode(self, actions: np.ndarray, observation: Observation) -> np.ndarray:
        return self._mapped(actions, self.shown, self.given)

    def _mapped(self, actions: np.ndarray, from_: ActionSpace, to: ActionSpace) -> np.ndarray:
        if actions.shape[-1] != from_.dim:
            raise ValueError(f"actions must have {from_.dim} dimensions, got shape {list(actions.shape)}")
        there, constants = [d.name for d in from_.dimensions], dict(self.constants)
        columns = [
            actions[..., there.index(d.name)] if d.name in there else np.full(actions.shape[:-1], constants[d.name])
            for d in to.dimensions
        ]
        return np.stack(columns, axis=-1).astype(np.float32)


@dataclass(frozen=True, kw_only=True)
class Inverse(Transform):
    """Another transform of actions turned round: the dataset has what `of` makes, the model learns what `of` takes."""

    of: Transform
    shown: ActionSpace  # what that is, which the dataset's space does not tell

    def __post_init__(self) -> None:
        if type(self.of).observe is not Transform.observe:
            raise ValueError(f"only what leaves observations alone can be turned round; {self.of!r} does not")

    def space(self, given: ActionSpace) -> ActionSpace:
        return self.shown

    def encode(self, actions: np.ndarray, observation: Observation) -> np.ndarray:
        return self.of.decode(actions, observation)

    def decode(self, actions: np.ndarray, observation: Observation) -> np.ndarray:
        return self.of.encode(actions, observation)


AnyTransform = (
    MuLaw
    | RelativePosition
    | RelativeRotation
    | ToolFrame
    | GripperRange
    | BinaryGripper
    | MapActions
    | Inverse
    | NormalizeActions
    | ClipActions
    | Transform
)
