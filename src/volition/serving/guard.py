"""The safety envelope in the server: one for each session, and what every chunk passes before it is sent."""

from __future__ import annotations

import math
from collections.abc import Callable, Sequence

import numpy as np

from volition.records import Observation
from volition.serving.served import Served, describe
from volition_client.envelope import Envelope
from volition_client.errors import ServerError
from volition_client.motion import Intervention
from volition_client.safety import ActionLayout, SafetyLimits

OF_CHANGE = ("acceleration", "turn_acceleration", "gripper_speed")  # limits that count from what was executed last


class Guard:
    """`limits`: none, and actions only have to be finite. `clock` never goes back."""

    def __init__(self, served: Served, limits: SafetyLimits | None, clock: Callable[[], float]):
        """ValueError for limits that do not fit the robot."""
        self._served, self._limits, self._clock = served, limits, clock
        self._pose = pose_entries(served, limits)
        self.make_envelope()

    def make_envelope(self) -> Envelope | None:
        if self._limits is None:
            return None
        layout = ActionLayout.of(describe(self._served))
        if layout.kind == "position" and not self._limits.pose:
            raise ValueError(
                "the actions are positions, so the safety limits must name the entries of the state that are the "
                "robot's pose (pose): the first position is counted from there"
            )
        return Envelope(layout, self._limits, self._served.robot.control_hz, self._clock)

    def require_session(self) -> None:
        """ServerError of type conflict where a request without one could not be guarded."""
        limited = [name for name in OF_CHANGE if self._limits and math.isfinite(getattr(self._limits, name))]
        if limited:
            raise ServerError(
                "conflict",
                f"this server limits {', '.join(limited)}, which counts from what was executed last, so requests must "
                "have a session: POST /v1/sessions, and say its name in each",
            )

    def safe(
        self, envelope: Envelope | None, observation: Observation, chunk: np.ndarray, observed_at: float, executed: int
    ) -> tuple[np.ndarray, Sequence[Intervention]]:
        """The chunk that may be sent, and what was changed; ServerError of type internal where none may."""
        if envelope is None:
            if not np.isfinite(chunk).all():
                raise ServerError("internal", "the policy's actions are not finite; none is sent")
            return chunk, ()
        pose = observation.state[0, self._pose].tolist() if self._pose else None
        try:
            safe, found = envelope.guard_trajectory(
                chunk, pose, observed_at=observed_at, executed=executed, measured_at=observed_at
            )
        except RuntimeError as error:  # nothing has been sent that the hold could keep
            raise ServerError("internal", f"no action is sent: {error}") from error
        return safe.astype(np.float32), found


def pose_entries(served: Served, limits: SafetyLimits | None) -> list[int]:
    """Where the pose stands in the robot's state; ValueError where it must be known and is not."""
    if limits is None:
        return []
    names = served.robot.state
    unknown = [name for name in limits.pose if name not in names]
    if unknown:
        raise ValueError(f"the limits' pose must name entries of the state ({', '.join(names)}), not {unknown}")
    if limits.bounds_pose and not limits.pose:
        raise ValueError("the workspace is bounded, so the limits must say where the pose stands in the state: pose")
    return [names.index(name) for name in limits.pose]
