"""Comparing a drawn sheet of tiles with the one that was stored: what the simulators' self-tests share.

Rasterisers differ a little at edges, so a mean difference is allowed, and a share of pixels that differ much; a missing
object, a wrong camera or swapped colours are beyond both.
"""

from __future__ import annotations

from collections.abc import Callable, Sequence
from pathlib import Path

import numpy as np
from PIL import Image

from volition.envs.gl import DrawingError

SIDE = 96  # pixels of a tile, which is square
MEAN_DIFFERENCE = 3.0  # of 255
GREAT_DIFFERENCE, GREAT_SHARE = 48, 0.02  # of 255, of the pixels


def differences(
    drawn: np.ndarray, expected: np.ndarray, rows: Sequence[str], columns: Sequence[str], reference: str
) -> list[str]:
    """A sentence for every tile of `drawn` uint8[rows * SIDE, columns * SIDE, 3] that is not as expected."""
    found = []
    for column, scene in enumerate(columns):
        for row, camera in enumerate(rows):
            tile = np.s_[row * SIDE : (row + 1) * SIDE, column * SIDE : (column + 1) * SIDE]
            error = np.abs(drawn[tile].astype(float) - expected[tile].astype(float))
            mean, share = float(error.mean()), float((error.max(axis=-1) > GREAT_DIFFERENCE).mean())
            if mean > MEAN_DIFFERENCE or share > GREAT_SHARE:
                found.append(
                    f"{scene}, {camera} camera: the picture must be near {reference} (mean difference at most "
                    f"{MEAN_DIFFERENCE}, {GREAT_SHARE:.0%} of pixels far off), got {mean:.1f} and {share:.1%}; "
                    "try another MUJOCO_GL (egl, osmesa, glfw) or other graphics drivers"
                )
    return found


def check(
    draw: Callable[[], np.ndarray], reference: Path, compare: Callable[[np.ndarray, np.ndarray], list[str]]
) -> list[str]:
    """What is wrong with drawing on this machine, a sentence each; empty when all is well."""
    try:
        drawn = draw()
    except DrawingError as error:
        return [str(error)]
    with Image.open(reference) as picture:
        return compare(drawn, np.asarray(picture.convert("RGB")))
