"""LIBERO's suites: `volition eval RUN --env libero --suite libero_spatial --starts 50`.

Never run: written against the public interface of the package `libero` (its benchmark table, `OffScreenRenderEnv`, the
stored initial states); neither its assets nor its pins could be had where this was made.

Start `seed` is the stored initial state `seed` modulo their number, after ten steps in which things come to rest. The
pictures are turned upright. Gripper: +1 open here, -1 open there.
"""

from __future__ import annotations

import sys
from dataclasses import dataclass
from functools import cache
from pathlib import Path
from typing import Any, Literal

import numpy as np

from volition.contract import ActionSpace, Dimension, RobotSpec
from volition.envs.gymnasium.adapter import After, OneTask, RestingEnv, World, needed
from volition.records import Start

CAMERAS = {"agentview": "agentview_image", "wrist": "robot0_eye_in_hand_image"}
STATE = {"robot0_eef_pos": 3, "robot0_eef_quat": 4, "robot0_gripper_qpos": 2}
RESTING = 10  # steps, with no motion and an open hand
LONGEST = {"libero_spatial": 220, "libero_object": 280, "libero_goal": 300, "libero_10": 520, "libero_90": 400}
STATES = 50  # of a task, in which its episodes begin
Suite = Literal["libero_spatial", "libero_object", "libero_goal", "libero_10", "libero_90"]


@dataclass(frozen=True, kw_only=True)
class LiberoConfig(OneTask):
    """Implements `envs.base.EnvConfig`."""

    # Which of its lists of tasks.
    suite: Suite = "libero_spatial"

    @property
    def tasks(self) -> tuple[str, ...]:
        suite = _suite(self.suite)
        return tuple(suite.get_task(number).name for number in range(suite.n_tasks))

    @property
    def max_steps(self) -> int:
        return LONGEST[self.suite]

    @property
    def starts_per_task(self) -> int:
        return STATES

    def robot(self) -> tuple[RobotSpec, tuple[str, ...]]:
        moves = [Dimension(name=name, unit="0.05 m") for name in "xyz"]
        turns = [Dimension(name=f"r{name}", unit="0.5 rad") for name in "xyz"]
        gripper = Dimension(name="gripper", unit="+1 open, -1 closed", kind="binary")
        space = ActionSpace(dimensions=(*moves, *turns, gripper), rotation="axis_angle")
        state = tuple(f"{name}_{i}" for name, count in STATE.items() for i in range(count))
        return RobotSpec(action_space=space, cameras=(), state=state, control_hz=20.0), tuple(CAMERAS)

    def make(self) -> RestingEnv:
        return RestingEnv(self, self.open())

    def open(self) -> World:
        return LiberoWorld(self)

    def about(self) -> dict[str, str]:
        return {"simulator": f"LIBERO, {self.suite}", "renderer": "robosuite"}


class LiberoWorld:
    """Implements `adapter.World`. One simulator at a time: they are large."""

    def __init__(self, config: LiberoConfig):
        self._config = config
        self._task = ""
        self._env: Any = None
        self._seen: Any = None

    def stand(self, start: Start) -> None:
        suite, number = _suite(self._config.suite), self._config.tasks.index(start.tasks[0])
        if self._task != start.tasks[0]:
            self.close()
            self._env, self._task = _make(suite.get_task(number), self._config.picture_size), start.tasks[0]
        with arrays_may_be_read():
            states = suite.get_task_init_states(number)
        self._env.seed(start.seed % 2**32)
        self._env.reset()
        self._seen = self._env.set_init_state(states[start.seed % len(states)])
        for _ in range(RESTING):
            self._seen, *_ = self._env.step([0.0] * 6 + [-1.0])

    def step(self, action: np.ndarray) -> After:
        self._seen, _, over, _ = self._env.step([*action[:6], -action[6]])
        return After(success=bool(self._env.check_success()), over=bool(over))

    def pictures(self) -> dict[str, np.ndarray]:
        return {name: np.ascontiguousarray(self._seen[key][::-1, ::-1]) for name, key in CAMERAS.items()}

    def state(self) -> np.ndarray:
        return np.concatenate([self._seen[name] for name in STATE])

    def instructions(self, task: str, split: str) -> tuple[str, ...]:
        """The same sentence for both splits: the benchmark has one."""
        suite = _suite(self._config.suite)
        return (suite.get_task(self._config.tasks.index(task)).language,)

    def close(self) -> None:
        if self._env is not None:
            self._env.close()
        self._task, self._env = "", None


def arrays_may_be_read() -> Any:
    """LIBERO's starts are pickled arrays, which `torch.load` refuses unless it is told what they are made of."""
    from numpy._core.multiarray import _reconstruct

    made_of: list[Any] = [_reconstruct, (_reconstruct, "numpy.core.multiarray._reconstruct"), np.ndarray, np.dtype]
    numbers = [type(np.dtype(kind)) for kind in (np.float64, np.float32)]
    return sys.modules["torch"].serialization.safe_globals([*made_of, *numbers])  # LIBERO has imported it


@cache
def _suite(name: str) -> Any:
    try:
        from libero.libero import benchmark
    except ImportError as error:
        raise needed("libero", "install LIBERO as its page says") from error
    return benchmark.get_benchmark_dict()[name]()


def _make(task: Any, size: tuple[int, int]) -> Any:
    from libero.libero import get_libero_path
    from libero.libero.envs import OffScreenRenderEnv

    path = Path(get_libero_path("bddl_files")) / task.problem_folder / task.bddl_file
    return OffScreenRenderEnv(bddl_file_name=str(path), camera_heights=size[0], camera_widths=size[1])
