"""What simulators with cubes on a table ask of where these stand."""

from __future__ import annotations

from collections.abc import Iterable
from itertools import permutations

import numpy as np


def one_over_another(positions: Iterable[np.ndarray], half: float) -> bool:
    """Whether a block stands on another one, or falls on it.

    `positions`: the middle of each, float64[3], metres; `half`: of a block's height and width, metres.
    """
    offsets = (above - below for above, below in permutations(positions, 2))
    return any(np.linalg.norm(offset[:2]) < 1.5 * half and offset[2] > half for offset in offsets)
