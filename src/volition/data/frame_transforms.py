"""Actions as seen from where the robot is: absolute ones become relative, and the world's frame the tool's.

What is measured from the robot's state is measured from the step that plans, for the whole chunk: later states are not
known when acting, so only then is `decode` an inverse.
"""

from __future__ import annotations

import dataclasses
import math
from collections.abc import Callable
from dataclasses import dataclass

import numpy as np

from volition import geometry
from volition.contract import ActionSpace
from volition.data.columns import all_known, check_places, ranges, replaced, state_of, taken, with_ranges
from volition.data.transforms import Transform
from volition.records import Observation


@dataclass(frozen=True, kw_only=True)
class RelativePosition(Transform):
    """`action - state`: absolute positions, or joint angles that do not wrap, as distances still to go."""

    dimensions: tuple[int, ...]
    state: tuple[int, ...]  # the entry that each is measured from, in the same unit

    def __post_init__(self) -> None:
        check_places("dimensions", self.dimensions)
        check_places("state", self.state, count=len(self.dimensions))

    def space(self, given: ActionSpace) -> ActionSpace:
        """Both ends of a range can be reached from both: a bound for states that lie in it too."""
        return with_ranges(
            given, {i: (low - high, high - low) for i, (low, high) in ranges(given, self.dimensions).items()}
        )

    def encode(self, actions: np.ndarray, observation: Observation) -> np.ndarray:
        now = state_of(observation, self.state, actions)
        return replaced(actions, self.dimensions, taken(actions, self.dimensions) - now)

    def decode(self, actions: np.ndarray, observation: Observation) -> np.ndarray:
        now = state_of(observation, self.state, actions)
        return replaced(actions, self.dimensions, taken(actions, self.dimensions) + now)


@dataclass(frozen=True, kw_only=True)
class RelativeRotation(Transform):
    """Absolute Euler angles as the turn still to make: R^T R' in the tool's frame, R' R^T in the world's.

    `decode` gives the same orientation, its middle angle in [-pi/2, pi/2].
    """

    dimensions: tuple[int, int, int]  # three angles in radians
    state: tuple[int, int, int]
    frame: str = "tool"  # or "world"
    order: str = "XYZ"  # as in `geometry`

    def __post_init__(self) -> None:
        check_places("dimensions", self.dimensions, count=3)
        check_places("state", self.state, count=3)
        if self.frame not in ("tool", "world"):
            raise ValueError(f"frame must be 'tool' or 'world', is {self.frame!r}")

    def space(self, given: ActionSpace) -> ActionSpace:
        return with_ranges(given, dict.fromkeys(self.dimensions, (-math.pi, math.pi)))

    def known(self, given: np.ndarray) -> np.ndarray:
        return all_known(given, self.dimensions)

    def encode(self, actions: np.ndarray, observation: Observation) -> np.ndarray:
        return self._turned(actions, np.swapaxes(self._now(actions, observation), -1, -2))

    def decode(self, actions: np.ndarray, observation: Observation) -> np.ndarray:
        return self._turned(actions, self._now(actions, observation))

    def _now(self, actions: np.ndarray, observation: Observation) -> np.ndarray:
        return geometry.euler_to_matrix(state_of(observation, self.state, actions), self.order)

    def _turned(self, actions: np.ndarray, by: np.ndarray) -> np.ndarray:
        matrix = geometry.euler_to_matrix(taken(actions, self.dimensions), self.order)
        product = by @ matrix if self.frame == "tool" else matrix @ by
        return replaced(actions, self.dimensions, geometry.matrix_to_euler(product, self.order))


@dataclass(frozen=True, kw_only=True)
class ToolFrame(Transform):
    """Relative motion in the world's axes, as the tool sees it from where it is at the step that plans.

    Turns are increments of the tool's Euler angles, in multiples of `radians`, as `geometry.world_to_tcp` takes them;
    () for actions that only move. `decode` gives the same motion and orientation, its increments in [-pi, pi].
    """

    position: tuple[int, int, int]
    rotation: tuple[int, int, int] | tuple[()] = ()
    state: tuple[int, int, int]  # the tool's Euler angles in radians
    radians: float = 1.0
    order: str = "XYZ"

    def __post_init__(self) -> None:
        check_places("position and rotation", self._places, count=6 if self.rotation else 3)
        check_places("state", self.state, count=3)
        if not self.radians > 0:
            raise ValueError(f"radians must be above 0, is {self.radians}")

    @property
    def _places(self) -> tuple[int, ...]:
        return (*self.position, *self.rotation)

    def space(self, given: ActionSpace) -> ActionSpace:
        """A move keeps its length; the whole turn is at most the sum of its three, and so is every angle of it."""
        reach = {i: max(map(abs, ends)) for i, ends in ranges(given, self._places).items()}
        far = math.hypot(*(reach[i] for i in self.position))
        turn = sum(reach[i] for i in self.rotation)
        if turn * self.radians >= math.pi / 2:  # where an angle of a turn may be larger than the turn
            turn = math.pi / self.radians
        changed = dict.fromkeys(self.position, (-far, far)) | dict.fromkeys(self.rotation, (-turn, turn))
        return dataclasses.replace(with_ranges(given, changed), frame="tcp")

    def known(self, given: np.ndarray) -> np.ndarray:
        return all_known(given, self.position, self.rotation)

    def encode(self, actions: np.ndarray, observation: Observation) -> np.ndarray:
        return self._turned(actions, observation, geometry.world_to_tcp)

    def decode(self, actions: np.ndarray, observation: Observation) -> np.ndarray:
        return self._turned(actions, observation, geometry.tcp_to_world)

    def _turned(self, actions: np.ndarray, observation: Observation, turn: Callable[..., np.ndarray]) -> np.ndarray:
        six = np.zeros((*actions.shape[:-1], 6))
        six[..., : len(self._places)] = taken(actions, self._places)
        now = state_of(observation, self.state, actions)
        seen = turn(six, now, rotation_scale=self.radians, order=self.order)
        return replaced(actions, self._places, seen[..., : len(self._places)])
