"""What a server needs to know of a policy, and what it tells its clients about it."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass
from typing import Any

from volition.contract import RobotSpec
from volition.records import Actor, Inpainter
from volition.robots.meaning import meaning_of


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
        "accepts": ["executed", "answered", *(["settled"] if continues(served) else [])],
        "layout": layout(served.robot),
    }


def layout(robot: RobotSpec) -> dict[str, Any] | None:
    """How the actions move the robot, for an `ActionLayout`; None where the contract does not say."""
    space = robot.action_space
    try:
        meaning = meaning_of(space)
    except ValueError:
        return None
    return {
        "names": list(meaning.names),
        "units": list(meaning.units),
        "low": [d.low for d in space.dimensions],
        "high": [d.high for d in space.dimensions],
        "kind": meaning.kind,
        "frame": meaning.frame,
    }
