"""Three omni wheels under a round base: from the velocity that is asked for to the one that the wheels give.

    twist (vx, vy, wz) in the base's frame --commanded_wheels--> wheel speeds --follow, with a lag--> those they have
    --twist_of--> twist

A wheel rolls along the rim and slides freely across it, so wheel speeds and base velocities are the same three numbers
in two frames. Where one wheel would have to turn faster than it can, all slow down: the direction of the motion stays.
"""

from __future__ import annotations

import math

import numpy as np

LINEAR_LIMIT, ANGULAR_LIMIT = 0.6, 1.2  # m/s along x and y, rad/s: what a command may ask for
WHEEL_RADIUS, WHEEL_DISTANCE = 0.05, 0.13  # metres; the second from the base's middle
WHEEL_ANGLES = (math.pi / 3, math.pi, -math.pi / 3)  # of the wheels' places: left in front, behind, right in front
WHEEL_LIMIT = 16.0  # rad/s
TIME_CONSTANT = 0.15  # seconds in which a wheel makes up 63 % of a step of its command

# float64[3, 3]: wheel speeds (rad/s) of a twist, and the inverse.
_TO_WHEELS = np.array([[-math.sin(a), math.cos(a), WHEEL_DISTANCE] for a in WHEEL_ANGLES]) / WHEEL_RADIUS
_TO_TWIST = np.linalg.inv(_TO_WHEELS)
_COMMAND_LIMITS = np.array([LINEAR_LIMIT, LINEAR_LIMIT, ANGULAR_LIMIT])


def wheels_of(twist: np.ndarray) -> np.ndarray:
    """float64[3] m/s, m/s, rad/s -> float64[3] rad/s"""
    return _TO_WHEELS @ twist


def twist_of(wheels: np.ndarray) -> np.ndarray:
    """The inverse of `wheels_of`, for float64[..., 3]."""
    return wheels @ _TO_TWIST.T


def commanded_wheels(twist: np.ndarray) -> np.ndarray:
    """Wheel speeds float64[3] for a commanded twist float64[3], every entry clipped to its limit, no wheel too fast."""
    wheels = wheels_of(np.clip(twist, -_COMMAND_LIMITS, _COMMAND_LIMITS))
    return wheels / max(1.0, float(np.abs(wheels).max()) / WHEEL_LIMIT)


def follow(wheels: np.ndarray, commanded: np.ndarray, seconds: np.ndarray) -> np.ndarray:
    """Wheel speeds float64[n, 3] at n times from now on: every wheel approaches its command exponentially."""
    left = np.exp(-seconds / TIME_CONSTANT)[:, None]
    return commanded + (wheels - commanded) * left
