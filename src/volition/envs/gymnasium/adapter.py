"""From `reset`, `step` and `render` to the one interface that recording and evaluation know.

    WorldEnv(config, world)     implements records.Env
    RestingEnv(config, world)   of a robot that is told motions and its gripper: can also wait
    World                       what differs between families: how one stands at a start, acts, is looked at

Such an environment has one task an episode, which cannot go on under another: so there are no chains.
An episode that ended without success (`terminated`) stays as it is, and is no success however often it is stepped.
"""

from __future__ import annotations

import dataclasses
from abc import ABC, abstractmethod
from dataclasses import dataclass
from typing import Any, Protocol, runtime_checkable

import numpy as np
from PIL import Image

from volition.contract import Camera, RobotSpec, require_equal
from volition.names import suggest
from volition.records import Env, Observation, Start

FILM = 200  # pixels of a frame, each way


@dataclass(frozen=True, kw_only=True)
class After:
    """What a step came to."""

    success: bool
    over: bool  # the world can be stepped no more


@runtime_checkable
class World(Protocol):
    """One simulator with a task at a time."""

    def stand(self, start: Start) -> None: ...  # bit-exact, whatever ran before
    def step(self, action: np.ndarray) -> After: ...  # float64[A], as the spec's action space says
    def pictures(self) -> dict[str, np.ndarray]: ...  # camera -> uint8[any height, any width, 3], of now
    def state(self) -> np.ndarray: ...  # float[S]
    def instructions(self, task: str, split: str) -> tuple[str, ...]: ...
    def close(self) -> None: ...


@dataclass(frozen=True, kw_only=True)
class OneTask(ABC):
    """What configs of this style share. Abstract: `tasks`, `max_steps`, `robot`, `open`, `about` are each one's own."""

    # Height and width of every picture, which is made to be so. An evaluation takes it from its checkpoint.
    picture_size: tuple[int, int] = (128, 128)

    @property
    @abstractmethod
    def tasks(self) -> tuple[str, ...]:
        """Every task that can be judged."""

    @property
    @abstractmethod
    def max_steps(self) -> int:
        """Control steps that a task has, the longest of them: a world ends those that have fewer (`After.over`)."""

    @abstractmethod
    def robot(self) -> tuple[RobotSpec, tuple[str, ...]]:
        """Its spec without cameras, and their names."""

    @abstractmethod
    def open(self) -> World:
        """In the process that will own it."""

    @abstractmethod
    def about(self) -> dict[str, str]:
        """Simulator and renderer, for people."""

    @property
    def spec(self) -> RobotSpec:
        spec, names = self.robot()
        height, width = self.picture_size
        return dataclasses.replace(spec, cameras=tuple(Camera(name=n, height=height, width=width) for n in names))

    @property
    def scenes(self) -> tuple[str, ...]:
        return ("",)

    @property
    def slots_per_worker(self) -> int:
        return 1

    def make(self) -> Env:
        return WorldEnv(self, self.open())

    def fit(self, robot: RobotSpec) -> OneTask:
        """With this robot's size of pictures; everything else must be equal."""
        sizes = {*robot.image_sizes.values()}
        fitted = dataclasses.replace(self, picture_size=sizes.pop()) if len(sizes) == 1 else self
        require_equal(robot, fitted.spec, left_name="the checkpoint's robot", right_name=type(self).__name__)
        return fitted

    def chains(self, count: int, seed: int | None = None) -> list[Start]:
        raise ValueError(f"{type(self).__name__} has one task an episode and so no chains: use --starts")

    def feasible(self, start: Start) -> tuple[str, ...]:
        self.check(start)
        return start.tasks

    def check(self, start: Start) -> None:
        """ValueError for a start that is none of its."""
        if len(start.tasks) != 1:
            raise ValueError(f"start.tasks must be one task, for an episode has one here, got {start.tasks}")
        if start.tasks[0] not in self.tasks:
            raise ValueError(f"there is no task {start.tasks[0]!r}{suggest(start.tasks[0], self.tasks)}")
        if start.scene:
            raise ValueError(f"start.scene must be empty, for there is one scene only, got {start.scene!r}")


class WorldEnv:
    """Implements `records.Env`."""

    def __init__(self, config: OneTask, world: World):
        self.config, self.world = config, world
        self._spec = config.spec
        self._task, self._begun, self._after = "", False, After(success=False, over=False)

    @property
    def spec(self) -> RobotSpec:
        return self._spec

    def reset(self, start: Start) -> None:
        self.config.check(start)
        self.world.stand(start)
        self._task, self._begun, self._after = start.tasks[0], False, After(success=False, over=False)

    def begin(self, task: str) -> None:
        if task != self._task:
            raise ValueError(f"only {self._task!r} can begin at a start that was made for it, got {task!r}")
        self._begun = True

    def observe(self, instruction: str) -> Observation:
        pictures = self.world.pictures()
        images = {name: resized(pictures[name], *size)[None] for name, size in self._spec.image_sizes.items()}
        state = np.asarray(self.world.state(), np.float32)[None]
        return Observation(images=images, state=state, instruction=instruction)

    def step(self, action: np.ndarray) -> bool:
        if not self._begun:
            raise ValueError("a task must have begun before a step is judged: call begin(task) after reset(start)")
        dimensions = self._spec.action_space.dimensions
        given = np.asarray(action, np.float64)
        if given.shape != (len(dimensions),) or not np.isfinite(given).all():
            names = ", ".join(dimension.name for dimension in dimensions)
            raise ValueError(f"an action must be {len(dimensions)} finite numbers, {names}; got {given.tolist()}")
        if not self._after.over:
            low, high = (np.array([getattr(d, end) for d in dimensions]) for end in ("low", "high"))
            self._after = self.world.step(np.clip(given, low, high))
        return self._after.success

    def instructions(self, task: str, split: str) -> tuple[str, ...]:
        if task not in self.config.tasks or split not in ("train", "validation"):
            raise ValueError(f"a task of {list(self.config.tasks)} and split train or validation, got {task}, {split}")
        return self.world.instructions(task, split)

    def frame(self) -> np.ndarray:
        """uint8[200, 200, 3] of the first camera."""
        return resized(next(iter(self.world.pictures().values())), FILM, FILM)

    def close(self) -> None:
        self.world.close()


class RestingEnv(WorldEnv):
    """Implements `evaluation.episodes.Resting`: every action is a motion but its last number, which is the gripper."""

    open_hand = 1.0  # what the gripper is told before anything is, and what opens it

    def reset(self, start: Start) -> None:
        super().reset(start)
        self._hand = self.open_hand

    def step(self, action: np.ndarray) -> bool:
        success = super().step(action)
        self._hand = float(action[-1])
        return success

    def rest(self) -> np.ndarray:
        """float32[A]: no motion, the gripper as it was told last."""
        return np.array([*np.zeros(self._spec.action_space.dim - 1), self._hand], np.float32)


def resized(picture: np.ndarray, height: int, width: int) -> np.ndarray:
    """uint8[height, width, 3]; as it is where it has that size."""
    if picture.shape[:2] == (height, width):
        return np.array(picture)
    return np.asarray(Image.fromarray(np.ascontiguousarray(picture)).resize((width, height), Image.Resampling.BILINEAR))


def said(words: str, split: str) -> tuple[str, ...]:
    """For a task that has no sentence of its own, only a name."""
    return (words, f"do this: {words}") if split == "train" else (f"please {words}",)


def needed(package: str, extra: Any) -> ValueError:
    """What is missing, and how to get it."""
    return ValueError(f"this environment needs the package {package}, which is not here: {extra}")
