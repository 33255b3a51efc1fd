"""What to do in one control step in physical units, and how a policy's numbers or tokens become it.

    chunk float[H, A] or token ids int[H, A] --ActionParser(space)--> RoboAction, ... --ActionLimits--> what is wrong

The gripper is +1 open and -1 closed here and at every other public boundary; what counts otherwise goes through
`signed_gripper`. A parser neither clips nor guesses: a value outside the declared range stays one, for `ActionLimits`
to name.
"""

from __future__ import annotations

import dataclasses
import math
from dataclasses import dataclass
from functools import cached_property
from typing import Any, get_args

import numpy as np

from volition import geometry
from volition.action_tokens import ActionTokenizer
from volition.contract import ActionSpace
from volition.robots.meaning import PARTS, UNITS, Frame, Kind, Meaning, meaning_of

TOLERANCE = 1e-9  # of a float64 that went through a unit and back


@dataclass(frozen=True, kw_only=True)
class RoboAction:
    """What to do in one control period.

    kind                "step": a displacement; "velocity": in m/s and rad/s, held for the period; "position": where to
                        be at its end. `motion.convert` makes one of the other.
    frame               "world": along the axes of the robot's pose; "body": along the robot's own, as a mobile base
                        that is turned by the pose's rz; "other": along axes that nobody told. Positions: "world".
    confidence          in [0, 1], how sure the policy is of this action by its own account, or None where it gives
                        none, as a single regressed prediction does. Of tokens it is the geometric mean of their
                        probabilities; of several predictions of the same step it is their `agreement`.
    prediction_horizon  control steps from this one to the end of its chunk, this one included: for how long a robot
                        may go on if nothing newer arrives. The first action of a chunk of ten has 10, the last 1.
    """

    translation: tuple[float, float, float]  # x y z in metres, or m/s
    # Radians, Euler angles about x, y, z ("XYZ" of `geometry`); of a velocity rad/s, the axis times the speed about it.
    rotation: tuple[float, float, float]
    gripper: float | None = None  # +1 open, -1 closed; None for a robot without
    confidence: float | None = None
    prediction_horizon: int = 1
    kind: Kind = "step"
    frame: Frame = "world"

    def __post_init__(self) -> None:
        if self.kind not in get_args(Kind) or self.frame not in get_args(Frame):
            raise ValueError(f"kind must be one of {get_args(Kind)} and frame of {get_args(Frame)}; got {self}")
        if self.kind == "position" and self.frame != "world":
            raise ValueError(f"the frame of a position must be 'world', is {self.frame!r}")
        if not all(map(math.isfinite, (*self.translation, *self.rotation, self.gripper or 0.0))):
            raise ValueError(f"an action must be finite, got {self}")
        if self.confidence is not None and not 0 <= self.confidence <= 1:
            raise ValueError(f"confidence must be in [0, 1] or None, got {self.confidence}")
        if self.prediction_horizon < 1:
            raise ValueError(f"prediction_horizon must be at least 1, this step itself; got {self.prediction_horizon}")

    def to_array(self) -> np.ndarray:
        """float64[6]: `translation` and `rotation`."""
        return np.array([*self.translation, *self.rotation])

    def to_twist(self, control_hz: float) -> dict[str, dict[str, float]]:
        """Velocities that make this in one period: linear in m/s, angular in rad/s about the turn's one axis.

        Along the axes of `frame`. ValueError for a position: where the robot stands decides, ask `motion.convert`.
        """
        if self.kind == "position":
            raise ValueError("a position is no velocity: motion.convert([action], 'velocity', ...) knows the pose")
        linear, angular = np.array(self.translation), np.array(self.rotation)
        if self.kind == "step":
            turn = geometry.matrix_to_axis_angle(geometry.euler_to_matrix(angular))
            linear, angular = linear * control_hz, turn * control_hz
        return {name: dict(zip("xyz", part.tolist())) for name, part in (("linear", linear), ("angular", angular))}

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

    Dimensions are found by name and unit, as `meaning` says: steps, velocities or positions of x, y, z, rx, ry, rz, and
    gripper. What a space lacks is 0, so that a mobile base of x and rz is read as well; positions must be whole, or x,
    y and rz of a base on its plane.
    """

    space: ActionSpace

    def __post_init__(self) -> None:
        names = set(self.meaning.names)
        if names - {*PARTS, "gripper"}:
            raise ValueError(
                f"a RoboAction has the dimensions {', '.join(PARTS)} and gripper; this space has "
                f"{list(self.meaning.names)}. Send its numbers to the robot as they are"
            )
        if self.meaning.kind == "position" and names - {"gripper"} not in (set(PARTS), {"x", "y", "rz"}):
            raise ValueError(
                f"positions must be of {', '.join(PARTS)}, or of x, y and rz for a base: what is missing would be told "
                f"to be 0. This space has {list(self.meaning.names)}; send its numbers to the robot as they are"
            )

    @cached_property
    def meaning(self) -> Meaning:
        return meaning_of(self.space)

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
        values, sizes = dict(zip(self.meaning.names, step.tolist())), self.meaning.sizes
        x, y, z, rx, ry, rz = (values.get(name, 0.0) * sizes.get(name, 1.0) for name in PARTS)
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
            kind=self.meaning.kind,
            frame=self.meaning.frame,
        )


@dataclass(frozen=True, kw_only=True)
class ActionLimits:
    """What a robot may be told in one control step, in actions of one kind."""

    low: tuple[float, ...]  # x, y, z in metres, rx, ry, rz in radians; a second, of velocities
    high: tuple[float, ...]
    distance: float = math.inf  # the length of the translation; not of positions
    angle: float = math.inf  # of the whole rotation; not of positions
    confidence: float = 0.0  # the least; above 0, an action without one is refused
    kind: Kind = "step"

    def __post_init__(self) -> None:
        if not len(self.low) == len(self.high) == len(PARTS) or any(a > b for a, b in zip(self.low, self.high)):
            raise ValueError(f"low and high must be 6 numbers each, low not above high; got {self.low}, {self.high}")
        if self.kind == "position" and min(self.distance, self.angle) < math.inf:
            raise ValueError("distance and angle are of steps and velocities; positions are limited by low and high")

    @classmethod
    def of(
        cls, space: ActionSpace, *, distance: float = math.inf, angle: float = math.inf, confidence: float = 0.0
    ) -> ActionLimits:
        """The ranges that the space declares; a dimension that it lacks must be 0."""
        meaning = meaning_of(space)
        ranges = {
            name: (d.low * unit, d.high * unit) for name, unit, d in zip(meaning.names, meaning.units, space.dimensions)
        }
        low, high = zip(*(ranges.get(name, (0.0, 0.0)) for name in PARTS))
        return cls(low=low, high=high, distance=distance, angle=angle, confidence=confidence, kind=meaning.kind)

    def violations(self, action: RoboAction) -> list[str]:
        """Everything that is wrong with it, one line each; empty where nothing is."""
        if action.kind != self.kind:
            return [f"kind must be {self.kind!r}, is {action.kind!r}"]
        values, per = action.to_array(), "/s" if self.kind == "velocity" else ""
        found = [
            f"{name} must be in {low:g}..{high:g} {UNITS[name]}{per}, is {value:g}"
            for name, value, low, high in zip(PARTS, values, self.low, self.high)
            if not low - TOLERANCE <= value <= high + TOLERANCE
        ]
        turn = values[3:]
        if self.kind != "velocity":
            turn = geometry.matrix_to_axis_angle(geometry.euler_to_matrix(turn))
        sizes = (
            ("distance", float(np.linalg.norm(values[:3])), self.distance, "m"),
            ("angle", float(np.linalg.norm(turn)), self.angle, "rad"),
        )
        found += [
            f"{what} must be at most {most:g} {unit}{per}, is {size:g}"
            for what, size, most, unit in sizes
            if size > most
        ]
        if action.gripper is not None and abs(action.gripper) > 1 + TOLERANCE:
            found.append(f"gripper must be in -1 (closed)..+1 (open), is {action.gripper:g}")
        if (0.0 if action.confidence is None else action.confidence) < self.confidence:
            found.append(f"confidence must be at least {self.confidence:g}, is {action.confidence}")
        return found


def _geometric_mean(probabilities: np.ndarray) -> float:
    if not ((probabilities >= 0) & (probabilities <= 1)).all():
        raise ValueError(f"probabilities must be in [0, 1], got {probabilities.tolist()}")
    return float(np.prod(probabilities.astype(np.float64)) ** (1 / len(probabilities)))
