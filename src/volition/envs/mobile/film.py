"""Frames for films: the room from above, the way so far, what was told, and in a corner what the robot sees."""

from __future__ import annotations

import math
from collections.abc import Sequence

import numpy as np

from volition.envs.gl import mujoco
from volition.envs.mobile.mobile import Mobile
from volition.envs.mobile.state import Snapshot
from volition.envs.mobile.tasks import REACHED, order_of, wanted
from volition.envs.mobile.ways import LEFT

SIZE = (200, 200)
INSET = (40, 71)  # of the robot's own picture, right bottom, with a frame of two pixels
TRAIL, TOLD = (1.0, 0.45, 0.05, 1.0), (0.25, 0.95, 0.35, 1.0)
_EYE = np.eye(3).ravel()


def draw_film(mobile: Mobile, trail: Sequence[tuple[float, float]], task: str | None, *, camera: str) -> np.ndarray:
    """uint8[200, 200, 3]; drawn twice as large and averaged for smooth edges."""
    moment = mobile.snapshot()

    def decorate(scene: mujoco.MjvScene) -> None:
        for x, y in trail[::2]:
            _add(scene, mujoco.mjtGeom.mjGEOM_CYLINDER, (0.03, 0.03, 0.002), (x, y, 0.004), TRAIL)
        if task is not None:
            _tell(scene, moment, task)

    height, width = SIZE
    picture = _halved(mobile.film(2 * height, 2 * width, decorate))
    high, wide = INSET
    inset = _halved(mobile.render_at(camera, 2 * high, 2 * wide))
    picture[-high - 4 :, -wide - 4 :] = 255
    picture[-high - 2 : -2, -wide - 2 : -2] = inset
    return picture


def _tell(scene: mujoco.MjvScene, moment: Snapshot, task: str) -> None:
    """A green mark on the told side of every box, and a green disc under the thing."""
    order = order_of(task)
    for box, side in zip(moment.boxes, order.sides):
        corners = box.outline(0.12)[:, 1]
        y = corners.max() if side == LEFT else corners.min()
        _add(scene, mujoco.mjtGeom.mjGEOM_BOX, (0.13, 0.035, 0.002), (box.pose.x, y, 0.006), TOLD)
    thing = wanted(order, moment.things)
    if thing is not None:
        for angle in np.linspace(0.0, 2 * math.pi, 28, endpoint=False):
            place = (thing.x + REACHED * math.cos(angle), thing.y + REACHED * math.sin(angle), 0.005)
            _add(scene, mujoco.mjtGeom.mjGEOM_CYLINDER, (0.028, 0.028, 0.002), place, TOLD)


def _add(
    scene: mujoco.MjvScene,
    kind: mujoco.mjtGeom,
    size: tuple[float, ...],
    place: tuple[float, ...],
    colour: tuple[float, ...],
) -> None:
    """One more geom to draw, where the scene has room."""
    if scene.ngeom < scene.maxgeom:
        rgba = np.array(colour, dtype=np.float32)
        mujoco.mjv_initGeom(scene.geoms[scene.ngeom], kind, np.array(size), np.array(place), _EYE, rgba)
        scene.ngeom += 1


def _halved(picture: np.ndarray) -> np.ndarray:
    """Every two by two pixels as one: uint8[height, width, 3]."""
    height, width = picture.shape[0] // 2, picture.shape[1] // 2
    return (picture.reshape(height, 2, width, 2, 3).astype(np.uint16).sum((1, 3)) // 4).astype(np.uint8)
