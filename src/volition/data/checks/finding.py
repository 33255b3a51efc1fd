"""What a check says."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from typing import Literal

Level = Literal["ok", "note", "warning", "error"]
LEVELS: tuple[Level, ...] = ("ok", "note", "warning", "error")  # from good to bad


@dataclass(frozen=True, kw_only=True)
class Finding:
    """note: could not be told, or is worth knowing. warning: look at it. error: do not train on this as it is."""

    name: str
    level: Level
    said: str  # one sentence with numbers
    fix: str = ""  # what to do; empty where nothing is to be done

    def __post_init__(self) -> None:
        assert self.level in LEVELS, self.level
        assert bool(self.fix) == (self.level in ("warning", "error")), f"{self.name}: say what to do, or nothing"


def listed(names: Sequence[str], shown: int = 4) -> str:
    """'episode 3, episode 7 and 12 more'"""
    more = f" and {len(names) - shown} more" if len(names) > shown else ""
    return ", ".join(names[:shown]) + more
