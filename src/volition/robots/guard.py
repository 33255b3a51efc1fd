"""The safety envelope for `RoboAction`: steps, velocities or positions, one by one or as trajectories.

    guard = RoboGuard(limits, control_hz=30.0, kind="velocity", frame="body")       a mobile base
    guard.guard(action, pose)         -> the action that may be executed, what was changed
    guard.twist(action, pose)         -> the same as velocities for a mobile base or a servoed arm
    guard.trajectory(actions, pose)   -> a whole chunk, each action from where the one before it leads

A robot that takes another kind than its policy gives: `convert` first, then guard what the robot is told.
`envelope_for` makes an envelope for the numbers of an action space instead, as they leave a policy.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import replace

import numpy as np

from volition.contract import ActionSpace
from volition.robots.action import TOLERANCE, ActionParser, RoboAction
from volition.robots.meaning import PARTS, UNITS, Frame, Kind, meaning_of
from volition.robots.motion import convert
from volition_client.envelope import Envelope
from volition_client.motion import Intervention
from volition_client.safety import GRIPPER, ActionLayout, SafetyLimits


def envelope_for(space: ActionSpace, limits: SafetyLimits, control_hz: float) -> Envelope:
    """For actions float[A] of a space; dimensions that are no part of a motion are kept in range only."""
    meaning = meaning_of(space)
    layout = ActionLayout(
        names=meaning.names,
        units=meaning.units,
        low=tuple(d.low for d in space.dimensions),
        high=tuple(d.high for d in space.dimensions),
        kind=meaning.kind,
        frame=meaning.frame,
    )
    return Envelope(layout, limits, control_hz)


class RoboGuard:
    """One robot's, for actions of one kind and frame.

    `limits.hold` has 7 numbers (x y z rx ry rz gripper), or 6 for a robot without a gripper. The frame has no default:
    a base that is taken to move along the world's axes is not stopped at the wall that it faces.
    """

    def __init__(self, limits: SafetyLimits, control_hz: float, *, frame: Frame, kind: Kind = "step"):
        names = (*PARTS, GRIPPER) if len(limits.hold.action) == 7 else PARTS
        self._hz = control_hz
        self._kind, self._frame, self._grips = kind, frame, GRIPPER in names
        layout = ActionLayout(names, (1.0,) * len(names), kind=kind, frame=frame)  # metres and radians
        self.envelope = Envelope(layout, limits, control_hz)

    def guard(
        self, action: RoboAction, pose: Sequence[float] | None = None, observed_at: float | None = None
    ) -> tuple[RoboAction, tuple[Intervention, ...]]:
        guarded = self.envelope.guard(self._numbers(action), pose, observed_at)
        return self._action(guarded.action, action), guarded.interventions

    def twist(
        self,
        action: RoboAction,
        pose: Sequence[float] | None = None,
        observed_at: float | None = None,
        *,
        frame: Frame | None = None,
    ) -> tuple[dict[str, dict[str, float]], tuple[Intervention, ...]]:
        """Linear m/s and angular rad/s, as `RoboAction.to_twist`; along the axes of `frame`, or the guard's own."""
        if self._kind == "position":  # from where a robot that lags behind is, the way there may be any speed
            raise ValueError("twists are guarded as such: `convert` positions to velocities, and guard those")
        safe, found = self.guard(action, pose, observed_at)
        [velocity] = convert([safe], "velocity", control_hz=self._hz, frame=frame, pose=pose)
        return velocity.to_twist(self._hz), found

    def trajectory(
        self,
        actions: Sequence[RoboAction],
        pose: Sequence[float] | None = None,
        observed_at: float | None = None,
        executed: int | None = None,
    ) -> tuple[list[RoboAction], tuple[Intervention, ...]]:
        """`executed`: how many will be carried out before the next one, all where it is not said."""
        steps = np.stack([self._numbers(action) for action in actions])
        safe, found = self.envelope.guard_trajectory(steps, pose, observed_at, executed)
        return [self._action(step, action) for step, action in zip(safe, actions)], found

    def hold(self, kind: str, text: str, horizon: int = 1, pose: Sequence[float] | None = None) -> RoboAction:
        """The declared hold, for when there is no action to be had. `pose`: as `Envelope.hold` takes it."""
        standing = RoboAction(
            translation=(0.0,) * 3,
            rotation=(0.0,) * 3,
            prediction_horizon=horizon,
            kind=self._kind,
            frame=self._frame,
        )
        return self._action(self.envelope.hold(kind, text, pose).action, standing)

    def _numbers(self, action: RoboAction) -> np.ndarray:
        if (action.kind, action.frame) != (self._kind, self._frame):
            raise ValueError(
                f"this guard is for a {self._kind} of frame {self._frame!r}, the action is a {action.kind} of frame "
                f"{action.frame!r}: make it with that kind and frame, or `convert` it"
            )
        if (action.gripper is not None) != self._grips:
            wanted = "7 numbers, so actions have a gripper" if self._grips else "6, so they have none"
            raise ValueError(f"the limits' hold has {wanted}; this action's is {action.gripper}")
        if self._frame == "body" and np.abs((action.translation[2], *action.rotation[:2])).max() > TOLERANCE:
            raise ValueError(
                f"along its own axes a base moves by x, y and rz only; this action is {action}. (A pose that it is "
                "converted with must be of the plane too: z, rx and ry 0.)"
            )
        gripper = [] if action.gripper is None else [action.gripper]
        return np.concatenate([action.to_array(), gripper])

    def _action(self, numbers: np.ndarray, asked: RoboAction) -> RoboAction:
        x, y, z, rx, ry, rz, *gripper = numbers.tolist()
        held = gripper[0] if gripper else None
        return replace(asked, translation=(x, y, z), rotation=(rx, ry, rz), gripper=held)


def to_chunk(actions: Sequence[RoboAction], space: ActionSpace) -> np.ndarray:
    """float64[H, A] in the space's units: the way back from `ActionParser.continuous`.

    ValueError for what the space lacks, and for actions of another kind or frame: it would be lost.
    """
    meaning = ActionParser(space=space).meaning
    rows = []
    for action in actions:
        if (action.kind, action.frame) != (meaning.kind, meaning.frame):
            raise ValueError(
                f"the space is of a {meaning.kind} of frame {meaning.frame!r}, the action a {action.kind} of frame "
                f"{action.frame!r}: `convert` it first"
            )
        values = dict(zip(PARTS, action.to_array().tolist()))
        lost = [name for name, value in values.items() if value and name not in meaning.names]
        if lost:
            raise ValueError(f"the space has no {', '.join(lost)}, along which the action moves: {action}")
        if (action.gripper is not None) != (GRIPPER in meaning.names):
            raise ValueError(f"the space and the action must both have a gripper, or neither; the action is {action}")
        row = []
        for name, unit, dimension in zip(meaning.names, meaning.units, space.dimensions):
            if name in UNITS:
                row.append(values[name] / unit)
            else:
                share = ((action.gripper or 0.0) + 1) / 2
                row.append(dimension.low + share * (dimension.high - dimension.low))
        rows.append(row)
    return np.array(rows)
