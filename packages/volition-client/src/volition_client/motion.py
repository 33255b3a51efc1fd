"""What the envelope says about an action, and the arithmetic of velocities and turns behind it."""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np

INTERVENTIONS = (
    *("not_finite", "stale", "watchdog", "range", "speed", "acceleration"),
    *("turn_speed", "turn_acceleration", "workspace", "gripper_speed"),
)
ROUNDING = 1e-9  # relative; what a float64 loses on its way through a unit and back


@dataclass(frozen=True)
class Intervention:
    kind: str  # one of INTERVENTIONS
    text: str


@dataclass(frozen=True)
class Guarded:
    """An action that may be executed, and what was done to it."""

    action: np.ndarray  # float64[A]
    interventions: tuple[Intervention, ...] = ()


@dataclass(frozen=True)
class Motion:
    """What the robot was told."""

    action: np.ndarray  # float64[A]
    velocity: np.ndarray  # float64[6]: metres a second, radians a second
    target: np.ndarray | None = None  # float64[6], of kind "position"


def slow(
    velocity: np.ndarray, before: np.ndarray, speed: float, change: float, what: str, found: list[Intervention]
) -> np.ndarray:
    """At most `speed` long and at most `change` away from `before`; what had to be done goes to `found`.

    `before` is within `speed` itself, so what lies between the two is as well. `what`: "" or "turn_".
    """
    size = float(np.linalg.norm(velocity))
    if size > speed * (1 + ROUNDING):
        found.append(Intervention(f"{what}speed", f"{size:.4g} a second becomes {speed:g}"))
        velocity = shorten(velocity, speed)
    step = float(np.linalg.norm(velocity - before))
    if step > change * (1 + ROUNDING):
        text = f"a change of {step:.4g} a second in one step becomes {change:.4g}"
        found.append(Intervention(f"{what}acceleration", text))
        velocity = before + shorten(velocity - before, change)
    return velocity


def shorten(way: np.ndarray, most: float) -> np.ndarray:
    """The same direction, at most so long."""
    size = float(np.linalg.norm(way))
    return way if size <= most else way * (most / size)


def short_way(way: np.ndarray) -> np.ndarray:
    """float64[6] with angles that go the short way round."""
    return np.concatenate([way[:3], way[3:] - 2 * np.pi * np.round(way[3:] / (2 * np.pi))])


def turn_of(euler: np.ndarray) -> float:
    """The angle, in radians, of the rotation whose Euler angles about x, y, z (intrinsic) are these."""
    return float(np.linalg.norm(turn_vector(euler)))


def turn_vector(euler: np.ndarray) -> np.ndarray:
    """float64[3]: axis times angle, the short way round, of the rotation whose Euler angles are these."""
    (a, b, c), (p, q, r) = np.cos(np.asarray(euler) / 2), np.sin(np.asarray(euler) / 2)
    # scalar and vector part of the product of the three quaternions
    scalar = a * b * c - p * q * r
    vector = np.array([p * b * c + a * q * r, a * q * c - p * b * r, a * b * r + p * q * c])
    sine = float(np.linalg.norm(vector))
    if sine == 0:
        return np.zeros(3)
    return vector * (np.copysign(2 * np.arctan2(sine, abs(scalar)), scalar) / sine)
