"""Rooms and moments made by hand, for the tests of the mobile base."""

from __future__ import annotations

from collections.abc import Iterable
from itertools import pairwise

import numpy as np

from volition.envs.mobile.environment import MobileEnv
from volition.envs.mobile.state import Box, MobileState, Pose, Snapshot, Thing
from volition.envs.mobile.tasks import Course

BROWN = (0.7, 0.5, 0.3)


def box(x: float = 1.2, y: float = 0.0, yaw: float = 0.0, size: tuple[float, float, float] = (0.3, 0.4, 0.4)) -> Box:
    return Box(Pose(x, y, yaw), size, BROWN)


START = Pose(0.0, 0.0, 0.0)
CUP_AND_CONE = (Thing("red_cup", 2.6, 0.6), Thing("blue_cone", 2.6, -0.6))


def room(*boxes: Box, robot: Pose = START, things: tuple[Thing, ...] = CUP_AND_CONE, scene: str = "A") -> MobileState:
    return MobileState(scene=scene, robot=robot, boxes=boxes or (box(),), things=things)


def moment(x: float, y: float, *, touches: Iterable[str] = (), speed: float = 0.0, state: MobileState) -> Snapshot:
    return Snapshot(
        robot=Pose(x, y, 0.0), speed=speed, boxes=state.boxes, things=state.things, touches=frozenset(touches)
    )


def course(points: Iterable[tuple[float, float]], state: MobileState, speed: float = 0.0) -> Course:
    """What the judge knows after a way through `points`, walked in steps of 5 cm."""
    corners = [np.array(point) for point in points]
    walked = Course(moment(*corners[0], state=state))
    for start, end in pairwise(corners):
        count = max(1, int(np.linalg.norm(end - start) / 0.05))
        for step in range(1, count + 1):
            walked.follow(moment(*(start + (end - start) * step / count), speed=speed, state=state))
    return walked


def drive(env: MobileEnv, task: str, limit: int = 200) -> int:
    """Steps that the expert takes from where the environment is, 0 for none within `limit`."""
    for step in range(limit):
        if env.step(env.label(task)):
            return step + 1
    return 0
