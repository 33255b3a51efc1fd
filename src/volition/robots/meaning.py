"""What an action space's numbers do to a robot: its dimensions' names, units, relation and frame, read once for all.

x, y, z                      "m" or "0.02 m": a displacement, or a place where the space is not relative
rx, ry, rz                   "rad", the same about the axes
linear_x, ..., angular_z     other names of x, ..., rz, as mobile bases have them
any of these in "m/s", ...   a velocity
"""

from __future__ import annotations

import re
from dataclasses import dataclass
from typing import Literal

from volition.contract import ActionSpace, Dimension

PARTS = ("x", "y", "z", "rx", "ry", "rz")
UNITS = dict.fromkeys(PARTS[:3], "m") | dict.fromkeys(PARTS[3:], "rad")
_ALIASES = {f"linear_{n}": n for n in PARTS[:3]} | {f"angular_{n[1]}": n for n in PARTS[3:]}

Kind = Literal["step", "velocity", "position"]
Frame = Literal["world", "body", "other"]


@dataclass(frozen=True, kw_only=True)
class Meaning:
    """As `volition_client.ActionLayout` has it, which says more about `kind` and `frame`."""

    names: tuple[str, ...]  # of `PARTS`; what is no part of a motion keeps its own
    units: tuple[float, ...]  # metres or radians that 1.0 stands for (a second); 1 of what is no part of a motion
    kind: Kind
    frame: Frame

    @property
    def sizes(self) -> dict[str, float]:
        """Part -> metres or radians that one unit of it is."""
        return {name: unit for name, unit in zip(self.names, self.units) if name in UNITS}


def meaning_of(space: ActionSpace) -> Meaning:
    """ValueError where names, units and rotation do not say it, or say several things."""
    names = tuple(_ALIASES.get(d.name, d.name) for d in space.dimensions)
    if len(set(names)) < len(names):
        raise ValueError(f"every dimension must be there once, got {', '.join(names)}")
    read = [_unit(name, d) if name in UNITS else (1.0, None) for name, d in zip(names, space.dimensions)]
    velocities = {velocity for _, velocity in read if velocity is not None}
    if len(velocities) > 1:
        raise ValueError("the units must be of velocities ('m/s', 'rad/s') for all parts of a motion, or for none")
    turns = {name for name in names if name in PARTS[3:]}
    if turns and space.rotation != "euler_xyz" and (space.rotation, turns) != ("yaw", {"rz"}):
        raise ValueError(
            f"rotation must be 'euler_xyz', or 'yaw' for rz alone; is {space.rotation!r} for "
            f"{', '.join(sorted(turns))}; convert it with `geometry`"
        )
    still: Kind = "step" if space.relative or not velocities else "position"
    return Meaning(
        names=names,
        units=tuple(size for size, _ in read),
        kind="velocity" if True in velocities else still,
        frame=_frame(space.frame, names),
    )


def _frame(frame: str, names: tuple[str, ...]) -> Frame:
    """What is of a base is the robot's own where it moves in its plane, as a mobile one does."""
    if frame == "world":
        return "world"
    return "body" if frame == "base" and set(names) & set(PARTS) <= {"x", "y", "rz"} else "other"


def _unit(name: str, dimension: Dimension) -> tuple[float, bool]:
    """(metres or radians that 1.0 is, whether a second)"""
    unit = UNITS[name]
    found = re.fullmatch(rf"(?:(\d[\d.e+-]*) )?{unit}(/s)?", dimension.unit)
    if not found:
        raise ValueError(
            f"the unit of {dimension.name!r} must be '{unit}' or a number of them, or '{unit}/s' for a velocity; "
            f"is {dimension.unit!r}"
        )
    return float(found[1] or 1), bool(found[2])
