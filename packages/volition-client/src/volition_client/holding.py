"""How a robot stands still: by its declared hold, and by what that keeps.

What moves a robot that is told positions is not kept as a number: told again, an old place would be a jump to it. It
stays where it is, or on its way to where it was told to be, as far as it can be behind.
"""

from __future__ import annotations

import numpy as np

from volition_client.axes import Axes
from volition_client.motion import Motion, short_way, shorten
from volition_client.safety import GRIPPER, POSE, ActionLayout, SafetyLimits


class Holding:
    """One robot's."""

    def __init__(self, layout: ActionLayout, limits: SafetyLimits, axes: Axes) -> None:
        self._limits, self._axes, self._names = limits, axes, layout.names
        self._positions = layout.kind == "position"
        self._declared = np.array([np.nan if x is None else x for x in limits.hold.action], np.float64)
        self._kept = np.full(len(layout.names), np.nan)  # of an earlier episode: the gripper

    def forget(self, last: Motion | None) -> None:
        """A new episode: the robot may be anywhere, but its gripper is as it was told."""
        place = self._axes.places.get(GRIPPER)
        if place is not None and last is not None:
            self._kept[place] = last.action[place]

    def sent(self, last: Motion | None) -> np.ndarray:
        """float64[A]: the newest numbers that the robot was told, NaN where they say nothing about it any more."""
        return self._kept if last is None else last.action

    def can(self, last: Motion | None) -> bool:
        """Whether the hold is known without a pose."""
        return not np.isnan(self._action(last, self.stands(None, last))).any()

    def motion(self, last: Motion | None, pose: np.ndarray | None, text: str) -> Motion:
        """RuntimeError where the hold keeps what is not known."""
        stands = self.stands(pose, last)
        action = self._action(last, stands)
        if np.isnan(action).any():
            kept = self._names[int(np.isnan(action).argmax())]
            if self._positions and kept in POSE:
                why = "where the robot is, but this is not known without a pose (pose=...), or a position before"
            else:
                why = "as it was sent last, but nothing has been sent"
            raise RuntimeError(f"the hold keeps {kept!r} {why}: {text}")
        target = None if stands is None else self._axes.place(action, stands)
        return Motion(action, np.zeros(6), target)

    def stands(self, pose: np.ndarray | None, last: Motion | None) -> np.ndarray | None:
        """float64[6]: of kind "position", what the next one is counted from. None: not known, or of another kind."""
        if not self._positions:
            return None
        if last is None or last.target is None:
            return pose
        return last.target if pose is None else self._followed(last.target, pose)

    def _action(self, last: Motion | None, stands: np.ndarray | None) -> np.ndarray:
        """float64[A], NaN where the hold keeps what is not known."""
        sent = self.sent(last)
        if self._positions:
            sent = self._axes.leading_to(sent, np.full(6, np.nan) if stands is None else stands)
        return np.where(np.isnan(self._declared), sent, self._declared)

    def _followed(self, target: np.ndarray, pose: np.ndarray) -> np.ndarray:
        """A target that the robot can be on its way to: one that was moved, or is stuck, is not where it was told."""
        lead, limits = short_way(target - pose), self._limits
        moves = shorten(lead[:3], limits.speed * limits.lag_seconds)
        turns = shorten(lead[3:], limits.turn_speed * limits.lag_seconds)
        return pose + np.concatenate([moves, turns])
