"""SimplerEnv's tasks for the Google robot and WidowX: `volition eval RUN --env simpler --robot-name widowx`.

Never run: written against the public interface of the package `simpler_env` (`make`, `reset`, `step`,
`get_image_from_maniskill2_obs_dict`); it needs an NVIDIA GPU and assets that could not be had where this was made.

Start `seed` is `reset(seed)` with the object arrangement `seed` modulo their number, as SimplerEnv's scripts go through
them. Some tasks name their things only then, so a sentence is that of the present start; it stays the first one in the
tasks `place_in_closed_*`, which say another once the drawer is open. Gripper: +1 open here; on the Google robot +1
closes there.

Each task is ended by its registration's own limit: 60 to 200 steps. `judged` says when success counts.
"""

from __future__ import annotations

from dataclasses import dataclass
from typing import Any, Literal

import numpy as np

from volition.contract import ActionSpace, Dimension, RobotSpec
from volition.envs.gymnasium.adapter import After, OneTask, RestingEnv, World, needed
from volition.records import Start

CAMERA = "scene"
HZ = {"google_robot": 3.0, "widowx": 5.0}
LONGEST = {"google_robot": 200, "widowx": 120}  # placing in a closed drawer; the eggplant
ARRANGEMENTS = {"google_robot": 60, "widowx": 24}  # of `move_near`; of all tasks
Robot = Literal["google_robot", "widowx"]
Judged = Literal["any_step", "last_step"]


@dataclass(frozen=True, kw_only=True)
class SimplerConfig(OneTask):
    """Implements `envs.base.EnvConfig`."""

    # Whose tasks.
    robot_name: Robot = "widowx"
    # A success ends the episode at the first step that shows it, or must show at the last one, as SimplerEnv has it.
    judged: Judged = "any_step"

    @property
    def tasks(self) -> tuple[str, ...]:
        return tuple(name for name in _package().ENVIRONMENTS if name.startswith(self.robot_name))

    @property
    def max_steps(self) -> int:
        return LONGEST[self.robot_name]

    @property
    def starts_per_task(self) -> int:
        return ARRANGEMENTS[self.robot_name]

    def robot(self) -> tuple[RobotSpec, tuple[str, ...]]:
        moves = [Dimension(name=name, unit="m") for name in "xyz"]
        turns = [Dimension(name=f"r{name}", unit="rad", low=-np.pi / 2, high=np.pi / 2) for name in "xyz"]
        gripper = Dimension(name="gripper", unit="+1 open, -1 closed", kind="binary")
        space = ActionSpace(dimensions=(*moves, *turns, gripper), frame="base", rotation="axis_angle")
        return RobotSpec(action_space=space, cameras=(), state=(), control_hz=HZ[self.robot_name]), (CAMERA,)

    def make(self) -> RestingEnv:
        return RestingEnv(self, self.open())

    def open(self) -> World:
        return SimplerWorld(self)

    def about(self) -> dict[str, str]:
        return {"simulator": "SimplerEnv, visual matching", "renderer": "SAPIEN"}


class SimplerWorld:
    """Implements `adapter.World`. One simulator at a time: they are large."""

    def __init__(self, config: SimplerConfig):
        self._config = config
        self._closing = 1.0 if config.robot_name == "google_robot" else -1.0
        self._task = ""
        self._env: Any = None
        self._seen: Any = None

    def stand(self, start: Start) -> None:
        self._enter(start.tasks[0])
        options = {"obj_init_options": {"episode_id": start.seed % ARRANGEMENTS[self._config.robot_name]}}
        self._seen, _ = self._env.reset(seed=start.seed % 2**32, options=options)

    def step(self, action: np.ndarray) -> After:
        given = np.array([*action[:6], -action[6] * self._closing], np.float32)
        self._seen, _, success, truncated, _ = self._env.step(given)
        counts = truncated or self._config.judged == "any_step"
        return After(success=bool(success and counts), over=bool(truncated or (success and counts)))

    def pictures(self) -> dict[str, np.ndarray]:
        from simpler_env.utils.env.observation_utils import get_image_from_maniskill2_obs_dict

        return {CAMERA: np.asarray(get_image_from_maniskill2_obs_dict(self._env, self._seen), np.uint8)}

    def state(self) -> np.ndarray:
        return np.zeros(0, np.float32)

    def instructions(self, task: str, split: str) -> tuple[str, ...]:
        """The same sentence for both splits: the environment has one."""
        if task != self._task:
            self.stand(Start(seed=0, tasks=(task,)))
        return (self._env.unwrapped.get_language_instruction(),)

    def close(self) -> None:
        if self._env is not None:
            self._env.close()
        self._task, self._env = "", None

    def _enter(self, task: str) -> None:
        if self._task != task:
            self.close()
            self._env, self._task = _package().make(task), task


def _package() -> Any:
    try:
        import simpler_env
    except ImportError as error:
        raise needed("simpler_env", "install SimplerEnv as its page says") from error
    return simpler_env
