"""What a server needs to know of a policy, and what it tells its clients about it."""

from __future__ import annotations

import re
from collections.abc import Callable
from dataclasses import dataclass
from typing import Any

from volition.contract import Dimension, RobotSpec
from volition.records import Actor, Inpainter
from volition_client.safety import POSE, TURNS, frame_of

# Dimensions of mobile bases, by the names of their velocities.
_ALIASES = {"linear_x": "x", "linear_y": "y", "linear_z": "z", "angular_z": "rz"}
_UNIT = re.compile(r"(?:(?P<size>\d[\d.e+-]*) )?(?P<what>m|rad)(?P<per>/s)?")


@dataclass(frozen=True, kw_only=True)
class Served:
    """A policy that can be served. `contract` is what a reloaded one must equal; `memory` says whose states fit it."""

    actor: Actor
    robot: RobotSpec
    action_horizon: int  # H
    replan_steps: int
    contract: Any
    memory: str = ""  # policies of equal `memory` can go on with each other's states
    name: str = ""


Load = Callable[[], Served]


def continues(served: Served) -> bool:
    """Whether it can be told what is settled."""
    return isinstance(served.actor, Inpainter) and served.actor.continues


def describe(served: Served) -> dict[str, Any]:
    """The metadata that a client is sent first: plain values, by the contract's names."""
    space = served.robot.action_space
    return {
        "server": "volition",
        "policy": served.name,
        "convention": served.robot.convention,
        "control_hz": served.robot.control_hz,
        "action_horizon": served.action_horizon,
        "replan_steps": served.replan_steps,
        "action": [
            {"name": d.name, "unit": d.unit, "low": d.low, "high": d.high, "kind": d.kind} for d in space.dimensions
        ],
        "cameras": {camera.name: [camera.height, camera.width, 3] for camera in served.robot.cameras},
        "state": list(served.robot.state),
        "accepts": ["executed", *(["settled"] if continues(served) else [])],
        "layout": layout(served.robot),
    }


def layout(robot: RobotSpec) -> dict[str, Any] | None:
    """How the actions move the robot, for a safety envelope; None where their units do not say so.

    Position and velocity dimensions must not be mixed; what is no part of a pose stays a number.
    """
    space = robot.action_space
    units, kinds = [], set()
    for dimension in space.dimensions:
        name = _ALIASES.get(dimension.name, dimension.name)
        if name not in POSE:
            units.append(1.0)
            continue
        found = _unit(dimension)
        if found is None:
            return None
        units.append(found[0])
        kinds.add("velocity" if found[1] else "step" if space.relative else "position")
    names = [_ALIASES.get(d.name, d.name) for d in space.dimensions]
    turns = set(names) & set(TURNS)
    plain = space.rotation == "euler_xyz" or not turns or (space.rotation == "yaw" and turns == {"rz"})
    if len(kinds) > 1 or not plain:
        return None
    return {
        "names": names,
        "units": units,
        "low": [d.low for d in space.dimensions],
        "high": [d.high for d in space.dimensions],
        "kind": kinds.pop() if kinds else "step",
        "frame": frame_of(space.frame, names),
    }


def _unit(dimension: Dimension) -> tuple[float, bool] | None:
    """(metres or radians that 1.0 is, whether a second), or None."""
    found = _UNIT.fullmatch(dimension.unit)
    return (float(found["size"] or 1), bool(found["per"])) if found else None
