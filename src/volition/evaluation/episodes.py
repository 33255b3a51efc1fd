"""What evaluation runs and what it finds: a Trial goes in, an EpisodeResult comes out.

    Trial(start, commands) --rollout--> EpisodeResult(attempts)      one attempt a command, ended by the first failure
                                        EpisodeResult(error="...")   what became of it cannot be said, and why

A single task is a trial with one command, a chain one with five, a language swap one whose command is another task's.
"""

from __future__ import annotations

import zlib
from collections.abc import Sequence
from dataclasses import dataclass, field
from typing import Any, Protocol, runtime_checkable

import numpy as np

from volition.records import Env, Start


@runtime_checkable
class Watcher(Env, Protocol):
    """An environment that can also say which of all its tasks have been done, whatever was asked."""

    def achieved(self) -> frozenset[str]: ...  # every task that was achieved at some step since `begin`


@runtime_checkable
class Resting(Env, Protocol):
    """An environment that can say how its robot waits: needed where time passes while a policy thinks."""

    def rest(self) -> np.ndarray: ...  # float32[A]: the action that leaves the robot as it is now


@runtime_checkable
class Measuring(Env, Protocol):
    """An environment that also reports numbers of what was done under a command: metres driven, whether it collided."""

    def measures(self) -> dict[str, float | bool]: ...  # since `begin`

    # `measures`: finite numbers, whose means are told, and yes or no as `bool`, of which rates are told. A name is left
    # out where it has no meaning, such as a ratio to nothing.


@dataclass(frozen=True, kw_only=True)
class Command:
    """What the policy is told to do, and by which of the environment's wordings (taken modulo their number)."""

    task: str
    split: str = "validation"
    wording: int = 0


@dataclass(frozen=True, kw_only=True)
class Trial:
    """One episode to run. The world stands as `start` says; `commands` are given one after the other."""

    start: Start
    commands: tuple[Command, ...]

    def __post_init__(self) -> None:
        if not self.commands:
            raise ValueError(f"a trial needs at least one command, got none for {self.start}")

    def noise(self, index: int) -> int:
        """A number for what a policy draws in its command `index`: another one for every start, and the same for every
        policy, way to say it and disturbance that is compared there."""
        return zlib.crc32(repr((self.start.seed, self.start.tasks, self.start.scene, index)).encode())

    def __str__(self) -> str:
        tasks = " > ".join(command.task for command in self.commands)
        scene = f" in scene {self.start.scene}" if self.start.scene else ""
        return f"{tasks}{scene} from seed {self.start.seed}"


@dataclass(frozen=True, kw_only=True)
class Attempt:
    """What became of one command."""

    task: str
    instruction: str
    success: bool
    num_steps: int
    num_calls: int  # how often the policy was asked
    achieved: tuple[str, ...] | None = None  # sorted; None where the environment is no Watcher
    measures: dict[str, float | bool] | None = None  # None where the environment is not Measuring
    actions: np.ndarray = field(repr=False, compare=False)  # float32[num_steps, A], as executed


@dataclass(frozen=True, kw_only=True)
class EpisodeResult:
    """A trial and what became of each command, up to and with the first that failed.

    With an `error` it is neither a success nor a failure: the environment or the policy broke after `attempts`.
    `repeats` says why it was begun again from its start before, which does not change what became of it.
    """

    trial: Trial
    attempts: tuple[Attempt, ...]
    error: str = ""
    repeats: tuple[str, ...] = field(default=(), compare=False)

    @property
    def task(self) -> str:
        return self.trial.commands[0].task

    @property
    def scene(self) -> str:
        return self.trial.start.scene

    @property
    def seed(self) -> int:
        return self.trial.start.seed

    @property
    def instruction(self) -> str:
        """The first that was given; "" where the environment broke before."""
        return self.attempts[0].instruction if self.attempts else ""

    @property
    def num_successes(self) -> int:
        return sum(attempt.success for attempt in self.attempts)

    @property
    def success(self) -> bool:
        """Whether every command was obeyed."""
        return not self.error and self.num_successes == len(self.trial.commands)

    @property
    def num_steps(self) -> int:
        return sum(attempt.num_steps for attempt in self.attempts)

    def to_json(self) -> dict[str, Any]:
        """Plain values, without the actions."""
        attempts = [
            {"task": a.task, "instruction": a.instruction, "success": a.success, "num_steps": a.num_steps}
            | ({} if a.achieved is None else {"achieved": list(a.achieved)})
            | ({} if a.measures is None else {"measures": a.measures})
            for a in self.attempts
        ]
        start = {"seed": self.seed, "tasks": list(self.trial.start.tasks), "scene": self.scene}
        found = {"start": start, "success": self.success, "num_successes": self.num_successes, "attempts": attempts}
        return found | ({"error": self.error} if self.error else {})


def judged(results: Sequence[EpisodeResult]) -> list[EpisodeResult]:
    """Those that can be counted. Raises ValueError where there is none, with the first reason."""
    found = [result for result in results if not result.error]
    if not found:
        reason = f"; the first, '{results[0].trial}': {results[0].error}" if results else ""
        raise ValueError(f"there must be an episode that could be judged, got none of {len(results)}{reason}")
    return found


def paired(
    first: Sequence[EpisodeResult], second: Sequence[EpisodeResult]
) -> list[tuple[EpisodeResult, EpisodeResult]]:
    """Results of the same trials, where both could be judged. ValueError where the trials are not the same."""
    if len(first) != len(second):
        raise ValueError(f"compared results must belong to the same trials, got {len(first)} and {len(second)}")
    for one, other in zip(first, second):
        if one.trial != other.trial:
            raise ValueError(f"compared results must belong to the same trials, got '{one.trial}' and '{other.trial}'")
    return [(one, other) for one, other in zip(first, second) if not (one.error or other.error)]


def last_line(error: str) -> str:
    """Of a traceback what went wrong: for where one line has to do. `error` is not empty."""
    return error.strip().splitlines()[-1].strip()


def troubles(results: Sequence[EpisodeResult]) -> dict[str, Any]:
    """What did not go as it should, counted apart from successes and failures: errors, and episodes done again."""
    wrong = [{"trial": str(result.trial), "error": result.error} for result in results if result.error]
    again = [{"trial": str(result.trial), "reasons": list(result.repeats)} for result in results if result.repeats]
    return {"num_errors": len(wrong), "errors": wrong, "repeated_episodes": again}
