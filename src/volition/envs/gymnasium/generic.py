"""Any environment that is registered with gymnasium and acts in a Box: `volition eval RUN --env gymnasium --ids ...`

observation that is a picture    a camera of its own, named after it; where there is none, `render` is one
every other observation          the robot's state, in gymnasium's own flat order
reset(seed)                      the start
info["is_success"], `terminated` success, as `success` says
"""

from __future__ import annotations

from dataclasses import dataclass, field
from functools import cache
from importlib.metadata import version
from typing import Any, Literal

import numpy as np

from volition.contract import ActionSpace, Dimension, RobotSpec
from volition.envs.gymnasium.adapter import After, OneTask, World, needed, said
from volition.records import Start

try:
    import gymnasium
    from gymnasium import spaces
except ImportError as error:
    raise needed("gymnasium", "pip install 'volition[gymnasium]'") from error

RENDERED = "render"  # the camera that stands for `render`


@dataclass(frozen=True, kw_only=True)
class GymnasiumConfig(OneTask):
    """A task for every id. Implements `envs.base.EnvConfig`."""

    # As they are registered. One that a module of yours registers needs a config of yours there, derived from this one,
    # for its import in every process: --env my_package.envs:PushConfig.
    ids: tuple[str, ...] = ()
    # What is a success: that the episode has terminated, or what `info` says under this name.
    success: Literal["terminated", "success", "is_success"] = "is_success"
    # Control steps a second, where the environment's render_fps does not say.
    control_hz: float = 0.0
    # Control steps of every task; by default each has those of its registration.
    steps: int = 0

    def __post_init__(self) -> None:
        if not self.ids:
            raise ValueError("say which environments: --ids Reach-v0")
        if foreign := [name for name in self.ids if ":" in name]:
            raise ValueError(f"ids must not name a module to import, for configs run no code, got {foreign}")

    @property
    def tasks(self) -> tuple[str, ...]:
        return self.ids

    @property
    def max_steps(self) -> int:
        if self.steps:
            return self.steps
        limits = {name: _shape(name).steps for name in self.ids}
        if endless := [name for name, steps in limits.items() if not steps]:
            raise ValueError(f"{', '.join(endless)} must have a limit of steps, and has none: say one with --steps")
        return max(limits.values())

    def robot(self) -> tuple[RobotSpec, tuple[str, ...]]:
        shapes = {name: _shape(name) for name in self.ids}
        first = shapes[self.ids[0]]
        for name, shape in shapes.items():
            if shape != first:
                raise ValueError(
                    f"all ids must have the same actions and observations; {name} has others than the first"
                )
        hz = self.control_hz or first.fps
        if not hz:
            raise ValueError(f"{self.ids[0]} does not say how many control steps a second it has: use --control-hz")
        dimensions = tuple(
            Dimension(name=f"action_{i}", unit="the environment's own", low=low, high=high)
            for i, (low, high) in enumerate(first.action)
        )
        space = ActionSpace(dimensions=dimensions, frame="the environment's own", rotation="none", relative=False)
        return RobotSpec(action_space=space, cameras=(), state=first.state, control_hz=hz), first.cameras

    def open(self) -> World:
        return GymnasiumWorld(self)

    def about(self) -> dict[str, str]:
        return {"simulator": f"gymnasium {version('gymnasium')}", "renderer": "the environment's own"}


class GymnasiumWorld:
    """Implements `adapter.World`. One environment at a time: several that draw may disturb each other."""

    def __init__(self, config: GymnasiumConfig):
        self._config = config
        self._task = ""
        self._env: Any = None
        self._seen: Any = None

    def stand(self, start: Start) -> None:
        if start.tasks[0] != self._task:
            self.close()
            self._env = gymnasium.make(  # None: as it is registered
                start.tasks[0],
                render_mode="rgb_array",
                max_episode_steps=self._config.steps or None,
                disable_env_checker=True,
            )
            self._task = start.tasks[0]
        self._seen, _ = self._env.reset(seed=start.seed)

    def step(self, action: np.ndarray) -> After:
        kind = self._env.action_space.dtype
        self._seen, _, terminated, truncated, info = self._env.step(action.astype(kind))
        success = bool(terminated if self._config.success == "terminated" else info.get(self._config.success, False))
        return After(success=success, over=bool(terminated or truncated))

    def pictures(self) -> dict[str, np.ndarray]:
        found = _pictures(self._env.observation_space, self._seen)
        return found or {RENDERED: np.asarray(self._env.render(), np.uint8)}

    def state(self) -> np.ndarray:
        return _state(self._env.observation_space, self._seen)

    def instructions(self, task: str, split: str) -> tuple[str, ...]:
        return said(words(task), split)

    def close(self) -> None:
        if self._env is not None:
            self._env.close()
        self._task, self._env = "", None


@dataclass(frozen=True, kw_only=True)
class _Shape:
    """What an environment takes and gives; how long its task may take is no part of that."""

    action: tuple[tuple[float, float], ...]
    state: tuple[str, ...]
    cameras: tuple[str, ...]
    fps: float
    steps: int = field(compare=False)


@cache
def _shape(name: str) -> _Shape:
    """Asked of one that is made for it; ValueError for actions that are not a row of bounded numbers."""
    try:
        env: Any = gymnasium.make(name)
    except gymnasium.error.Error as error:
        raise ValueError(f"gymnasium cannot make {name!r}: {error}") from error
    try:
        action = env.action_space
        if not (isinstance(action, spaces.Box) and len(action.shape) == 1 and action.is_bounded("both")):
            raise ValueError(f"{name} must act in a Box with one axis and bounds on both sides, got {action}")
        parts = _parts(env.observation_space)
        states = [
            f"{part}_{i}"
            for part, space in parts.items()
            if not is_picture(space)
            for i in range(spaces.flatdim(space))
        ]
        return _Shape(
            action=tuple(zip(action.low.astype(float).tolist(), action.high.astype(float).tolist())),
            state=tuple(states),
            cameras=tuple(part for part, space in parts.items() if is_picture(space)) or (RENDERED,),
            fps=float(env.metadata.get("render_fps") or 0.0),
            steps=int(env.spec.max_episode_steps or 0) if env.spec else 0,
        )
    finally:
        env.close()


def is_picture(space: Any) -> bool:
    return isinstance(space, spaces.Box) and space.dtype == np.uint8 and space.shape[2:] == (3,)


def _parts(space: Any) -> dict[str, Any]:
    """Name -> space, in gymnasium's own order."""
    return dict(space.spaces) if isinstance(space, spaces.Dict) else {"observation": space}


def _values(space: Any, seen: Any) -> dict[str, Any]:
    return dict(seen) if isinstance(space, spaces.Dict) else {"observation": seen}


def _pictures(space: Any, seen: Any) -> dict[str, np.ndarray]:
    values = _values(space, seen)
    return {name: np.asarray(values[name]) for name, part in _parts(space).items() if is_picture(part)}


def _state(space: Any, seen: Any) -> np.ndarray:
    values = _values(space, seen)
    rows = [spaces.flatten(part, values[name]) for name, part in _parts(space).items() if not is_picture(part)]
    return np.concatenate([np.asarray(row, np.float32) for row in rows]) if rows else np.zeros(0, np.float32)


def words(name: str) -> str:
    """'lab/PushBlock-v0' -> 'push block'"""
    plain = name.rpartition("/")[2].partition("-v")[0]
    spaced = "".join(f" {c.lower()}" if c.isupper() else c for c in plain)
    return " ".join(spaced.replace("-", " ").replace("_", " ").split())
