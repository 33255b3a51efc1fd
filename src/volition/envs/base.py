"""What an environment is before it is made: the one interface of recording, evaluation, training recipes and the
command line. An environment is added by a frozen dataclass that has these members; nothing else knows its name.

    EnvConfig --make (in a worker)--> Env (records.py): reset, begin, observe, step, instructions, frame, close
    EnvConfig.fit(checkpoint's robot) --> the same with its cameras, or ValueError
    EnvConfig.chains(1000) --> [Start, ...]      several tasks in a row, by the environment's protocol

One that can be recorded makes `data.perform.RecordableEnv`s: they also have `spec` and `demonstrate`. One whose `Env`
has `achieved` (evaluation.episodes.Watcher) can be asked whether a policy listens. A plug-in is tested by being listed
in `tests/environments.py`.
"""

from __future__ import annotations

import dataclasses
import math
from collections.abc import Sequence
from dataclasses import dataclass
from typing import Any, Protocol, runtime_checkable

from volition.contract import RobotSpec
from volition.names import suggest
from volition.records import Env, Start


@runtime_checkable
class EnvConfig(Protocol):
    """A frozen, keyword-only dataclass: it travels to worker processes and into config.json; its fields are flags."""

    @property
    def spec(self) -> RobotSpec: ...  # what actions and observations mean, known without a simulator
    @property
    def tasks(self) -> tuple[str, ...]: ...  # every task that can be judged
    @property
    def scenes(self) -> tuple[str, ...]: ...  # that episodes are dealt to; ("",) where there is one only
    @property
    def max_steps(self) -> int: ...  # control steps that a task has by its protocol, the longest
    @property
    def slots_per_worker(self) -> int: ...  # environments that one process can hold; 1 where a simulator has globals
    def make(self) -> Env: ...  # in the process that will own it
    def fit(self, robot: RobotSpec) -> EnvConfig: ...  # with its cameras; ValueError prints every other difference
    def chains(self, count: int, seed: int | None = None) -> list[Start]: ...
    def feasible(self, start: Start) -> tuple[str, ...]: ...
    def about(self) -> dict[str, str]: ...

    # `chains`: None: the protocol's own list and initial states, from its beginning; a seed: others, drawn by the same
    # rules. Element i is the same for every count above i. ValueError where there are none, or not so many.
    # `feasible`: every task that could be begun at this start: what a policy may be told in place of its own.
    # `about`: what a result depends on besides this config, for people: simulator and version, renderer.

    @classmethod
    def __subclasshook__(cls, other: type) -> bool:
        """A class is one by the names of its members, so that the command line can draw the fields of any of them."""
        own = {*dir(other), *getattr(other, "__dataclass_fields__", ())}
        return all(name in own for name in vars(EnvConfig) if name[0] != "_")


@runtime_checkable
class Movable(Protocol):
    """A config whose camera can be moved from where policies learned to look through it: a row of `--probes`."""

    def camera_moved(self) -> tuple[str, EnvConfig]: ...  # what was done, for people; the same with the camera there


def turned_camera(offset: tuple[float, float, float]) -> tuple[str, tuple[float, float, float]]:
    """What `camera_moved` does to an offset of the static camera (azimuth, elevation, distance), and how it is told."""
    azimuth, elevation, distance = offset
    return "static camera turned by 5 degrees", (azimuth + math.radians(5.0), elevation, distance)


@runtime_checkable
class Counted(Protocol):
    """A config of an environment with a fixed number of starts: a seed beyond it is one of them again."""

    @property
    def starts_per_task(self) -> int: ...


OF_RECORDING = {"of_recording": True}  # metadata of a config's field that says how demonstrations are made, and no more


def as_evaluated(env: EnvConfig) -> EnvConfig:
    """With the usual values of what only recording asks for: configs that are equal then evaluate alike."""
    config: Any = env
    usual = {
        field.name: field.default if field.default_factory is dataclasses.MISSING else field.default_factory()
        for field in dataclasses.fields(config)
        if field.metadata.get("of_recording")
    }
    return dataclasses.replace(config, **usual)


@dataclass(frozen=True, kw_only=True)
class Finding:
    """One thing that `volition doctor` looked at."""

    what: str
    fine: bool
    found: str  # what was found and, if that is not fine, how to mend it


@runtime_checkable
class Examinable(Protocol):
    """A config that can say whether this machine has what its environment needs: `volition doctor ENV`."""

    def examine(self) -> list[Finding]: ...


def require_tasks(env: EnvConfig, tasks: Sequence[str]) -> None:
    """ValueError that names the nearest for the first one that the environment does not have."""
    for task in tasks:
        if task not in env.tasks:
            raise ValueError(f"the environment has no task {task!r}{suggest(task, env.tasks)}")
