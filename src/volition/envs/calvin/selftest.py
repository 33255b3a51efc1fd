"""Does this machine draw CALVIN as it should? `volition doctor calvin` asks `check`, in a process of its own.

A fixed state of every scene is drawn by both cameras and compared with the renderer's own picture beside this file.
After a wanted change: `store(lambda: draw(clone, renderer), reference(renderer))`, and look at the picture.
"""

from __future__ import annotations

from pathlib import Path

import numpy as np

from volition.envs.calvin.initial import ROBOT_OBS, official_scene
from volition.envs.calvin.simulator import CAMERAS, Renderer, Simulator
from volition.envs.calvin.situations import SCENES, initial_situations
from volition.envs.selftest import Sheet

SHEET = Sheet(
    rows=CAMERAS,
    columns=tuple(f"scene {scene}" for scene in SCENES),
    side=72,
    mean_difference=4.0,
    great_share=0.03,
    hint="try --renderer tiny, which needs no graphics, or other drivers for egl",
)


def reference(renderer: Renderer) -> Path:
    return Path(__file__).with_name(f"selftest_{renderer}.png")


def draw(clone: Path, renderer: Renderer) -> np.ndarray:
    """uint8[2 * side, 4 * side, 3]: scenes A to D from left to right, static camera above, gripper camera below.

    Doors, drawers, lamps and blocks stand otherwise in each.
    """
    columns = []
    for scene, number in zip(SCENES, (7, 68, 121, 174)):
        simulator = Simulator(clone, scene, renderer=renderer, largest=SHEET.side)
        simulator.reset(ROBOT_OBS, official_scene(initial_situations()[number]))
        columns.append(np.concatenate([simulator.render(camera, SHEET.side, SHEET.side) for camera in CAMERAS]))
        simulator.close()
    return np.concatenate(columns, axis=1)


def check(clone: Path, renderer: Renderer) -> list[str]:
    """What is wrong with the pictures, a sentence each; empty when all is well."""
    return SHEET.check(lambda: draw(clone, renderer), reference(renderer))
