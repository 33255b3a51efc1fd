"""Comparing a drawn sheet of tiles with the one that was stored: what the simulators' self-tests share.

Rasterisers differ a little at edges, so a mean difference is allowed, and a share of pixels that differ much; a missing
object or texture, a wrong camera or swapped colours are beyond both.
"""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass
from pathlib import Path

import numpy as np
from PIL import Image

GREAT_DIFFERENCE = 48  # of 255
MUJOCO = "try another MUJOCO_GL (egl, osmesa, glfw) or other graphics drivers"


@dataclass(frozen=True, kw_only=True)
class Sheet:
    """Pictures of `rows` cameras by `columns` scenes, squares of `side` pixels, and how far off they may be."""

    rows: tuple[str, ...]
    columns: tuple[str, ...]
    side: int = 96
    mean_difference: float = 3.0  # of 255
    hint: str  # what to try where they are too far off
    great_share: float = 0.02  # of the pixels, that differ by more than GREAT_DIFFERENCE

    def differences(self, drawn: np.ndarray, expected: np.ndarray) -> list[str]:
        """A sentence for every tile of `drawn` uint8[rows * side, columns * side, 3] that is not as expected."""
        found = []
        for column, scene in enumerate(self.columns):
            for row, camera in enumerate(self.rows):
                down, across = (slice(i * self.side, (i + 1) * self.side) for i in (row, column))
                error = np.abs(drawn[down, across].astype(float) - expected[down, across].astype(float))
                mean, share = float(error.mean()), float((error.max(axis=-1) > GREAT_DIFFERENCE).mean())
                if mean > self.mean_difference or share > self.great_share:
                    found.append(
                        f"{scene}, {camera} camera: the picture must be near ours (mean difference at most "
                        f"{self.mean_difference}, {self.great_share:.0%} of pixels far off), got {mean:.1f} and "
                        f"{share:.1%}; {self.hint}"
                    )
        return found

    def check(self, draw: Callable[[], np.ndarray], reference: Path) -> list[str]:
        """What is wrong with drawing on this machine, a sentence each; empty when all is well."""
        drawn = draw()
        with Image.open(reference) as picture:
            return self.differences(drawn, np.asarray(picture.convert("RGB")))


def store(draw: Callable[[], np.ndarray], reference: Path) -> None:
    """Draw the reference anew; then look at it."""
    Image.fromarray(draw()).save(reference, optimize=True)
