"""CALVIN as an environment with tasks: what recording and evaluation step.

    env = CalvinSimConfig(scenes=("D",)).make()
    env.reset(Start(seed=0, tasks=("open_drawer",)))
    env.begin("open_drawer")                       # CALVIN's judge remembers this moment
    while not env.step(policy(env.observe("pull the handle to open the drawer"))): ...

Drawing happens in `observe` and `frame` alone; a step is a millisecond, a pair of pictures thirty.
"""

from __future__ import annotations

from collections.abc import Iterator
from itertools import islice
from typing import Any

import numpy as np

from volition.contract import RobotSpec
from volition.envs import demonstration
from volition.envs.calvin import expert
from volition.envs.calvin.annotations import sentences, taught
from volition.envs.calvin.clones import CALVIN, CALVIN_ENV
from volition.envs.calvin.config import CalvinSimConfig
from volition.envs.calvin.initial import ROBOT_OBS
from volition.envs.calvin.places import Place, draws
from volition.envs.calvin.simulator import Simulator
from volition.envs.calvin.situations import TASKS
from volition.records import Observation, Start

FILM_SIZE = (200, 200)
STILL = np.array([*np.zeros(6), 1.0])
_SETTLE_STEPS = 5
_PREPARE_STEPS = 120  # a scripted lift takes some 30; one that takes longer has failed
_PREPARE_ATTEMPTS = 20
_ROUNDING = 1e-4  # by which an action may be beyond -1..1


class CalvinEnv:
    """Implements `studies.corrections.Teacher`, `evaluation.episodes.Watcher` and `Resting`. One a process.

    The simulator is made at the first reset, so that asking for `spec` or sentences costs nothing.
    """

    def __init__(self, config: CalvinSimConfig | None = None) -> None:
        self.config = config or CalvinSimConfig()
        self._clone = CALVIN_ENV.find(self.config.calvin_env)
        self._sentences = CALVIN.find(self.config.calvin)
        self._simulator: Simulator | None = None
        self._task: str | None = None
        self._start: dict[str, Any] = {}
        self._now: dict[str, Any] = {}
        self._achieved: set[str] = set()
        self._pictures: dict[str, np.ndarray] | None = None  # of the present: who corrects a policy looks as well

    @property
    def spec(self) -> RobotSpec:
        return self.config.spec

    @property
    def tasks(self) -> tuple[str, ...]:
        return TASKS

    @property
    def simulator(self) -> Simulator:
        """Of the present scene; ValueError before the first reset."""
        if self._simulator is None:
            raise ValueError("the environment must be reset before it is used: call reset(Start(...)) first")
        return self._simulator

    def reset(self, start: Start) -> None:
        """Bit-exact, whatever ran before. A start whose first task needs a block in the hand has one afterwards.

        Raises ValueError for unknown tasks and scenes, and for tasks that cannot be done one after the other.
        """
        for place in islice(draws(start, self.config.scenes, self.config.placement), _PREPARE_ATTEMPTS):
            self._stand_at(place)
            if place.prepare is None or self._prepare(place.prepare):
                self._task = None
                return
        raise RuntimeError(f"the scripted lift before {start} failed {_PREPARE_ATTEMPTS} times")

    def begin(self, task: str) -> None:
        """The judge looks for what changes from this moment on."""
        if task not in TASKS:
            raise ValueError(f"task must be one of CALVIN's {len(TASKS)}, got {task!r}; known: {', '.join(TASKS)}")
        assert self.simulator
        self._task, self._start, self._achieved = task, self._now, set()

    def observe(self, instruction: str) -> Observation:
        """Both cameras now, uint8[1, height, width, 3]; state float32[1, 15], as CALVIN's robot_obs."""
        if self._pictures is None:
            sizes = self.config.image_sizes
            self._pictures = {name: self.simulator.render(name, *size)[None] for name, size in sizes.items()}
        images = {name: picture.copy() for name, picture in self._pictures.items()}
        state = self.simulator.robot_obs().astype(np.float32)[None]
        return Observation(images=images, state=state, instruction=instruction)

    def step(self, action: np.ndarray) -> bool:
        """Act for 1/30 s, float[7]; whether the begun task is done now. ValueError for a bad action."""
        if self._task is None:
            raise ValueError("a task must have begun before a step is judged: call begin(task) after reset(start)")
        self._now, self._pictures = self.simulator.step(_checked(action)), None
        done = self.simulator.judge.done(self._start, self._now)
        self._achieved |= done
        return self._task in done

    def rest(self) -> np.ndarray:
        """float32[7]: no motion of the kept pose, the gripper as it was told last."""
        return np.array([*np.zeros(6), self.simulator.robot_obs()[-1]], np.float32)

    def achieved(self) -> frozenset[str]:
        """All tasks that were done at some step since `begin`, the begun one or not."""
        return frozenset(self._achieved)

    def instructions(self, task: str, split: str) -> tuple[str, ...]:
        """CALVIN's own: several for "train", and more of ours if asked for; the official one for "validation"."""
        if task not in TASKS:
            raise ValueError(f"task must be one of CALVIN's {len(TASKS)}, got {task!r}; known: {', '.join(TASKS)}")
        if split == "train":
            return taught(self._sentences, task, self.config.more_sentences)
        return sentences(self._sentences, split)[task]

    def frame(self) -> np.ndarray:
        """uint8[200, 200, 3] of the static camera, for films."""
        return self.simulator.render("static", *FILM_SIZE)

    def demonstrate(self, task: str, rng: np.random.Generator) -> Iterator[tuple[np.ndarray, np.ndarray]]:
        """(executed, label), float64[7] each, without end; step with `executed` between two items."""
        return demonstration.demonstrate(lambda: self.label(task), rng, self.config.demonstration)

    def label(self, task: str) -> np.ndarray:
        """What the expert would do now: float64[7], from any state."""
        return expert.label(self.simulator.moment(self._now), task, self.config.demonstration.top_speed)

    def close(self) -> None:
        if self._simulator is not None:
            self._simulator.close()
            self._simulator = None

    def _stand_at(self, place: Place) -> None:
        if self._simulator is None or self._simulator.scene != place.scene:
            self.close()
            largest = max(*FILM_SIZE, *(side for size in self.config.image_sizes.values() for side in size))
            self._simulator = Simulator(
                self._clone,
                place.scene,
                renderer=self.config.renderer,
                largest=largest,
                camera_offset=self.config.camera_offset,
            )
        self._pictures = None
        self._now = self._simulator.reset(ROBOT_OBS, place.scene_obs)
        if place.settle:
            for _ in range(_SETTLE_STEPS):
                self._now = self._simulator.step(STILL)

    def _prepare(self, task: str) -> bool:
        start = self._now
        for _ in range(_PREPARE_STEPS):
            self._now = self.simulator.step(self.label(task))
            if task in self.simulator.judge.done(start, self._now):
                return True
        return False


def _checked(action: np.ndarray) -> np.ndarray:
    """float64[7] with the gripper exactly -1 or +1; ValueError for what is no action."""
    action = np.array(action, dtype=np.float64)
    if action.shape != (7,) or not np.isfinite(action).all():
        raise ValueError(f"an action must be 7 finite numbers, got {action.tolist()}")
    if np.abs(action).max() > 1.0 + _ROUNDING:
        raise ValueError(
            f"an action must lie in -1..1 (0.02 m, 0.05 rad, gripper +1 open, -1 closed), got {action.tolist()}"
        )
    return np.array([*np.clip(action[:6], -1.0, 1.0), 1.0 if action[6] > 0 else -1.0])
