"""Meta-World's 50 tasks, each with its 50 goals: `volition eval RUN --env metaworld --starts 50`.

Start `seed` has goal `seed` modulo 50 of the benchmark MT1 with seed 42. The policy is given the hand and its opening
only, as state: where things stand it has to see. Tested with Meta-World 3.1.1, whose pin of MuJoCo 3.3.0 the desk does
not share: give it an environment of its own (docs/evaluation.md).
"""

from __future__ import annotations

import warnings
from collections.abc import Iterator
from dataclasses import dataclass, field
from functools import cache
from importlib.metadata import version
from typing import Any

import numpy as np

from volition.contract import ActionSpace, Dimension, RobotSpec
from volition.envs.base import OF_RECORDING
from volition.envs.gymnasium.adapter import After, OneTask, RestingEnv, needed, said
from volition.records import Start

BENCHMARK_SEED = 42
CAMERA = "corner2"  # the one that sees hand, table and objects of all tasks; it hangs upside down
MAX_STEPS = 500
STATE = ("hand_x", "hand_y", "hand_z", "gripper_opening")
GOALS = 50  # of a task: where objects and the goal stand
SIDE = 256  # pixels that are drawn, each way


@dataclass(frozen=True, kw_only=True)
class MetaworldConfig(OneTask):
    """Implements `envs.base.EnvConfig`."""

    # Standard deviation of what the demonstrator adds to its action, as a share of a full step.
    noise: float = field(default=0.1, metadata=OF_RECORDING)

    @property
    def tasks(self) -> tuple[str, ...]:
        return tuple(_package().ALL_V3_ENVIRONMENTS)

    @property
    def max_steps(self) -> int:
        return MAX_STEPS

    @property
    def starts_per_task(self) -> int:
        return GOALS

    def robot(self) -> tuple[RobotSpec, tuple[str, ...]]:
        moves = [Dimension(name=name, unit="0.01 m") for name in "xyz"]
        closing = Dimension(name="closing", unit="force on the fingers, +1 closes")
        space = ActionSpace(dimensions=(*moves, closing), rotation="none")
        return RobotSpec(action_space=space, cameras=(), state=STATE, control_hz=80.0), (CAMERA,)

    def make(self) -> MetaworldEnv:
        return MetaworldEnv(self, self.open())

    def open(self) -> MetaworldWorld:
        return MetaworldWorld()

    def about(self) -> dict[str, str]:
        names = ("metaworld", "mujoco")
        return {"simulator": ", ".join(f"{name} {version(name)}" for name in names), "renderer": "MuJoCo"}


class MetaworldWorld:
    """Implements `adapter.World`. One simulator at a time: two GL contexts in a process draw into each other."""

    def __init__(self) -> None:
        self._task = ""
        self._env: Any = None
        self.seen = np.zeros(0)

    def stand(self, start: Start) -> None:
        name = start.tasks[0]
        benchmark = _benchmark(name)
        if name != self._task:
            self.close()
            make = benchmark.train_classes[name]
            self._env = make(render_mode="rgb_array", camera_name=CAMERA, width=SIDE, height=SIDE)
            self._task = name
        self._env.set_task(benchmark.train_tasks[start.seed % len(benchmark.train_tasks)])
        self.seen, _ = self._env.reset()

    def step(self, action: np.ndarray) -> After:
        self.seen, _, terminated, truncated, info = self._env.step(action.astype(np.float32))
        return After(success=bool(info["success"]), over=bool(terminated or truncated))

    def pictures(self) -> dict[str, np.ndarray]:
        return {CAMERA: np.ascontiguousarray(self._env.render()[::-1, ::-1])}

    def state(self) -> np.ndarray:
        return self.seen[: len(STATE)]

    def instructions(self, task: str, split: str) -> tuple[str, ...]:
        return said(" ".join(task.split("-")[:-1]), split)

    def close(self) -> None:
        if self._env is not None:
            self._env.close()
        self._task, self._env = "", None


class MetaworldEnv(RestingEnv):
    """Implements `records.Demonstrator` as well: Meta-World brings a scripted policy for every task."""

    open_hand = -1.0

    def __init__(self, config: MetaworldConfig, world: MetaworldWorld):
        super().__init__(config, world)
        self._shown, self._noise = world, config.noise * np.array([1.0, 1.0, 1.0, 0.0])  # fingers stay undisturbed

    def demonstrate(self, task: str, rng: np.random.Generator) -> Iterator[tuple[np.ndarray, np.ndarray]]:
        """(executed, label), float64[4] each, without end; step with `executed` between two items."""
        from metaworld.policies import ENV_POLICY_MAP

        expert = ENV_POLICY_MAP[task]()
        while True:
            with warnings.catch_warnings():
                warnings.simplefilter("ignore", UserWarning)  # that its actions are beyond their bounds, as we know
                label = np.clip(np.asarray(expert.get_action(self._shown.seen), np.float64), -1.0, 1.0)
            yield np.clip(label + self._noise * rng.normal(size=4), -1.0, 1.0), label


def _package() -> Any:
    try:
        import metaworld
    except ImportError as error:
        raise needed("metaworld", "see docs/evaluation.md for an environment with it") from error
    return metaworld


@cache
def _benchmark(task: str) -> Any:
    return _package().MT1(task, seed=BENCHMARK_SEED)
