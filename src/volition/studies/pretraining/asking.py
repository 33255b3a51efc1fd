"""What questions about any simulator's pictures are made of."""

from __future__ import annotations

import math
from collections.abc import Sequence
from dataclasses import dataclass
from typing import TypeVar

import numpy as np

from volition.backbones.tiny import NUM_LOCATIONS

T = TypeVar("T")


@dataclass(frozen=True)
class Question:
    asked: str
    answer: str
    thing: str = ""  # the one thing that it is about, if it is


def location(share: float) -> str:
    """0..1 -> its token."""
    return f"<loc{int(np.clip(share * NUM_LOCATIONS, 0, NUM_LOCATIONS - 1)):02d}>"


def signed_root(metres: float, reach: float) -> float:
    """-1..1, the signed square root of the share of `reach`: finest near zero."""
    return math.copysign(math.sqrt(min(abs(metres), reach) / reach), metres)


def pick(things: Sequence[T], rng: np.random.Generator) -> T:
    """As rng.choice, which would make an array of them first."""
    return things[int(rng.integers(len(things)))]
