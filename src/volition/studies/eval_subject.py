"""A checkpoint or exported policy that is evaluated: what it is asked to do becomes a plan, and the plan results."""

from __future__ import annotations

import math
import time
from collections.abc import Sequence
from dataclasses import dataclass, replace
from functools import cached_property
from pathlib import Path
from typing import Any

import numpy as np
import torch

from volition.config import Contract, DataConfig, Experiment, read
from volition.data.transforms import BlackOut, Deafen
from volition.envs.base import EnvConfig, as_evaluated
from volition.evaluation.chunking import STRATEGIES, AnyChunking, Execute
from volition.evaluation.episodes import Trial
from volition.evaluation.perturb import Perturbation
from volition.evaluation.rollout import RolloutConfig
from volition.records import Actor, Observation
from volition.studies.acting import load_actor, name_of
from volition.studies.eval_config import EvalConfig
from volition.studies.eval_run import (
    Done,
    Plan,
    Say,
    Share,
    checkpoint_hash,
    folder_of,
    own_code,
    run_folder,
    run_plan,
)
from volition.training import checkpoint as checkpoints

MAX_BATCH = 16  # rows of a policy call; more make no small model faster
FEW = 4  # ... where a process holds one environment only


@dataclass(frozen=True, kw_only=True)
class Subject:
    """A checkpoint or exported policy that is evaluated."""

    path: Path
    policy: Actor
    contract: Contract
    cameras: tuple[str, ...]  # of the robot's, that the policy looks through
    one_row: bool = False  # rows of a batch are gone through one by one

    @cached_property
    def seconds_per_call(self) -> float:
        """Measured once: every row of a table that asks what this machine takes gets the same answer."""
        return seconds_per_call(self)

    @property
    def name(self) -> str:
        """'demo-step_900', or 'demo-int8' of an exported policy: for people."""
        return name_of(checkpoints.resolve(self.path)).replace("/", "-")

    def fit(self, env: EnvConfig) -> EnvConfig:
        """The environment with the checkpoint's robot; ValueError prints every other difference.

        Of its cameras only those are drawn that the policy looks through, where the environment can leave others out.
        """
        robot = self.contract.robot
        fitted = env.fit(robot)
        seen = tuple(camera for camera in robot.cameras if camera.name in self.cameras)
        if len(seen) == len(robot.cameras):
            return fitted
        try:
            return fitted.fit(replace(robot, cameras=seen))
        except ValueError:
            return fitted

    def senses(self) -> tuple[bool, bool]:
        """Whether it was trained to see, and to listen."""
        parts = set(map(type, getattr(self.contract.transforms, "transforms", ())))
        return BlackOut not in parts, Deafen not in parts

    @classmethod
    def load(cls, path: Path, config: EvalConfig[Any]) -> Subject:
        with one_thread():
            found = load_actor(path, allow=config.allow, device=config.device)
        return cls(
            path=path,
            policy=found.actor,
            contract=found.contract,
            cameras=tuple(found.actor.collator.cameras),
            one_row=found.one_row,
        )


def learned_from(checkpoint: Path, allow: tuple[str, ...]) -> DataConfig:
    experiment: Experiment = read(checkpoints.resolve(checkpoint) / "config.json", allow=allow)
    return experiment.data


def slots_of(env: EnvConfig, num_trials: int, num_workers: int) -> int:
    """Environments in a process: as many as it can hold, and no more than there are trials for."""
    return max(1, min(env.slots_per_worker, -(-num_trials // max(1, num_workers))))


def rows_of(env: EnvConfig, *, one_row: bool) -> int:
    """Of a policy call."""
    if one_row:
        return 1
    return MAX_BATCH if env.slots_per_worker > 1 else FEW


def make_plan(
    config: EvalConfig[Any],
    subject: Subject,
    env: EnvConfig,
    trials: Sequence[Trial],
    name: str,
    perturbations: tuple[Perturbation, ...] = (),
    how: AnyChunking | None = None,
    latency: int | None = None,
) -> Plan:
    """`name`: of what is done, for people. Chunks are executed as the config says, unless `how` and `latency` do."""
    rollout = RolloutConfig(
        chunking=how or chunking_of(config, subject),
        latency=latency if latency is not None else latency_of(config, subject),
        max_steps=env.max_steps if config.max_steps is None else config.max_steps,
        space=subject.contract.robot.action_space,
        num_workers=config.workers,
        slots_per_worker=slots_of(env, len(trials), config.workers),
        batch=rows_of(env, one_row=subject.one_row) if config.batch is None else config.batch,
        patience_seconds=config.patience,
    )
    about: dict[str, Any] = {
        "checkpoint": checkpoint_hash(subject.path),
        "device": config.device.partition(":")[0],  # all cards of a machine are taken to be of one kind
        "protocol_max_steps": env.max_steps,
    }
    if own := own_code([type(env).__module__, *config.allow]):
        about["own_code"] = own
    return Plan(
        name=f"{env_name(config)}-{name}",
        env=as_evaluated(env),
        trials=trials,
        rollout=rollout,
        perturbations=perturbations,
        about=about,
    )


def chunking_of(config: EvalConfig[Any], subject: Subject) -> AnyChunking:
    steps = subject.contract.window.replan_steps if config.replan_steps is None else config.replan_steps
    if config.least_confidence is not None:
        return Execute(steps=steps, least_confidence=config.least_confidence)
    return STRATEGIES[config.chunking](steps=steps)


def latency_of(config: EvalConfig[Any], subject: Subject) -> int:
    """Control steps that pass while the policy thinks: as told, or as long as one call takes here and now."""
    if config.latency != "measured":
        return int(config.latency)
    return math.ceil(subject.seconds_per_call * subject.contract.robot.control_hz)


def seconds_per_call(subject: Subject, *, count: int = 9) -> float:
    """The median time of a call for one robot, after two that warm up; what it sees does not matter to it."""
    robot, draw = subject.contract.robot, np.random.default_rng(0)
    shapes = {camera.name: (1, camera.height, camera.width, 3) for camera in robot.cameras}
    seen = Observation(
        images={name: draw.integers(0, 256, shape, np.uint8) for name, shape in shapes.items()},
        state=np.zeros((1, len(robot.state)), np.float32),
        instruction="put the red block into the drawer",
    )
    states, seconds = subject.policy.start(1), []
    with one_thread():
        for _ in range(count + 2):
            began = time.perf_counter()
            _, states = subject.policy.act([seen], states)
            seconds.append(time.perf_counter() - began)
    return float(np.median(seconds[2:]))


def env_name(config: EvalConfig[Any]) -> str:
    """Of the environment, as files are named after it."""
    return config.env.rpartition(":")[2]


def beside_evaluations(config: EvalConfig[Any], subject: Subject, name: str) -> Path:
    """Where a table of several evaluations of this environment goes."""
    return (config.out or run_folder(subject.path) / "eval") / f"{env_name(config)}-{name}"


def perform(config: EvalConfig[Any], subject: Subject, plan: Plan, say: Say) -> Done:
    """Run what is missing of a plan, in the folder that it has."""
    folder = folder_of(run_folder(subject.path), plan)
    if config.out:
        folder = config.out / f"{subject.name}-{folder.name}"
    share = Share.parse(config.shard)
    with one_thread():
        return run_plan(plan, subject.policy, folder, share=share, retry_errors=config.retry_errors, say=say)


class one_thread:  # noqa: N801  reads as a verb: `with one_thread():`
    """The policy leaves the other cores to the workers: threads that wait for each other lose to them tenfold."""

    def __enter__(self) -> None:
        self._before = torch.get_num_threads()
        torch.set_num_threads(1)

    def __exit__(self, *_: object) -> None:
        torch.set_num_threads(self._before)
