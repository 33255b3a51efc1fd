"""What an action's numbers do along the axes of a pose, and back."""

from __future__ import annotations

import numpy as np

from volition_client.motion import ROUNDING, Intervention, short_way
from volition_client.safety import GRIPPER, POSE, ActionLayout


class Axes:
    """Of one layout, at one rate of control steps."""

    def __init__(self, layout: ActionLayout, control_hz: float) -> None:
        self._layout, self._hz = layout, control_hz
        self.places = {name: i for i, name in enumerate(layout.names)}
        self._units = np.array(layout.units)
        self.half_stroke = self._half_stroke()

    def in_range(self, action: np.ndarray, found: list[Intervention]) -> np.ndarray:
        if not self._layout.low or not self._layout.high:
            return action
        inside = np.clip(action, self._layout.low, self._layout.high)
        changed = np.flatnonzero(np.abs(inside - action) > ROUNDING * np.maximum(1, np.abs(action)))
        found += [
            Intervention("range", f"{self._layout.names[i]} {action[i]:g} becomes {inside[i]:g}") for i in changed
        ]
        return inside

    def velocity(self, action: np.ndarray, reference: np.ndarray) -> np.ndarray:
        """float64[6], a second."""
        physical = self._physical(action)
        if self._layout.kind == "position":
            return short_way(np.where(np.isnan(physical), 0.0, physical - reference)) * self._hz
        return np.nan_to_num(physical) * (self._hz if self._layout.kind == "step" else 1.0)

    def action(self, action: np.ndarray, velocity: np.ndarray, reference: np.ndarray) -> np.ndarray:
        """The inverse of `velocity`, to the bit where nothing was changed."""
        wanted = self.velocity(action, reference)
        safe = action.copy()
        for i, name in enumerate(POSE):
            if name in self.places and velocity[i] != wanted[i]:
                physical = velocity[i] if self._layout.kind == "velocity" else velocity[i] / self._hz
                physical += reference[i] if self._layout.kind == "position" else 0.0
                safe[self.places[name]] = physical / self._units[self.places[name]]
        return safe

    def displacement(self, velocity: np.ndarray, pose: np.ndarray) -> np.ndarray:
        """float64[6] along the axes of the pose, in one control step."""
        moved = velocity / self._hz
        if self._layout.frame == "body":
            cosine, sine = np.cos(pose[5]), np.sin(pose[5])
            moved = moved.copy()
            moved[0], moved[1] = cosine * moved[0] - sine * moved[1], sine * moved[0] + cosine * moved[1]
        return moved

    def place(self, action: np.ndarray, before: np.ndarray) -> np.ndarray:
        """float64[6]: of kind "position", where an action leads; what it does not say (NaN, no such name) stays."""
        physical = self._physical(action)
        return np.where(np.isnan(physical), before, physical)

    def leading_to(self, action: np.ndarray, place: np.ndarray) -> np.ndarray:
        """Of kind "position": what leads to `place` float64[6], to the bit as it was where `action` does already."""
        way = short_way(place - self._physical(action))
        led = action.copy()
        for i, name in enumerate(POSE):
            if name in self.places and not abs(way[i]) <= ROUNDING:  # also for what is no number
                led[self.places[name]] = place[i] / self._units[self.places[name]]
        return led

    def _half_stroke(self) -> float:
        """What stands for 1 of the 2 from closed to open: half the stated range; a range without an end states none."""
        low, high = self._layout.low, self._layout.high
        if GRIPPER not in self.places or not low or not high:
            return 1.0
        half = (high[self.places[GRIPPER]] - low[self.places[GRIPPER]]) / 2
        return half if 0 < half < np.inf else 1.0

    def _physical(self, action: np.ndarray) -> np.ndarray:
        """float64[6] in metres and radians; NaN where the layout has no such name."""
        places = self.places
        return np.array([action[places[n]] * self._units[places[n]] if n in places else np.nan for n in POSE])
