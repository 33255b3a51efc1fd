"""Does this machine draw the desk as it should? `volition doctor` asks `check`.

A fixed state of every scene is drawn by both cameras and compared with `selftest.png` beside this file. After a wanted
change of looks: `store(draw, REFERENCE)`, and look at the picture.
"""

from __future__ import annotations

from pathlib import Path

import numpy as np

from volition.envs.desk.desk import Desk
from volition.envs.desk.layout import DOOR_TRAVEL, DRAWER_TRAVEL, SWITCH_TRAVEL, TOP
from volition.envs.desk.state import SCENES, DeskState, Shift
from volition.envs.desk.world import CAMERAS
from volition.envs.gl import DrawingError
from volition.envs.selftest import MUJOCO, Sheet

REFERENCE = Path(__file__).with_name("selftest.png")
SHEET = Sheet(hint=MUJOCO, rows=CAMERAS, columns=tuple(f"desk, scene {scene}" for scene in SCENES))


def example(scene: str) -> DeskState:
    """A state in which every scene shows something else: doors, drawers and lamps differ."""
    index = SCENES.index(scene)
    scene_obs = np.zeros(24)
    scene_obs[0] = DOOR_TRAVEL * (index % 2)
    scene_obs[1] = DRAWER_TRAVEL * (index // 2)
    scene_obs[3] = SWITCH_TRAVEL * (index % 2)
    scene_obs[4] = float(index % 2)
    scene_obs[5] = float(index in (1, 2))
    for block, (x, y) in enumerate(((-0.14, -0.05), (-0.01, -0.11), (0.13, -0.04))):
        start = 6 + 6 * block
        scene_obs[start : start + 3] = (x, y, TOP + 0.02)
        scene_obs[start + 5] = 0.4 * block + 0.3 * index
    return DeskState(scene, scene_obs, Shift(x=0.02 * (index - 1), y=0.01, yaw=0.1 * (index - 2)))


def draw() -> np.ndarray:
    """uint8[2 * side, 4 * side, 3]: scenes A to D from left to right, static camera above, gripper camera below."""
    desk = Desk()
    columns = []
    for scene in SCENES:
        desk.reset(example(scene))
        columns.append(np.concatenate([desk.render_at(camera, SHEET.side, SHEET.side) for camera in CAMERAS]))
    return np.concatenate(columns, axis=1)


def check() -> list[str]:
    """What is wrong with drawing on this machine, a sentence each; empty when all is well."""
    try:
        return SHEET.check(draw, REFERENCE)
    except DrawingError as error:
        return [str(error)]
