"""Whether a task has been done: CALVIN's own judge, made from the user's clone. Nothing of it is written anew.

Judging all 34 takes it twice as long as a step of physics, nearly all of it for the six rotations; a block that has
turned by less than 60 degrees in all cannot have turned by 60 about the vertical, so those are not asked for.
"""

from __future__ import annotations

import math
from functools import cache
from operator import mul
from pathlib import Path
from typing import Any

from volition.envs.calvin.shims import Theirs
from volition.envs.calvin.situations import BLOCKS, TASKS

# Half the cosine of a turn is the product of two unit quaternions; a little less, for rounding.
_TURNED = math.cos(math.radians(60.0) / 2) + 1e-6


class Judge:
    """`start` and `now` are the infos of the simulator at two moments."""

    def __init__(self, theirs: Theirs, clone: Path) -> None:
        config = theirs.omegaconf.load(clone / "conf" / "tasks" / "new_playtable_tasks.yaml")
        self._theirs = theirs.tasks(theirs.omegaconf.to_container(config.tasks))  # plain lists: read at every step
        known = set(self._theirs.tasks)
        if known != set(TASKS):
            raise ValueError(
                f"{clone} must define CALVIN's {len(TASKS)} tasks, but lacks {sorted(set(TASKS) - known)} and has "
                f"{sorted(known - set(TASKS))} besides"
            )

    def done(self, start: dict[str, Any], now: dict[str, Any]) -> frozenset[str]:
        """Every task that has been done between the two moments."""
        still = tuple(color for color in BLOCKS if not _has_turned(color, start, now))
        return frozenset(self._theirs.get_task_info_for_set(start, now, _possible(still)))


@cache
def _possible(still: tuple[str, ...]) -> frozenset[str]:
    """Tasks that may be done while these blocks have not turned."""
    turning = tuple(f"rotate_{color}" for color in still)
    return frozenset(task for task in TASKS if not task.startswith(turning))


def _has_turned(color: str, start: dict[str, Any], now: dict[str, Any]) -> bool:
    before, after = (info["scene_info"]["movable_objects"][f"block_{color}"]["current_orn"] for info in (start, now))
    return abs(sum(map(mul, before, after))) < _TURNED
