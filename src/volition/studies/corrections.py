"""Demonstrations that a policy begins and the expert corrects: DAgger (Ross, Gordon and Bagnell, 2011).

    the policy acts for 0 to `learner_steps` steps ─> the expert takes over and ends the task
    every step, whoever took it, is labelled with what the expert would have done there

A policy that imitates drifts into states that no demonstration visits, and there it was never told anything. Recorded
this way, a dataset holds those states and the way back; train on it beside the demonstrations (`data.sources`).
"""

from __future__ import annotations

from collections import deque
from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path
from typing import Any, Protocol, runtime_checkable

import numpy as np

from volition.contract import RobotSpec
from volition.data.perform import RecordableEnv
from volition.envs.base import EnvConfig
from volition.policy import Policy
from volition.records import Env, Observation, Start
from volition.studies.training import load_policy


@runtime_checkable
class Teacher(RecordableEnv, Protocol):
    """An environment whose expert can be asked in any state, also in one that somebody else brought about."""

    def label(self, task: str) -> np.ndarray: ...  # float[A]


@dataclass(frozen=True, kw_only=True)
class Corrections:
    """An environment in which a policy begins the demonstrations. Implements `envs.base.EnvConfig`."""

    env: EnvConfig
    learner: str  # a checkpoint, or a run (its last)
    learner_steps: int = 60  # the most that the policy acts before the expert takes over
    allow: tuple[str, ...] = ()  # packages of yours that the checkpoint's config may name

    def __post_init__(self) -> None:
        if self.learner_steps < 1:
            raise ValueError(f"learner_steps must be at least 1, got {self.learner_steps}")

    @property
    def spec(self) -> RobotSpec:
        return self.env.spec

    @property
    def tasks(self) -> tuple[str, ...]:
        return self.env.tasks

    @property
    def scenes(self) -> tuple[str, ...]:
        return self.env.scenes

    @property
    def max_steps(self) -> int:
        return self.env.max_steps

    @property
    def slots_per_worker(self) -> int:
        return self.env.slots_per_worker

    def make(self) -> Env:
        env = self.env.make()
        if not isinstance(env, Teacher):
            raise ValueError(
                f"to be corrected, a policy needs an environment whose expert has `label` and `demonstrate`; "
                f"{type(env).__name__} has not"
            )
        return Corrected(env, self)

    def fit(self, robot: RobotSpec) -> Corrections:
        return Corrections(
            env=self.env.fit(robot), learner=self.learner, learner_steps=self.learner_steps, allow=self.allow
        )

    def chains(self, count: int, seed: int | None = None) -> list[Start]:
        return self.env.chains(count, seed)

    def feasible(self, start: Start) -> tuple[str, ...]:
        return self.env.feasible(start)

    def about(self) -> dict[str, str]:
        return self.env.about()


class Corrected:
    """Implements `data.perform.RecordableEnv`: the environment itself, but for who demonstrates."""

    def __init__(self, env: Teacher, config: Corrections):
        self._env, self._config = env, config
        self._policy: Policy | None = None  # loaded when a demonstration is asked for: replaying one needs none
        self._replan_steps = 1

    @property
    def spec(self) -> RobotSpec:
        return self._env.spec

    def reset(self, start: Start) -> None:
        self._env.reset(start)

    def begin(self, task: str) -> None:
        self._env.begin(task)

    def observe(self, instruction: str) -> Observation:
        return self._env.observe(instruction)

    def step(self, action: np.ndarray) -> bool:
        return self._env.step(action)

    def instructions(self, task: str, split: str) -> tuple[str, ...]:
        return self._env.instructions(task, split)

    def frame(self) -> np.ndarray:
        return self._env.frame()

    def close(self) -> None:
        self._env.close()

    def demonstrate(self, task: str, rng: np.random.Generator) -> Iterator[tuple[np.ndarray, np.ndarray]]:
        """(executed, label), without end: the policy's actions for a while, then the expert's."""
        policy = self._learner()
        instruction = str(rng.choice(self._env.instructions(task, "train")))
        planned: deque[np.ndarray] = deque()
        states: list[Any] = list(policy.start(1))
        for _ in range(int(rng.integers(self._config.learner_steps + 1))):
            if not planned:
                chunks, states = policy.act([self._env.observe(instruction)], states)
                planned.extend(chunks[0, : self._replan_steps])
            yield planned.popleft(), self._env.label(task)
        yield from self._env.demonstrate(task, rng)

    def _learner(self) -> Policy:
        if self._policy is None:
            policy, contract = load_policy(Path(self._config.learner), allow=self._config.allow)
            self._config.env.fit(contract.robot)  # refuses a policy that means other things by its numbers
            self._policy, self._replan_steps = policy, contract.window.replan_steps
        return self._policy
