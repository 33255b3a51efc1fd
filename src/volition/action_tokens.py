"""Numbers as tokens: every component of an action is one of the last ids of a vocabulary.

    values --clip, digitise--> digits 1..bins --base - digit--> ids          ids --> centres of the cells

`bins` counts the edges of equal cells between `low` and `high`, as RoboVLMs and OpenVLA do: digit `bins` is reached by
`high` alone and decodes as the last cell.
"""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np

RESERVED = 10  # ids that the reference leaves free below the special tokens


@dataclass(frozen=True, kw_only=True)
class ActionTokenizer:
    """`base` is one above the largest action id; action ids lie strictly between `begin` and `end`."""

    base: int
    bins: int = 256
    low: float = -1.0
    high: float = 1.0

    def __post_init__(self) -> None:
        if self.bins < 2 or self.base < self.bins:
            raise ValueError(f"bins must be in 2..base, so that no id is below 0; got {self.bins} and base {self.base}")
        if not self.low < self.high:
            raise ValueError(f"low must be below high, got {self.low} and {self.high}")

    @classmethod
    def at_end_of(
        cls, vocab_size: int, special_tokens: int, *, bins: int = 256, low: float = -1.0, high: float = 1.0
    ) -> ActionTokenizer:
        """Where the reference puts action tokens: `special_tokens` and ten more ids stay free at the end."""
        return cls(base=vocab_size - special_tokens - RESERVED, bins=bins, low=low, high=high)

    @property
    def begin(self) -> int:
        return self.base - self.bins - 1

    @property
    def end(self) -> int:
        return self.base

    @property
    def edges(self) -> np.ndarray:
        return np.linspace(self.low, self.high, self.bins)

    @property
    def centres(self) -> np.ndarray:
        edges = self.edges
        return (edges[:-1] + edges[1:]) / 2

    def encode(self, values: np.ndarray) -> np.ndarray:
        """Any shape -> int64 ids of that shape; values outside low..high count as the nearer end."""
        if np.isnan(values).any():
            raise ValueError("actions must be numbers to become tokens, at least one is NaN")
        return self.base - np.digitize(np.clip(values, self.low, self.high), self.edges)

    def decode(self, ids: np.ndarray) -> np.ndarray:
        """Any shape of integers -> float64 values of that shape; an id that is no action counts as the nearest one."""
        return self.centres[np.clip(self.base - np.asarray(ids) - 1, 0, self.bins - 2)]
