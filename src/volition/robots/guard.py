"""The safety envelope for `RoboAction`: as a step, a velocity or a trajectory, in and out.

    guard = RoboGuard(limits, control_hz=30.0)
    guard.step(action, pose)          -> the action that may be executed, what was changed
    guard.twist(action, pose)         -> the same as velocities for a mobile base or a servoed arm
    guard.trajectory(actions, pose)   -> a whole chunk, each step from where the one before it leads

`envelope_for` makes an envelope for the numbers of an action space instead, as they leave a policy.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import replace

import numpy as np

from volition.contract import ActionSpace
from volition.robots.action import PARTS, UNITS, RoboAction, unit_sizes
from volition_client.envelope import Envelope
from volition_client.motion import Intervention
from volition_client.safety import GRIPPER, ActionLayout, SafetyLimits, frame_of

LAYOUT = ActionLayout((*PARTS, GRIPPER), (1.0,) * 7)  # metres and radians in one control step
GRIPPERLESS = ActionLayout(PARTS, (1.0,) * 6)


def envelope_for(space: ActionSpace, limits: SafetyLimits, control_hz: float) -> Envelope:
    """For actions float[A] of a space of control steps; other dimensions than a pose's are kept in range only."""
    sizes = unit_sizes(space)
    layout = ActionLayout(
        names=tuple(d.name for d in space.dimensions),
        units=tuple(sizes.get(d.name, 1.0) for d in space.dimensions),
        low=tuple(d.low for d in space.dimensions),
        high=tuple(d.high for d in space.dimensions),
        kind="step" if space.relative else "position",
        frame=frame_of(space.frame, [d.name for d in space.dimensions]),
    )
    return Envelope(layout, limits, control_hz)


class RoboGuard:
    """One robot's. `limits.hold` has 7 numbers (x y z rx ry rz gripper), or 6 for a robot without a gripper."""

    def __init__(self, limits: SafetyLimits, control_hz: float):
        self._hz = control_hz
        self.envelope = Envelope(LAYOUT if len(limits.hold.action) == 7 else GRIPPERLESS, limits, control_hz)

    def step(
        self, action: RoboAction, pose: Sequence[float] | None = None, observed_at: float | None = None
    ) -> tuple[RoboAction, tuple[Intervention, ...]]:
        guarded = self.envelope.guard(self._numbers(action), pose, observed_at)
        return self._action(guarded.action, action), guarded.interventions

    def twist(
        self, action: RoboAction, pose: Sequence[float] | None = None, observed_at: float | None = None
    ) -> tuple[dict[str, dict[str, float]], tuple[Intervention, ...]]:
        """Linear m/s and angular rad/s, as `RoboAction.to_twist`."""
        safe, found = self.step(action, pose, observed_at)
        return safe.to_twist(self._hz), found

    def trajectory(
        self, actions: Sequence[RoboAction], pose: Sequence[float] | None = None, observed_at: float | None = None
    ) -> tuple[list[RoboAction], tuple[Intervention, ...]]:
        steps = np.stack([self._numbers(action) for action in actions])
        safe, found = self.envelope.guard_trajectory(steps, pose, observed_at)
        return [self._action(step, action) for step, action in zip(safe, actions)], found

    def hold(self, kind: str, text: str, horizon: int = 1) -> RoboAction:
        """The declared hold, for when there is no action to be had."""
        standing = RoboAction(translation=(0.0,) * 3, rotation=(0.0,) * 3, prediction_horizon=horizon)
        return self._action(self.envelope.hold(kind, text).action, standing)

    def _numbers(self, action: RoboAction) -> np.ndarray:
        if (action.gripper is not None) != (self.envelope.layout is LAYOUT):
            wanted = (
                "7 numbers, so actions have a gripper" if self.envelope.layout is LAYOUT else "6, so they have none"
            )
            raise ValueError(f"the limits' hold has {wanted}; this action's is {action.gripper}")
        gripper = [] if action.gripper is None else [action.gripper]
        return np.concatenate([action.to_array(), gripper])

    def _action(self, numbers: np.ndarray, asked: RoboAction) -> RoboAction:
        x, y, z, rx, ry, rz, *gripper = numbers.tolist()
        held = gripper[0] if gripper else None
        return replace(asked, translation=(x, y, z), rotation=(rx, ry, rz), gripper=held)


def to_chunk(actions: Sequence[RoboAction], space: ActionSpace) -> np.ndarray:
    """float64[H, A] in the space's units: the way back from `ActionParser.continuous`.

    ValueError for a motion along an axis that the space lacks: it would be lost.
    """
    sizes = unit_sizes(space)
    rows = []
    for action in actions:
        values = dict(zip(PARTS, action.to_array().tolist()))
        lost = [name for name, value in values.items() if value and name not in sizes]
        if lost:
            raise ValueError(f"the space has no {', '.join(lost)}, along which the action moves: {action}")
        row = []
        for dimension in space.dimensions:
            if dimension.name in UNITS:
                row.append(values[dimension.name] / sizes[dimension.name])
            else:
                share = ((action.gripper or 0.0) + 1) / 2
                row.append(dimension.low + share * (dimension.high - dimension.low))
        rows.append(row)
    return np.array(rows)
