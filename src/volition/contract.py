"""What an action and an observation mean, so that train, eval and robot can be compared before anything moves."""

from __future__ import annotations

import dataclasses
import hashlib
import json
from dataclasses import dataclass
from functools import cached_property
from typing import Any


@dataclass(frozen=True, kw_only=True)
class Dimension:
    """One number of an action: `low`..`high` in multiples of `unit`."""

    name: str
    unit: str
    low: float = -1.0
    high: float = 1.0
    kind: str = "continuous"  # or "binary": exactly `low` or `high`

    def __post_init__(self) -> None:
        if self.kind not in ("continuous", "binary"):
            raise ValueError(f"dimension {self.name!r}: kind must be 'continuous' or 'binary', got {self.kind!r}")
        if not self.low < self.high:
            raise ValueError(f"dimension {self.name!r}: low={self.low} must be below high={self.high}")


@dataclass(frozen=True, kw_only=True)
class ActionSpace:
    """Names every dimension of an action; nothing in the package knows a literal 6 or 7."""

    dimensions: tuple[Dimension, ...]
    frame: str = "world"
    rotation: str = "euler_xyz"  # of the rotation dimensions, if any
    relative: bool = True  # an action is added to a target the environment keeps

    @property
    def dim(self) -> int:
        return len(self.dimensions)

    @property
    def binary(self) -> tuple[int, ...]:
        return tuple(i for i, d in enumerate(self.dimensions) if d.kind == "binary")

    @property
    def continuous(self) -> tuple[int, ...]:
        return tuple(i for i, d in enumerate(self.dimensions) if d.kind == "continuous")

    def scaled(self) -> ActionSpace:
        """As heads see it: continuous dimensions in -1..1, which transforms bring them to; binary ones as they are."""
        dimensions = tuple(
            dataclasses.replace(d, low=-1.0, high=1.0) if d.kind == "continuous" else d for d in self.dimensions
        )
        return dataclasses.replace(self, dimensions=dimensions)


@dataclass(frozen=True, kw_only=True)
class Camera:
    name: str
    height: int
    width: int


@dataclass(frozen=True, kw_only=True)
class RobotSpec:
    """What a robot, environment or dataset says about itself."""

    action_space: ActionSpace
    cameras: tuple[Camera, ...]
    state: tuple[str, ...]  # a name for every entry of Observation.state
    control_hz: float

    @property
    def image_sizes(self) -> dict[str, tuple[int, int]]:
        return {camera.name: (camera.height, camera.width) for camera in self.cameras}

    @cached_property
    def convention(self) -> str:
        """16 hexadecimal digits that two specs share exactly if they are equal: to compare by eye, and to keep."""
        text = json.dumps(dataclasses.asdict(self), sort_keys=True)
        return hashlib.sha256(text.encode()).hexdigest()[:16]


def relative_arm_7d(*, metres: float = 0.02, radians: float = 0.05) -> ActionSpace:
    """CALVIN's `rel_actions`: x, y, z and Euler x, y, z relative to the kept target, gripper +1 open, -1 closed."""
    position = [Dimension(name=n, unit=f"{metres} m") for n in "xyz"]
    rotation = [Dimension(name=f"r{n}", unit=f"{radians} rad") for n in "xyz"]
    gripper = Dimension(name="gripper", unit="+1 open, -1 closed", kind="binary")
    return ActionSpace(dimensions=(*position, *rotation, gripper))


def differences(left: Any, right: Any, path: str = "") -> list[str]:
    """'action_space.frame: world != tcp' for every leaf in which two dataclasses or values differ."""
    if dataclasses.is_dataclass(left) and type(left) is type(right):
        pairs = [(f.name, getattr(left, f.name), getattr(right, f.name)) for f in dataclasses.fields(left)]
        return [d for name, a, b in pairs for d in differences(a, b, f"{path}.{name}" if path else name)]
    if isinstance(left, tuple) and isinstance(right, tuple) and len(left) == len(right):
        return [d for i, (a, b) in enumerate(zip(left, right)) for d in differences(a, b, f"{path}[{i}]")]
    return [] if left == right else [f"{path}: {left!r} != {right!r}"]


def require_equal(left: Any, right: Any, *, left_name: str, right_name: str) -> None:
    """Raise ValueError that prints every difference; conventions are never converted silently."""
    found = differences(left, right)
    if found:
        lines = "\n  ".join(found)
        raise ValueError(
            f"{left_name} and {right_name} must agree on what actions and observations mean; "
            f"they differ ({left_name} != {right_name}):\n  {lines}"
        )
