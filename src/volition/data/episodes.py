"""What a reader gives: episodes, and a word about those that it had to leave out."""

from __future__ import annotations

from collections.abc import Iterable, Sequence
from typing import TypeVar

from volition.records import Episode

Kind = TypeVar("Kind", bound=Episode)


class Episodes(list[Kind]):
    """A list of episodes that also knows what of the dataset is not in it."""

    def __init__(self, episodes: Iterable[Kind], *, left_out: int = 0, reasons: Sequence[str] = ()) -> None:
        """`left_out`: how many are damaged or missing; `reasons` name their files, and may each speak of several."""
        super().__init__(episodes)
        self.left_out, self.reasons = left_out, tuple(reasons)


def left_out(episodes: Sequence[Episode]) -> int:
    """How many a reader left out; those that tell of damage when they are read are none of these."""
    return episodes.left_out if isinstance(episodes, Episodes) else 0


def reasons(episodes: Sequence[Episode]) -> tuple[str, ...]:
    return episodes.reasons if isinstance(episodes, Episodes) else ()
