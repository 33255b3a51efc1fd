"""Does this machine draw the desk as it should? `volition doctor` asks `check`.

A fixed state of every scene is drawn by both cameras and compared with `selftest.png` beside this file. Rasterisers
differ a little at edges, so a mean difference is allowed, and a share of pixels that differ much; a missing object, a
wrong camera or swapped colours are beyond both. After a wanted change of looks: `store()`, and look at the picture.
"""

from __future__ import annotations

from pathlib import Path

import numpy as np
from PIL import Image

from volition.envs.desk.desk import Desk
from volition.envs.desk.layout import DOOR_TRAVEL, DRAWER_TRAVEL, SWITCH_TRAVEL, TOP
from volition.envs.desk.state import SCENES, DeskState, Shift
from volition.envs.gl import DrawingError

REFERENCE = Path(__file__).with_name("selftest.png")
SIDE = 96
MEAN_DIFFERENCE = 3.0  # of 255
GREAT_DIFFERENCE, GREAT_SHARE = 48, 0.02  # of 255, of the pixels


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
    """uint8[2 * SIDE, 4 * SIDE, 3]: scenes A to D from left to right, static camera above, gripper camera below."""
    desk = Desk()
    columns = []
    for scene in SCENES:
        desk.reset(example(scene))
        columns.append(np.concatenate([desk.render_at(camera, SIDE, SIDE) for camera in ("static", "gripper")]))
    return np.concatenate(columns, axis=1)


def differences(drawn: np.ndarray, expected: np.ndarray) -> list[str]:
    """A sentence for every tile of `drawn` uint8[2 * SIDE, 4 * SIDE, 3] that is not as expected."""
    found = []
    for column, scene in enumerate(SCENES):
        for row, camera in enumerate(("static", "gripper")):
            tile = np.s_[row * SIDE : (row + 1) * SIDE, column * SIDE : (column + 1) * SIDE]
            error = np.abs(drawn[tile].astype(float) - expected[tile].astype(float))
            mean, share = float(error.mean()), float((error.max(axis=-1) > GREAT_DIFFERENCE).mean())
            if mean > MEAN_DIFFERENCE or share > GREAT_SHARE:
                found.append(
                    f"scene {scene}, {camera} camera: the picture must be near {REFERENCE.name} (mean difference at "
                    f"most {MEAN_DIFFERENCE}, {GREAT_SHARE:.0%} of pixels far off), got {mean:.1f} and {share:.1%}; "
                    "try another MUJOCO_GL (egl, osmesa, glfw) or other graphics drivers"
                )
    return found


def check() -> list[str]:
    """What is wrong with drawing on this machine, a sentence each; empty when all is well."""
    try:
        drawn = draw()
    except DrawingError as error:
        return [str(error)]
    with Image.open(REFERENCE) as picture:
        return differences(drawn, np.asarray(picture.convert("RGB")))


def store() -> None:
    """Draw the reference anew."""
    Image.fromarray(draw()).save(REFERENCE, optimize=True)
