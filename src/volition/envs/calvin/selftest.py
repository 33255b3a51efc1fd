"""Does this machine draw CALVIN as it should? `volition doctor calvin` asks `check`, in a process of its own.

A fixed state of every scene is drawn by both cameras and compared with the renderer's own picture beside this file.
Rasterisers differ at edges, so a mean difference is allowed, and a share of pixels that differ much; a missing texture
or object, a wrong camera or swapped colours are beyond both.
"""

from __future__ import annotations

from pathlib import Path

import numpy as np
from PIL import Image

from volition.envs.calvin.initial import ROBOT_OBS, official_scene
from volition.envs.calvin.simulator import CAMERAS, Renderer, Simulator
from volition.envs.calvin.situations import SCENES, initial_situations

SIDE = 72
MEAN_DIFFERENCE = 4.0  # of 255
GREAT_DIFFERENCE, GREAT_SHARE = 48, 0.03  # of 255, of the pixels


def reference(renderer: Renderer) -> Path:
    return Path(__file__).with_name(f"selftest_{renderer}.png")


def draw(clone: Path, renderer: Renderer) -> np.ndarray:
    """uint8[2 * SIDE, 4 * SIDE, 3]: scenes A to D from left to right, static camera above, gripper camera below.

    Doors, drawers, lamps and blocks stand otherwise in each.
    """
    columns = []
    for scene, number in zip(SCENES, (7, 68, 121, 174)):
        simulator = Simulator(clone, scene, renderer=renderer, largest=SIDE)
        simulator.reset(ROBOT_OBS, official_scene(initial_situations()[number]))
        columns.append(np.concatenate([simulator.render(camera, SIDE, SIDE) for camera in CAMERAS]))
        simulator.close()
    return np.concatenate(columns, axis=1)


def differences(drawn: np.ndarray, expected: np.ndarray) -> list[str]:
    """A sentence for every tile of `drawn` uint8[2 * SIDE, 4 * SIDE, 3] that is not as expected."""
    found = []
    for column, scene in enumerate(SCENES):
        for row, camera in enumerate(CAMERAS):
            tile = np.s_[row * SIDE : (row + 1) * SIDE, column * SIDE : (column + 1) * SIDE]
            error = np.abs(drawn[tile].astype(float) - expected[tile].astype(float))
            mean, share = float(error.mean()), float((error.max(axis=-1) > GREAT_DIFFERENCE).mean())
            if mean > MEAN_DIFFERENCE or share > GREAT_SHARE:
                found.append(
                    f"scene {scene}, {camera} camera: the picture must be near ours (mean difference at most "
                    f"{MEAN_DIFFERENCE}, {GREAT_SHARE:.0%} of pixels far off), got {mean:.1f} and {share:.1%}"
                )
    return found


def check(clone: Path, renderer: Renderer) -> list[str]:
    """What is wrong with the pictures, a sentence each; empty when all is well."""
    drawn = draw(clone, renderer)
    with Image.open(reference(renderer)) as picture:
        return differences(drawn, np.asarray(picture.convert("RGB")))


def store(clone: Path, renderer: Renderer) -> None:
    """Draw the reference anew; then look at it."""
    Image.fromarray(draw(clone, renderer)).save(reference(renderer), optimize=True)
