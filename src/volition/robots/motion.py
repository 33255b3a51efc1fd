"""One trajectory as steps, velocities or positions, along the world's axes or the robot's own.

    step      a displacement in one control period: metres, and the turn's Euler angles
    velocity  held for one control period: m/s, and rad/s about the turn's one axis
    position  where to be at the end of the period: x y z in metres, and the orientation's Euler angles

A step of the world turns a robot about the world's axes: it stands at `turn @ orientation` afterwards.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass, replace

import numpy as np

from volition import geometry
from volition.robots.action import RoboAction
from volition.robots.meaning import Frame, Kind


@dataclass(frozen=True)
class Moved:
    """A place in the world, or a displacement."""

    move: np.ndarray  # float64[3], metres
    turn: np.ndarray  # float64[3, 3]

    def about(self, axes: np.ndarray) -> Moved:
        """The same displacement, said along other axes: the columns of `axes` are those that it was said along."""
        return Moved(axes @ self.move, axes @ self.turn @ axes.T)

    @property
    def heading(self) -> np.ndarray:
        """float64[3, 3]: the axes of a mobile base that stands here, turned by rz alone."""
        return geometry.axis_rotation(2, geometry.matrix_to_euler(self.turn)[2])


def convert(
    actions: Sequence[RoboAction],
    kind: Kind,
    *,
    control_hz: float,
    frame: Frame | None = None,
    pose: Sequence[float] | None = None,
) -> list[RoboAction]:
    """The same trajectory said otherwise, each action from where the one before it leads.

    frame  that the answer is along; as it was where it is not said, and of the world for positions
    pose   x y z rx ry rz before the first action, metres and radians: needed into and out of positions, and between
           frames

    A turn of more than half a turn in one step goes the other way round.
    """
    place = None if pose is None else _place(pose)
    found = []
    for action in actions:
        wanted: Frame = frame or ("world" if kind == "position" else action.frame)
        same = (action.kind, action.frame) == (kind, wanted)
        found.append(action if same else _said(action, kind, wanted, control_hz, place))
        place = None if place is None or action.frame == "other" else _after(action, control_hz, place)
    return found


def _said(action: RoboAction, kind: Kind, frame: Frame, control_hz: float, place: Moved | None) -> RoboAction:
    if "position" not in (kind, action.kind) and frame == action.frame:
        moved = _displacement(action, control_hz)
    elif place is None or "other" in (frame, action.frame):
        raise ValueError(
            f"a {action.kind} of frame {action.frame!r} becomes a {kind} of frame {frame!r} only where the robot's "
            "pose is told (pose=) and both frames are 'world' or 'body'"
        )
    elif kind == "position":
        moved = _after(action, control_hz, place)
    else:
        moved = _in_world(action, control_hz, place)
        moved = moved.about(place.heading.T) if frame == "body" else moved
    rate = control_hz if kind == "velocity" else 1.0
    turn = geometry.matrix_to_axis_angle(moved.turn) if kind == "velocity" else geometry.matrix_to_euler(moved.turn)
    x, y, z = (moved.move * rate).tolist()
    rx, ry, rz = (turn * rate).tolist()
    return replace(action, kind=kind, frame=frame, translation=(x, y, z), rotation=(rx, ry, rz))


def _displacement(action: RoboAction, control_hz: float) -> Moved:
    """In one control period, along the action's own frame."""
    move, turn = np.array(action.translation), np.array(action.rotation)
    if action.kind == "velocity":
        return Moved(move / control_hz, geometry.axis_angle_to_matrix(turn / control_hz))
    return Moved(move, geometry.euler_to_matrix(turn))


def _in_world(action: RoboAction, control_hz: float, place: Moved) -> Moved:
    if action.kind == "position":
        there = _place((*action.translation, *action.rotation))
        return Moved(there.move - place.move, there.turn @ place.turn.T)
    moved = _displacement(action, control_hz)
    return moved.about(place.heading) if action.frame == "body" else moved


def _after(action: RoboAction, control_hz: float, place: Moved) -> Moved:
    moved = _in_world(action, control_hz, place)
    return Moved(place.move + moved.move, moved.turn @ place.turn)


def _place(pose: Sequence[float]) -> Moved:
    if len(pose) != 6 or not np.isfinite(pose).all():
        raise ValueError(f"a pose must be 6 finite numbers (x y z in metres, rx ry rz in radians), got {list(pose)}")
    return Moved(np.array(pose[:3], np.float64), geometry.euler_to_matrix(np.array(pose[3:], np.float64)))
