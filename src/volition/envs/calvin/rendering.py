"""Drawing with pybullet's own rasteriser, the same pictures in half the time.

It transforms every vertex of every mesh for every picture, and nine in ten of them belong to the arm's links, most of
which are out of the picture: always behind the gripper's camera, often beside the static one's narrow view. What is
transparent is skipped at once; so links whose bounding box lies outside the view are made transparent while a picture
is drawn. A test holds that no pixel changes.
"""

from __future__ import annotations

import math
from collections.abc import Iterator, Sequence
from contextlib import contextmanager
from dataclasses import dataclass
from itertools import pairwise, product
from pathlib import Path
from typing import Any

import numpy as np

from volition.geometry import quaternion_to_matrix

_LARGE = 1000  # triangles from which a mesh costs more to draw than to test
_CELL = 0.06  # metres: side of the pieces that a mesh is cut into
_MARGIN = 0.01  # metres around a piece's box: what is known of its place is up to 1/240 s old


@dataclass(frozen=True, kw_only=True)
class _Boxes:
    """Boxes that hold the meshes of some links, each in its link's frame; the boxes of a link stand together."""

    links: tuple[int, ...]
    colors: tuple[tuple[float, ...], ...]
    corners: np.ndarray  # float64[n, 8, 4]: x, y, z, 1
    owner: np.ndarray  # int[n]: whose box, as a place in `links`


class Painter:
    """Draws with the cameras of one world; the arm's meshes are measured once."""

    def __init__(self, pybullet: Any, client: int, robot: int) -> None:
        self._p, self._client, self._robot = pybullet, client, robot
        self._boxes = _measure(pybullet.getVisualShapeData(robot, physicsClientId=client))

    def draw(self, camera: Any) -> np.ndarray:
        """uint8[height, width, 3]: what `camera.render()` draws."""
        with self._hidden(self._outside(self._matrix(camera))):
            picture, _ = camera.render()
        return picture

    @contextmanager
    def _hidden(self, places: list[int]) -> Iterator[None]:
        for place in places:
            self._paint(place, 0.0)
        try:
            yield
        finally:
            for place in places:
                self._paint(place, self._boxes.colors[place][3])

    def _paint(self, place: int, alpha: float) -> None:
        color = (*self._boxes.colors[place][:3], alpha)
        self._p.changeVisualShape(
            self._robot, self._boxes.links[place], rgbaColor=color, physicsClientId=self._client
        )  # fmt: skip

    def _outside(self, matrix: np.ndarray) -> list[int]:
        """Links of which every box lies beyond one of the planes that bound what `matrix` float64[4, 4] shows."""
        states = self._p.getLinkStates(self._robot, self._boxes.links, physicsClientId=self._client)
        frames = np.tile(np.eye(4), (len(states), 1, 1))
        frames[:, :3, :3] = quaternion_to_matrix(np.array([state[5] for state in states]))
        frames[:, :3, 3] = [state[4] for state in states]
        shown = self._boxes.corners @ (matrix @ frames).swapaxes(-1, -2)[self._boxes.owner]
        place, depth = shown[..., :3], shown[..., 3:]
        inside = ((place <= depth).any(axis=1) & (-place <= depth).any(axis=1)).all(axis=1)
        seen = set(self._boxes.owner[inside].tolist())
        return [number for number in range(len(states)) if number not in seen]

    def _matrix(self, camera: Any) -> np.ndarray:
        """World (x, y, z, 1) -> clip coordinates: inside are -w..w."""
        if hasattr(camera, "viewMatrix"):
            view = camera.viewMatrix
        else:  # one that moves with the hand, and places itself while it draws
            position, turn = self._p.getLinkState(
                self._robot, camera.gripper_cam_link, physicsClientId=self._client
            )[:2]  # fmt: skip
            axes = quaternion_to_matrix(np.array(turn))
            view = self._p.computeViewMatrix(position, (position + axes[:, 1]).tolist(), (-axes[:, 2]).tolist())
        shape = self._p.computeProjectionMatrixFOV(camera.fov, camera.aspect, camera.nearval, camera.farval)
        return np.reshape(shape, (4, 4)).T @ np.reshape(view, (4, 4)).T


def moved_camera(look_from: Sequence[float], look_at: Sequence[float], offset: Sequence[float]) -> np.ndarray:
    """Where a camera stands that was moved around what it looks at, float64[3].

    `offset`: azimuth (to the left, seen from above) and elevation (up) in radians, and distance as a share.
    """
    azimuth, elevation, distance = offset
    x, y, z = np.subtract(look_from, look_at)
    radius = math.dist(look_from, look_at)
    around, above = math.atan2(y, x) + azimuth, math.asin(z / radius) + elevation
    flat = math.cos(above)
    direction = np.array([flat * math.cos(around), flat * math.sin(around), math.sin(above)])
    return np.asarray(look_at, np.float64) + radius * (1.0 + distance) * direction


def _measure(shapes: Any) -> _Boxes:
    """Of the meshes that are worth the trouble: `shapes` is what pybullet knows of the robot's looks."""
    links: list[int] = []
    colors: list[tuple[float, ...]] = []
    corners: list[np.ndarray] = []
    for _, index, _, scale, file, position, turn, color, *_ in shapes:
        if index < 0 or not file:
            continue
        triangles = _triangles(Path(file.decode())) * np.array(scale)
        if len(triangles) >= _LARGE:
            turned = triangles @ quaternion_to_matrix(np.array(turn)).T + np.array(position)
            links.append(index)
            colors.append(tuple(color))
            corners.append(_boxes(turned))
    assert links, "the arm has large meshes"
    owner = np.repeat(np.arange(len(links)), [len(boxes) for boxes in corners])
    points = np.concatenate(corners)
    points = np.concatenate((points, np.ones((*points.shape[:-1], 1))), axis=-1)
    return _Boxes(links=tuple(links), colors=tuple(colors), corners=points, owner=owner)


def _boxes(triangles: np.ndarray) -> np.ndarray:
    """Corners float64[n, 8, 3] of boxes that hold all triangles float64[m, 3, 3]: one for each cell of a grid."""
    cells = np.floor(triangles.mean(axis=1) / _CELL).astype(int)
    _, numbers = np.unique(cells, axis=0, return_inverse=True)
    order = np.argsort(numbers, kind="stable")
    firsts = np.flatnonzero(np.diff(numbers[order], prepend=-1))
    low = np.minimum.reduceat(triangles.min(axis=1)[order], firsts) - _MARGIN
    high = np.maximum.reduceat(triangles.max(axis=1)[order], firsts) + _MARGIN
    return np.stack([np.where(corner, high, low) for corner in product((False, True), repeat=3)], axis=1)


def _triangles(path: Path) -> np.ndarray:
    """Of a mesh, float64[n, 3, 3]: Wavefront .obj, its faces cut into triangles, or binary .stl."""
    if path.suffix.lower() == ".obj":
        lines = path.read_text().splitlines()
        points = np.array([line.split()[1:4] for line in lines if line.startswith("v ")], dtype=np.float64)
        faces = [line.split()[1:] for line in lines if line.startswith("f ")]
        corners = np.array([[face[0], a, b] for face in faces for a, b in pairwise(face[1:])])
        return points[np.char.partition(corners, "/")[..., 0].astype(int) - 1]
    data = path.read_bytes()
    triangle = np.dtype([("normal", "<f4", 3), ("corners", "<f4", (3, 3)), ("unused", "<u2")])
    return np.frombuffer(data, triangle, offset=84)["corners"].astype(np.float64)
