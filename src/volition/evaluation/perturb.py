"""What may go wrong between a policy and its world: perturbations of what it sees, hears and does.

    Perturbed(env.make, (BlackOut(camera="gripper"), ActionDelay(steps=2)), space) --> the same environment, disturbed

They are applied in their order. All that they draw comes from (seed, the episode's start, the control step): an episode
is disturbed alike wherever and however often it is run, and looking changes nothing.
"""

from __future__ import annotations

from collections.abc import Callable, Sequence
from dataclasses import dataclass, replace
from typing import Any

import numpy as np

from volition.contract import ActionSpace
from volition.evaluation.episodes import Resting
from volition.records import Env, Observation, Start


@dataclass(frozen=True, kw_only=True)
class Perturbation:
    """Disturbs nothing. Subclasses override the direction that they change."""

    def see(self, observation: Observation, rng: np.random.Generator) -> Observation:
        """What the policy gets in place of what there is."""
        return observation

    def act(self, asked: Sequence[np.ndarray], acting: Acting, rng: np.random.Generator) -> np.ndarray:
        """The action float[A] that is executed; `asked` are those of the policy since the reset, the last is now's."""
        return asked[-1]


@dataclass(frozen=True)
class Acting:
    """What a perturbation of actions may know."""

    space: ActionSpace
    rest: np.ndarray | None  # float[A]: what would have left the robot as it was at the reset; None: it cannot say


@dataclass(frozen=True, kw_only=True)
class BlackOut(Perturbation):
    """A camera is black; "" for all of them."""

    camera: str = ""

    def see(self, observation: Observation, rng: np.random.Generator) -> Observation:
        if self.camera and self.camera not in observation.images:
            raise ValueError(f"there is no camera {self.camera!r} to black out; there are {list(observation.images)}")
        return _with_pictures(observation, lambda name, x: x * 0 if self.camera in ("", name) else x)


@dataclass(frozen=True, kw_only=True)
class PixelNoise(Perturbation):
    """Every value of every picture is off by a draw of this standard deviation, in steps of 0..255."""

    sigma: float = 25.0

    def see(self, observation: Observation, rng: np.random.Generator) -> Observation:
        return _with_pictures(observation, lambda _, x: _to_picture(x + rng.normal(0.0, self.sigma, x.shape)))


@dataclass(frozen=True, kw_only=True)
class Brightness(Perturbation):
    """Every value of every picture times this."""

    factor: float = 0.6

    def see(self, observation: Observation, rng: np.random.Generator) -> Observation:
        return _with_pictures(observation, lambda _, x: _to_picture(x * self.factor))


@dataclass(frozen=True, kw_only=True)
class ShiftPicture(Perturbation):
    """Every picture lies further right and further down by these shares of its size; its edges are drawn out."""

    right: float = 0.05
    down: float = 0.05

    def see(self, observation: Observation, rng: np.random.Generator) -> Observation:
        return _with_pictures(observation, lambda _, x: self._moved(x))

    def _moved(self, pictures: np.ndarray) -> np.ndarray:
        height, width = pictures.shape[1:3]
        rows = np.clip(np.arange(height) - round(self.down * height), 0, height - 1)
        columns = np.clip(np.arange(width) - round(self.right * width), 0, width - 1)
        return pictures[:, rows][:, :, columns]


@dataclass(frozen=True, kw_only=True)
class Say(Perturbation):
    """The policy hears this, whatever it is to do; "" says nothing."""

    instruction: str = ""

    def see(self, observation: Observation, rng: np.random.Generator) -> Observation:
        return replace(observation, instruction=self.instruction)


@dataclass(frozen=True, kw_only=True)
class ActionNoise(Perturbation):
    """Every continuous dimension is off by a draw whose standard deviation is this share of half its range."""

    share: float = 0.2

    def act(self, asked: Sequence[np.ndarray], acting: Acting, rng: np.random.Generator) -> np.ndarray:
        dimensions = acting.space.dimensions
        low, high = np.array([d.low for d in dimensions]), np.array([d.high for d in dimensions])
        noise = rng.normal(0.0, self.share, len(dimensions)) * (high - low) / 2
        noise[list(acting.space.binary)] = 0.0
        return np.clip(asked[-1] + noise, low, high).astype(np.float32)


@dataclass(frozen=True, kw_only=True)
class ActionDelay(Perturbation):
    """Every action is executed so many control steps late; before the first one the robot rests."""

    steps: int = 2

    def act(self, asked: Sequence[np.ndarray], acting: Acting, rng: np.random.Generator) -> np.ndarray:
        if len(asked) > self.steps:
            return asked[-1 - self.steps]
        if acting.rest is None:
            raise ValueError(
                "to delay actions, the environment must say what leaves the robot as it is: a method `rest() -> action`"
            )
        return acting.rest


@dataclass(frozen=True)
class Perturbed:
    """Makes an environment as `make` does, and disturbs it. As picklable as `make` is."""

    make: Callable[[], Env]
    perturbations: tuple[Perturbation, ...]
    space: ActionSpace
    seed: int = 0

    def __call__(self) -> Env:
        return PerturbedEnv(self.make(), self)


class PerturbedEnv:
    """Implements `records.Env`, and whatever else the environment does that it wraps."""

    def __init__(self, env: Env, config: Perturbed):
        self._env, self._config = env, config
        self._start = Start(0, ())
        self._asked: list[list[np.ndarray]] = []
        self._acting = Acting(config.space, None)
        self._step = 0
        # What else an environment may do (`records.Resting`, `Watcher`, `Measuring`) is looked for on the object.
        for name in ("rest", "achieved", "measures"):
            if hasattr(env, name):
                setattr(self, name, getattr(env, name))

    def __getattr__(self, name: str) -> Any:
        return getattr(self._env, name)

    def reset(self, start: Start) -> None:
        self._env.reset(start)
        self._start, self._step = start, 0
        self._asked = [[] for _ in self._config.perturbations]
        self._acting = Acting(self._config.space, self._env.rest() if isinstance(self._env, Resting) else None)

    def begin(self, task: str) -> None:
        self._env.begin(task)

    def observe(self, instruction: str) -> Observation:
        seen = self._env.observe(instruction)
        for number, perturbation in enumerate(self._config.perturbations):
            seen = perturbation.see(seen, self._draw(number))
        return seen

    def step(self, action: np.ndarray) -> bool:
        for number, (perturbation, asked) in enumerate(zip(self._config.perturbations, self._asked)):
            asked.append(action)
            action = perturbation.act(asked, self._acting, self._draw(number))
        self._step += 1
        return self._env.step(action)

    def instructions(self, task: str, split: str) -> tuple[str, ...]:
        return self._env.instructions(task, split)

    def frame(self) -> np.ndarray:
        return self._env.frame()

    def close(self) -> None:
        self._env.close()

    def _draw(self, number: int) -> np.random.Generator:
        return np.random.default_rng([self._config.seed, number, self._start.seed, self._step])


def _with_pictures(observation: Observation, change: Callable[[str, np.ndarray], np.ndarray]) -> Observation:
    return replace(observation, images={name: change(name, x) for name, x in observation.images.items()})


def _to_picture(values: np.ndarray) -> np.ndarray:
    return np.clip(np.rint(values), 0, 255).astype(np.uint8)
