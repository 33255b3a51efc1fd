"""One environment and what it can be asked to do; lives in a worker process. What it answers is made plain here.

Begin -> Moment      stand as the trial says (or go on, in a chain), take the command, look
Play  -> Moment      execute actions, stop at success, look only if more is to come
Replay -> Film       repeat recorded actions and film them
Ask   -> Worded      say commands without giving them
"""

from __future__ import annotations

import math
from collections.abc import Mapping
from dataclasses import dataclass
from typing import Any, TypeAlias

import numpy as np

from volition.evaluation.episodes import Command, Measuring, Resting, Trial, Watcher
from volition.records import Env, Observation


@dataclass(frozen=True, kw_only=True)
class Begin:
    """Give command number `index`; the world is reset only before the first."""

    trial: Trial
    index: int

    def __str__(self) -> str:
        return f"'{self.trial}', command {self.index + 1}"


@dataclass(frozen=True, kw_only=True)
class Play:
    """Execute `actions` float[n, A]; `last` says that nobody will look afterwards."""

    trial: Trial
    actions: np.ndarray
    last: bool

    def __str__(self) -> str:
        return f"'{self.trial}'"


@dataclass(frozen=True, kw_only=True)
class Replay:
    """Repeat the actions of every attempt, one float[n, A] each, and film from command `since` on."""

    trial: Trial
    actions: tuple[np.ndarray, ...]
    every: int
    since: int = 0

    def __str__(self) -> str:
        return f"the replay of '{self.trial}'"


@dataclass(frozen=True, kw_only=True)
class Ask:
    """How would these commands be said?"""

    commands: tuple[Command, ...]

    def __str__(self) -> str:
        return "the wordings of all commands"


Request: TypeAlias = Begin | Play | Replay | Ask


@dataclass(frozen=True, kw_only=True)
class Moment:
    """Where an attempt stands. `observation` is None when it is over."""

    observation: Observation | None
    instruction: str
    num_executed: int
    success: bool
    achieved: tuple[str, ...] | None
    measures: dict[str, float | bool] | None = None
    rest: np.ndarray | None = None  # float32[A]: how the robot waits now; None where the environment does not say


@dataclass(frozen=True, kw_only=True)
class Film:
    """Frames of an episode in order, uint8[n, height, width, 3], and whether it ended as recorded."""

    frames: np.ndarray
    success: bool
    first: Observation  # what the policy saw when it was given the first command that is filmed


@dataclass(frozen=True, kw_only=True)
class Worded:
    """An instruction for every command."""

    instructions: tuple[str, ...]


@dataclass(frozen=True, kw_only=True)
class Made:
    """All environments of a process are there."""


@dataclass(frozen=True, kw_only=True)
class Failure:
    traceback: str


class Slot:
    """An environment and the command it is under."""

    def __init__(self, env: Any):
        self._env: Env = env
        self._instruction = ""

    def answer(self, request: Request) -> Moment | Film | Worded:
        match request:
            case Begin():
                return self._begin(request)
            case Play():
                return self._play(request)
            case Replay():
                return self._replay(request)
            case Ask():
                return Worded(instructions=tuple(self._words(command) for command in request.commands))

    def close(self) -> None:
        self._env.close()

    def _begin(self, request: Begin) -> Moment:
        if request.index == 0:
            self._env.reset(request.trial.start)
        self._take(request.trial.commands[request.index])
        return self._moment(0, success=False, last=False)

    def _play(self, request: Play) -> Moment:
        num_executed, success = 0, False
        while num_executed < len(request.actions) and not success:
            success = bool(self._env.step(request.actions[num_executed]))
            num_executed += 1
        return self._moment(num_executed, success=success, last=success or request.last)

    def _replay(self, request: Replay) -> Film:
        frames, success, step, first = [], False, 0, None
        self._env.reset(request.trial.start)
        for index, (command, actions) in enumerate(zip(request.trial.commands, request.actions)):
            self._take(command)
            success = False
            if index == request.since:
                first = self._env.observe(self._instruction)
            for action in actions:
                if first is not None:
                    if step % request.every == 0:
                        frames.append(self._env.frame())
                    step += 1
                success = bool(self._env.step(action))
        assert first is not None, f"{request} has no command {request.since + 1} to film from"
        frames.append(self._env.frame())
        return Film(frames=np.stack(frames), success=success, first=first)

    def _take(self, command: Command) -> None:
        self._instruction = self._words(command)
        self._env.begin(command.task)

    def _words(self, command: Command) -> str:
        wordings = self._env.instructions(command.task, command.split)
        if not wordings:
            raise ValueError(f"the environment has no {command.split!r} wording of the task {command.task!r}")
        return wordings[command.wording % len(wordings)]

    def _moment(self, num_executed: int, *, success: bool, last: bool) -> Moment:
        return Moment(
            observation=None if last else self._env.observe(self._instruction),
            rest=None if last or not isinstance(self._env, Resting) else np.asarray(self._env.rest(), np.float32),
            instruction=self._instruction,
            num_executed=num_executed,
            success=success,
            achieved=tuple(sorted(self._env.achieved())) if last and isinstance(self._env, Watcher) else None,
            measures=_checked(self._env.measures()) if last and isinstance(self._env, Measuring) else None,
        )


def _checked(measures: Mapping[str, Any]) -> dict[str, float | bool]:
    """Plain values, also of numpy's scalars; ValueError for what a file of results cannot hold."""
    plain = {name: value.item() if isinstance(value, np.generic) else value for name, value in measures.items()}
    for name, value in plain.items():
        if not isinstance(value, bool | float | int) or not math.isfinite(value):
            raise ValueError(
                f"a measure must be a finite number, or a bool, got {name}={value!r}; leave it out instead"
            )
    return plain
