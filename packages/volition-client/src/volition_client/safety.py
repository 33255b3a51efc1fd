"""What the safety envelope is told: what an action's numbers mean, and what the robot may do.

    limits = load_limits("arm.json")                       the robot's own file; the hold action has no default
    layout = ActionLayout.of(client.metadata)              from the server's contract
    envelope = Envelope(layout, limits, control_hz=30.0)   see `envelope.py`

Metres, radians and seconds; the gripper is +1 open, -1 closed.
"""

from __future__ import annotations

import json
import math
from dataclasses import MISSING, dataclass, field, fields
from pathlib import Path
from typing import Any, Mapping

MOVES, TURNS, GRIPPER = ("x", "y", "z"), ("rx", "ry", "rz"), "gripper"
POSE = MOVES + TURNS
KINDS = ("step", "velocity", "position")
FRAMES = ("world", "body", "other")


@dataclass(frozen=True)
class ActionLayout:
    """How an action float[A] moves the robot. Dimensions of other names are only kept finite and in range.

    kind  "step": a displacement per control step; "velocity": per second; "position": where to be at the next step.
    frame "world": along the axes of the pose; "body": along the robot's own, turned by the pose's rz (mobile bases);
          "other": along axes that nobody told, a tool's say: speeds can be limited, and no workspace bounded.
    """

    names: tuple[str, ...]
    units: tuple[float, ...]  # metres or radians that 1.0 stands for (per second in a velocity)
    low: tuple[float, ...] = ()  # of each number; none: any
    high: tuple[float, ...] = ()
    kind: str = "step"
    frame: str = "world"

    def __post_init__(self) -> None:
        lengths = {len(self.names), len(self.units), len(self.low or self.names), len(self.high or self.names)}
        if len(lengths) != 1 or len(set(self.names)) < len(self.names):
            raise ValueError(f"names must differ, and units, low and high be as many; got {self}")
        if self.kind not in KINDS or self.frame not in FRAMES:
            raise ValueError(f"kind must be one of {', '.join(KINDS)} and frame of {', '.join(FRAMES)}; got {self}")
        if not all(math.isfinite(unit) and unit > 0 for unit in self.units):
            raise ValueError(f"units must be above 0, got {self.units}")

    @classmethod
    def of(cls, metadata: Mapping[str, Any]) -> "ActionLayout":
        """From what a Volition server says about its actions; ValueError where it does not say what they mean."""
        layout = metadata.get("layout")
        if not isinstance(layout, dict):
            raise ValueError("the server's metadata must have a layout of its actions; state one: ActionLayout(...)")
        given: dict[str, Any] = {
            str(name): tuple(value) if isinstance(value, list) else value for name, value in layout.items()
        }
        return cls(**given)


@dataclass(frozen=True)
class Hold:
    """What makes this robot stand still: one number for each of an action's, None for "as it was sent last".

    There is no default: a zero stops a robot that is steered by velocities and throws over one that is steered by
    positions. For kind "position" every number of the pose may be None: where the robot was last told to be, or, if it
    was moved from there, where it is.
    """

    action: tuple[float | None, ...]

    def __post_init__(self) -> None:
        if not self.action or not all(x is None or math.isfinite(x) for x in self.action):
            raise ValueError(f"a hold action must be finite numbers or None, one for each dimension; got {self.action}")


@dataclass(frozen=True)
class SafetyLimits:
    """What the robot may do. Infinity and None: not limited. Limits of a pose need the measured pose."""

    hold: Hold
    low: tuple[float | None, ...] = (None,) * 6  # the workspace: least x y z in metres, rx ry rz in radians
    high: tuple[float | None, ...] = (None,) * 6
    speed: float = math.inf  # metres a second, the length of the velocity
    acceleration: float = math.inf  # metres a second squared
    turn_speed: float = math.inf  # radians a second, about whichever axis
    turn_acceleration: float = math.inf
    gripper_speed: float = math.inf  # a second; from closed to open it is 2
    stale_seconds: float = math.inf  # oldest observation that may still be acted on
    watchdog_seconds: float = math.inf  # longest silence before the robot is held
    lag_seconds: float = 0.5  # of kind "position": how far behind what it was told a robot may be, at full speed
    pose: tuple[str, ...] = field(default=())  # names of the state's entries x y z rx ry rz (the first ones will do)

    def __post_init__(self) -> None:
        if len(self.low) != 6 or len(self.high) != 6:
            raise ValueError(f"low and high must be 6 numbers or None (x y z rx ry rz), got {self.low} and {self.high}")
        if any(x is not None and math.isnan(x) for x in (*self.low, *self.high)):
            raise ValueError(f"low and high must be numbers or None, got {self.low} and {self.high}")
        crossed = [n for n, a, b in zip(POSE, self.low, self.high) if a is not None and b is not None and not a < b]
        if crossed:
            raise ValueError(f"low must be below high, and is not for {', '.join(crossed)}")
        for name in ("speed", "acceleration", "turn_speed", "turn_acceleration", "gripper_speed"):
            if not getattr(self, name) > 0:
                raise ValueError(f"{name} must be above 0, got {getattr(self, name)}")
        for name in ("stale_seconds", "watchdog_seconds", "lag_seconds"):
            if not getattr(self, name) > 0:
                raise ValueError(f"{name} must be above 0 seconds, got {getattr(self, name)}")
        if len(self.pose) not in (0, 3, 6):
            raise ValueError(f"pose must name 3 or 6 entries of the state, or none; got {self.pose}")

    @property
    def bounds_pose(self) -> bool:
        return any(value is not None for value in (*self.low, *self.high))


def load_limits(path: str | Path) -> SafetyLimits:
    """Limits from a robot's own JSON file: the fields of `SafetyLimits`, "hold" a list of numbers and nulls."""
    try:
        document = json.loads(Path(path).read_text(encoding="utf-8"))
    except ValueError as error:
        raise ValueError(f"{path} must be JSON: {error}") from error
    if not isinstance(document, dict):
        raise ValueError(f"{path} must hold a JSON object with the fields of SafetyLimits")
    return _limits(document, str(path))


def _limits(document: dict[str, Any], path: str) -> SafetyLimits:
    known = {f.name: f for f in fields(SafetyLimits)}
    unknown = sorted(document.keys() - known.keys())
    if unknown:
        raise ValueError(f"{path} has no place for {', '.join(unknown)}; it may state {', '.join(known)}")
    missing = [n for n, f in known.items() if f.default is MISSING and n not in document]
    if missing:
        raise ValueError(
            f"{path} must state {', '.join(missing)}: the action that makes this robot stand still has no default"
        )
    given: dict[str, Any] = {}
    for name, value in document.items():
        if name in ("hold", "low", "high"):
            given[name] = _numbers(value, f"{path}: {name}", or_null=True)
        elif name == "pose":
            if not isinstance(value, list) or not all(isinstance(x, str) for x in value):
                raise ValueError(f"{path}: pose must be a list of names, got {value!r}")
            given[name] = tuple(value)
        else:
            given[name] = _numbers([value], f"{path}: {name}", or_null=False)[0]
    given["hold"] = Hold(given["hold"])
    return SafetyLimits(**given)


def _numbers(value: Any, what: str, or_null: bool) -> tuple[Any, ...]:
    right = isinstance(value, list) and all(
        (x is None and or_null) or (isinstance(x, (int, float)) and not isinstance(x, bool)) for x in value
    )
    if not right:
        raise ValueError(f"{what} must be numbers{' or null' if or_null else ''}, got {value!r}")
    found: list[float | None] = [None if x is None else float(x) for x in value]
    return tuple(found)
