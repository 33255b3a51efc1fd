"""Does this machine draw the rooms as it should? `volition doctor` asks `check`.

A fixed state of every room is drawn by the robot's cameras and from above, and compared with `selftest.png` beside this
file. After a wanted change of looks: `store(draw, REFERENCE)`, and look at the picture.
"""

from __future__ import annotations

from pathlib import Path

import numpy as np

from volition.envs.gl import DrawingError
from volition.envs.mobile.layout import BOX_COLOURS
from volition.envs.mobile.mobile import Mobile
from volition.envs.mobile.scene import CAMERAS, FILM_CAMERA
from volition.envs.mobile.state import KINDS, SCENES, Box, MobileState, Pose, Thing
from volition.envs.selftest import MUJOCO, Sheet

REFERENCE = Path(__file__).with_name("selftest.png")
VIEWS = (*CAMERAS, FILM_CAMERA)
SHEET = Sheet(hint=MUJOCO, rows=VIEWS, columns=tuple(f"mobile, room {scene}" for scene in SCENES))


def example(scene: str) -> MobileState:
    """A state in which every room shows something else: boxes, colours and things differ."""
    index = SCENES.index(scene)
    boxes = tuple(
        Box(
            Pose(0.9 + 1.2 * number, 0.25 * (-1) ** (index + number), 0.1 * index - 0.15),
            (0.3, 0.3 + 0.05 * index, 0.5 - 0.1 * number),
            BOX_COLOURS[2 * index + number],
        )
        for number in range(1 + index % 2)
    )
    things = (Thing(KINDS[index], 2.9, 0.5), Thing(KINDS[(index + 1) % 4], 2.7, -0.6))
    return MobileState(scene=scene, robot=Pose(0.05 * index, 0.1, 0.15 * (index - 1)), boxes=boxes, things=things)


def draw() -> np.ndarray:
    """uint8[3 * side, 4 * side, 3]: rooms A to D from left to right; front and rear camera, and from above."""
    mobile = Mobile()
    columns = []
    for scene in SCENES:
        mobile.reset(example(scene))
        columns.append(np.concatenate([mobile.render_at(view, SHEET.side, SHEET.side) for view in VIEWS]))
    return np.concatenate(columns, axis=1)


def check() -> list[str]:
    """What is wrong with drawing on this machine, a sentence each; empty when all is well."""
    try:
        return SHEET.check(draw, REFERENCE)
    except DrawingError as error:
        return [str(error)]
