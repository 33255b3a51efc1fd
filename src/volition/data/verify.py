"""Does a dataset mean what its contract says? Its own numbers answer: `volition verify PATH`.

    verify(path) -> [Finding]      one a check, in the order of CHECKS

A flipped gripper or an action stored one step late costs a policy most of its success and raises no error anywhere.
The checks compare states with actions and pictures with each other, and need neither a model nor the robot; with an
environment at hand, `studies.replay` also repeats the demonstrations.
"""

from __future__ import annotations

from collections.abc import Callable, Sequence
from pathlib import Path

from volition.contract import RobotSpec
from volition.data.checks import cameras, gripper, integrity, motion
from volition.data.checks.evidence import Evidence, gather
from volition.data.checks.finding import Finding
from volition.data.open import detect, load_spec
from volition.records import Episode

CHECKS: tuple[Callable[[Evidence], Finding], ...] = (
    integrity.readable,
    integrity.finite,
    integrity.ranges,
    integrity.instructions,
    integrity.duplicates,
    integrity.frozen,
    integrity.torn,
    integrity.stillness,
    integrity.rate,
    motion.axes,
    motion.scale,
    motion.rotation,
    motion.lag,
    gripper.gripper,
    cameras.cameras,
)
BEFORE_NUMBERS = (integrity.readable, integrity.finite)  # what can be said where no episode is left


def verify(
    path: Path,
    *,
    max_episodes: int = 500,
    max_pictured: int = 40,
    progress: Callable[[int, int], None] = lambda done, total: None,
) -> list[Finding]:
    """Findings about a dataset folder, from at most so many episodes, evenly spread.

    Pictures and numbers are read from the dataset itself, not from its frame cache.
    """
    episodes, spec = detect(path).load(path), load_spec(path)
    return verify_episodes(episodes, spec, max_episodes=max_episodes, max_pictured=max_pictured, progress=progress)


def verify_episodes(
    episodes: Sequence[Episode],
    spec: RobotSpec,
    *,
    max_episodes: int = 500,
    max_pictured: int = 40,
    progress: Callable[[int, int], None] = lambda done, total: None,
) -> list[Finding]:
    """The same for episodes from anywhere."""
    if max_episodes < 1 or max_pictured < 0:
        raise ValueError(
            f"max_episodes must be at least 1 and max_pictured at least 0, got {max_episodes} and {max_pictured}"
        )
    evidence = gather(episodes, spec, max_episodes=max_episodes, max_pictured=max_pictured, progress=progress)
    return [check(evidence) for check in (CHECKS if evidence.traces else BEFORE_NUMBERS)]
