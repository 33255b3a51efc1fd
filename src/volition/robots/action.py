"""One control step in physical units, and how a policy's numbers or tokens become it.

    chunk float[H, A] or token ids int[H, A] --ActionParser(space)--> RoboAction, ... --ActionLimits--> what is wrong

The gripper is +1 open and -1 closed here and at every other public boundary; what counts otherwise goes through
`signed_gripper`. A parser neither clips nor guesses: a value outside the declared range stays one, for `ActionLimits`
to name.
"""

from __future__ import annotations

import dataclasses
import math
import re
from dataclasses import dataclass
from functools import cached_property
from typing import Any

import numpy as np

from volition import geometry
from volition.action_tokens import ActionTokenizer
from volition.contract import ActionSpace, Dimension

PARTS = ("x", "y", "z", "rx", "ry", "rz")
TOLERANCE = 1e-9  # of a float64 that went through a unit and back
UNITS = dict.fromkeys(PARTS[:3], "m") | dict.fromkeys(PARTS[3:], "rad")


@dataclass(frozen=True, kw_only=True)
class RoboAction:
    """What to do in one control period.

    confidence          in [0, 1], how sure the policy is of this action by its own account, or None where it gives
                        none, as a single regressed prediction does. Of tokens it is the geometric mean of their
                        probabilities; of several predictions of the same step it is their `agreement`.
    prediction_horizon  control steps from this one to the end of its chunk, this one included: for how long a robot
                        may go on if nothing newer arrives. The first action of a chunk of ten has 10, the last 1.
    """

    translation: tuple[float, float, float]  # metres, x y z
    rotation: tuple[float, float, float]  # radians, Euler angles about x, y, z ("XYZ" of `geometry`)
    gripper: float | None = None  # +1 open, -1 closed; None for a robot without
    confidence: float | None = None
    prediction_horizon: int = 1

    def __post_init__(self) -> None:
        if not all(map(math.isfinite, (*self.translation, *self.rotation, self.gripper or 0.0))):
            raise ValueError(f"an action must be finite, got {self}")
        if self.confidence is not None and not 0 <= self.confidence <= 1:
            raise ValueError(f"confidence must be in [0, 1] or None, got {self.confidence}")
        if self.prediction_horizon < 1:
            raise ValueError(f"prediction_horizon must be at least 1, this step itself; got {self.prediction_horizon}")

    def to_array(self) -> np.ndarray:
        """float64[6]: x, y, z in metres and the three angles in radians."""
        return np.array([*self.translation, *self.rotation])

    def to_twist(self, control_hz: float) -> dict[str, dict[str, float]]:
        """Velocities that make this step in one period: linear in m/s, angular in rad/s about the turn's one axis."""
        turn = geometry.matrix_to_axis_angle(geometry.euler_to_matrix(np.array(self.rotation)))
        parts = {"linear": np.array(self.translation), "angular": turn}
        return {name: dict(zip("xyz", (part * control_hz).tolist())) for name, part in parts.items()}

    def to_dict(self) -> dict[str, Any]:
        """Plain values; `RoboAction(**d)` is the way back."""
        return dataclasses.asdict(self)


def signed_gripper(value: float, *, open_at: float, closed_at: float) -> float:
    """A gripper that is open at `open_at` and closed at `closed_at` -> +1 open, -1 closed, linear in between.

    RoboVLMs' labels are open at 1 and closed at 0; parsers with 0 open and 1 closed are about as well.
    """
    if open_at == closed_at:
        raise ValueError(f"open_at and closed_at must differ, both are {open_at}")
    return 2 * (value - closed_at) / (open_at - closed_at) - 1


def agreement(predictions: np.ndarray, space: ActionSpace) -> float:
    """Confidence of several predictions [M, A] of one step (an ensemble's, or overlapping chunks').

    1 minus the widest of their spreads (max - min), each as a share of its dimension's range; never below 0.
    """
    if predictions.ndim != 2 or predictions.shape[0] < 2 or predictions.shape[1] != space.dim:
        raise ValueError(f"predictions must be [2 or more, {space.dim}], got {list(predictions.shape)}")
    ranges = np.array([d.high - d.low for d in space.dimensions])
    return max(0.0, 1 - float((np.ptp(predictions, axis=0) / ranges).max()))


@dataclass(frozen=True, kw_only=True)
class ActionParser:
    """Reads what a policy with this action space says. The gripper's `high` is open, as everywhere in the package.

    Dimensions are found by name: x, y, z in metres, rx, ry, rz in radians (each in multiples of its unit), gripper.
    What a space lacks is 0, so that a mobile base of x and rz is read as well.
    """

    space: ActionSpace

    def __post_init__(self) -> None:
        names = [d.name for d in self.space.dimensions]
        unknown = sorted(set(names) - {*PARTS, "gripper"})
        if unknown or len(set(names)) < len(names):
            raise ValueError(
                f"a RoboAction has the dimensions {', '.join(PARTS)} and gripper, each once; this space has {names}. "
                "Send its numbers to the robot as they are"
            )
        if self.space.rotation != "euler_xyz":
            raise ValueError(f"rotation must be 'euler_xyz', is {self.space.rotation!r}; convert it with `geometry`")
        unit_sizes(self.space)

    @cached_property
    def _factors(self) -> dict[str, float]:
        return unit_sizes(self.space)

    def continuous(self, chunk: np.ndarray, confidence: float | None = None) -> list[RoboAction]:
        """float[A], [H, A] or [1, T, H, A] in the space's units; of several frames T the newest is read."""
        steps = self._steps(chunk)
        return [self._action(step, confidence, len(steps) - i) for i, step in enumerate(steps)]

    def discrete(
        self, ids: np.ndarray, tokens: ActionTokenizer, probabilities: np.ndarray | None = None
    ) -> list[RoboAction]:
        """Token ids of the same shapes; `probabilities` are those that the policy gave to them.

        A token's value in low..high of `tokens` is taken as the same share of its dimension's range. Every id must be
        an action's: between `tokens.begin` and `tokens.end`.
        """
        steps = self._steps(ids)
        if not ((steps > tokens.begin) & (steps < tokens.end)).all():
            raise ValueError(
                f"action tokens lie between {tokens.begin} and {tokens.end}, got {sorted({*map(int, steps.flat)})}; "
                "decode with the action tokens only"
            )
        low, high = (np.array([getattr(d, end) for d in self.space.dimensions]) for end in ("low", "high"))
        values = low + (tokens.decode(steps) - tokens.low) / (tokens.high - tokens.low) * (high - low)
        for i in self.space.binary:
            values[:, i] = np.where(values[:, i] > (low[i] + high[i]) / 2, high[i], low[i])
        sure: list[float | None] = [None] * len(steps)
        if probabilities is not None:
            sure = [_geometric_mean(row) for row in self._steps(probabilities)]
        return [self._action(step, sure[i], len(steps) - i) for i, step in enumerate(values)]

    def _steps(self, given: np.ndarray) -> np.ndarray:
        """-> [H, A]"""
        array = np.asarray(given)
        if array.ndim == 4 and array.shape[0] == 1:
            array = array[0, -1]
        array = array[None] if array.ndim == 1 else array
        if array.ndim != 2 or array.shape[1] != self.space.dim or not len(array):
            raise ValueError(
                f"must be [A], [H, A] or [1, T, H, A] with A = {self.space.dim}, got {list(np.shape(given))}"
            )
        return array

    def _action(self, step: np.ndarray, confidence: float | None, horizon: int) -> RoboAction:
        values = dict(zip((d.name for d in self.space.dimensions), step.tolist()))
        x, y, z, rx, ry, rz = (values.get(name, 0.0) * self._factors.get(name, 1.0) for name in PARTS)
        grippers = [
            signed_gripper(values[d.name], open_at=d.high, closed_at=d.low)
            for d in self.space.dimensions
            if d.name == "gripper"
        ]
        return RoboAction(
            translation=(x, y, z),
            rotation=(rx, ry, rz),
            gripper=grippers[0] if grippers else None,
            confidence=confidence,
            prediction_horizon=horizon,
        )


@dataclass(frozen=True, kw_only=True)
class ActionLimits:
    """What a robot may be told in one control step."""

    low: tuple[float, ...]  # x, y, z in metres, rx, ry, rz in radians
    high: tuple[float, ...]
    distance: float = math.inf  # metres, the length of the translation
    angle: float = math.inf  # radians, of the whole rotation
    confidence: float = 0.0  # the least; above 0, an action without one is refused

    def __post_init__(self) -> None:
        if not len(self.low) == len(self.high) == len(PARTS) or any(a > b for a, b in zip(self.low, self.high)):
            raise ValueError(f"low and high must be 6 numbers each, low not above high; got {self.low}, {self.high}")

    @classmethod
    def of(
        cls, space: ActionSpace, *, distance: float = math.inf, angle: float = math.inf, confidence: float = 0.0
    ) -> ActionLimits:
        """The ranges that the space declares; a dimension that it lacks must be 0."""
        factors = unit_sizes(space)
        ranges = {
            d.name: (d.low * factors[d.name], d.high * factors[d.name]) for d in space.dimensions if d.name in UNITS
        }
        low, high = zip(*(ranges.get(name, (0.0, 0.0)) for name in PARTS))
        return cls(low=low, high=high, distance=distance, angle=angle, confidence=confidence)

    def violations(self, action: RoboAction) -> list[str]:
        """Everything that is wrong with it, one line each; empty where nothing is."""
        values = action.to_array()
        found = [
            f"{name} must be in {low:g}..{high:g} {UNITS[name]}, is {value:g}"
            for name, value, low, high in zip(PARTS, values, self.low, self.high)
            if not low - TOLERANCE <= value <= high + TOLERANCE
        ]
        matrix = geometry.euler_to_matrix(values[3:])
        sizes = (
            ("distance", float(np.linalg.norm(values[:3])), self.distance, "m"),
            ("angle", float(np.linalg.norm(geometry.matrix_to_axis_angle(matrix))), self.angle, "rad"),
        )
        found += [
            f"{what} must be at most {most:g} {unit}, is {size:g}" for what, size, most, unit in sizes if size > most
        ]
        if action.gripper is not None and abs(action.gripper) > 1 + TOLERANCE:
            found.append(f"gripper must be in -1 (closed)..+1 (open), is {action.gripper:g}")
        if (0.0 if action.confidence is None else action.confidence) < self.confidence:
            found.append(f"confidence must be at least {self.confidence:g}, is {action.confidence}")
        return found


def unit_sizes(space: ActionSpace) -> dict[str, float]:
    """Name -> metres or radians that one unit of it is; '0.02 m' is 0.02, 'm' is 1."""
    return dict(_factor(d) for d in space.dimensions if d.name in UNITS)


def _factor(dimension: Dimension) -> tuple[str, float]:
    unit = UNITS[dimension.name]
    found = re.fullmatch(rf"(?:(\d[\d.e+-]*) )?{unit}", dimension.unit)
    if not found:
        raise ValueError(f"the unit of {dimension.name!r} must be '{unit}' or a number of them, is {dimension.unit!r}")
    return dimension.name, float(found[1] or 1)


def _geometric_mean(probabilities: np.ndarray) -> float:
    if not ((probabilities >= 0) & (probabilities <= 1)).all():
        raise ValueError(f"probabilities must be in [0, 1], got {probabilities.tolist()}")
    return float(np.prod(probabilities.astype(np.float64)) ** (1 / len(probabilities)))
