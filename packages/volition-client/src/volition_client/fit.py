"""Whether a robot's limits and what its actions mean go together, before anything moves."""

from __future__ import annotations

import math

from volition_client.safety import GRIPPER, MOVES, TURNS, ActionLayout, SafetyLimits


def require_fit(layout: ActionLayout, limits: SafetyLimits) -> None:
    """ValueError where a limit could not be kept, or would limit nothing."""
    if len(limits.hold.action) != len(layout.names):
        raise ValueError(
            f"the hold action must have {len(layout.names)} numbers ({', '.join(layout.names)}), "
            f"got {len(limits.hold.action)}"
        )
    if layout.frame != "world" and layout.kind == "position":
        raise ValueError(f"positions are of the world; frame={layout.frame!r} needs kind 'step' or 'velocity'")
    if layout.frame == "other" and limits.bounds_pose:
        raise ValueError(
            "a workspace can be bounded where actions move along the axes of the pose, or a base along its own, "
            "and these move along others: leave low and high out, or state the layout yourself"
        )
    if needs_angles(layout, limits) and len(limits.pose) == 3:
        raise ValueError(
            "the limits' pose must name rx ry rz too: angles are bounded or told, or a bounded base turns with them"
        )
    idle = _idle(layout, limits)
    if idle:
        raise ValueError(
            f"{', '.join(idle)} must limit something, and these actions are of {', '.join(layout.names)}: leave it "
            f"out, or name what moves the robot {', '.join((*MOVES, *TURNS, GRIPPER))} in the layout"
        )


def needs_angles(layout: ActionLayout, limits: SafetyLimits) -> bool:
    """Whether a pose must tell rx ry rz too."""
    return (
        any(x is not None for x in (*limits.low[3:], *limits.high[3:]))
        or (layout.frame == "body" and limits.bounds_pose)  # which way its own axes lie is in rz
        or (layout.kind == "position" and bool(set(layout.names) & set(TURNS)))
    )


def _idle(layout: ActionLayout, limits: SafetyLimits) -> list[str]:
    """Limits that are stated, and that no number of an action could break."""
    parts = (
        (MOVES, ("speed", "acceleration"), slice(3)),
        (TURNS, ("turn_speed", "turn_acceleration"), slice(3, 6)),
        ((GRIPPER,), ("gripper_speed",), slice(0)),
    )
    idle = []
    for names, rates, axes in parts:
        if not set(names) & set(layout.names):
            idle += [rate for rate in rates if getattr(limits, rate) < math.inf]
            idle += [wall for wall in ("low", "high") if any(x is not None for x in getattr(limits, wall)[axes])]
    return idle
