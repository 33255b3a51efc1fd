"""What a recording worker does: a demonstrator plays a job, the episodes that ended in success are staged.

    Job --perform--> [EpisodeData] --stage--> folders --> JobResult

A job is one episode of one task, or a chain of tasks without a reset between them. All it draws comes from
(seed, job number, attempt), so it does not matter who performs it, or after what.
"""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path
from typing import Protocol, runtime_checkable

import numpy as np

from volition.contract import RobotSpec
from volition.data.lerobot_stage import EpisodeData, LeRobotConfig, stage
from volition.records import Demonstrator, Start


@runtime_checkable
class RecordableEnv(Demonstrator, Protocol):
    """A demonstrator that says what its actions and observations mean."""

    @property
    def spec(self) -> RobotSpec: ...


@dataclass(frozen=True, kw_only=True)
class Job:
    number: int
    tasks: tuple[str, ...]  # one, or those of a chain
    scene: str


@dataclass(frozen=True, kw_only=True)
class PerformConfig:
    """`tail_steps`: frames kept after success, so that a policy sees what comes then."""

    seed: int = 0
    max_steps: int = 360
    tail_steps: int = 2
    max_attempts: int = 20

    def __post_init__(self) -> None:
        if self.seed < 0 or self.max_steps < 1 or self.tail_steps < 0 or self.max_attempts < 1:
            raise ValueError(
                "seed and tail_steps must be at least 0, max_steps and max_attempts at least 1, got "
                f"seed={self.seed}, tail_steps={self.tail_steps}, max_steps={self.max_steps}, "
                f"max_attempts={self.max_attempts}"
            )


@dataclass(frozen=True, kw_only=True)
class JobResult:
    number: int
    folders: tuple[Path, ...]  # staged episodes, in order
    frames: int
    rejected: int  # attempts that the judge did not call a success


def attempt_seed(seed: int, job: int, attempt: int) -> int:
    """Of the start of a job's attempt, in a recording with this seed."""
    return int(np.random.SeedSequence((seed, job, attempt)).generate_state(1)[0])


def perform(env: RecordableEnv, job: Job, config: PerformConfig) -> tuple[list[EpisodeData], int]:
    """The successful episodes of a job, and the number of attempts that failed.

    One task is tried until it succeeds; a chain ends at its first failure. ValueError when a task never succeeds.
    """
    for attempt in range(config.max_attempts):
        env.reset(Start(attempt_seed(config.seed, job.number, attempt), job.tasks, job.scene))
        rng = np.random.default_rng((config.seed, job.number, attempt, 1))
        episodes = list(_successes(env, job, config, rng))
        if len(job.tasks) > 1:
            return episodes, int(len(episodes) < len(job.tasks))
        if episodes:
            return episodes, attempt
    raise ValueError(
        f"task {job.tasks[0]!r} must succeed within {config.max_attempts} attempts of {config.max_steps} steps, but "
        f"the demonstrator failed in all (job {job.number}); leave the task out, or allow more of either"
    )


def perform_and_stage(
    env: RecordableEnv, job: Job, config: PerformConfig, storage: LeRobotConfig, scratch: Path
) -> JobResult:
    """Leave the job's episodes in `scratch`-PART folders."""
    episodes, rejected = perform(env, job, config)
    folders = tuple(scratch.with_name(f"{scratch.name}-{part}") for part in range(len(episodes)))
    for folder, episode in zip(folders, episodes):
        stage(folder, episode, env.spec, storage)
    frames = sum(len(episode) for episode in episodes)
    return JobResult(number=job.number, folders=folders, frames=frames, rejected=rejected)


def _successes(env: RecordableEnv, job: Job, config: PerformConfig, rng: np.random.Generator) -> Iterator[EpisodeData]:
    for part, task in enumerate(job.tasks):
        source = {"job": job.number, "part": part, "scene": job.scene, "chain": len(job.tasks) > 1}
        episode = _play(env, task, config, rng, source)
        if episode is None:
            return
        yield episode


def _play(
    env: RecordableEnv, task: str, config: PerformConfig, rng: np.random.Generator, source: dict[str, object]
) -> EpisodeData | None:
    """One demonstration of `task` from where the environment stands; None when the judge saw no success."""
    instructions = env.instructions(task, "train")
    seen, labels = [], []
    env.begin(task)
    done, left = False, config.tail_steps
    for executed, label in env.demonstrate(task, rng):
        seen.append(env.observe(instructions[0]))  # what the demonstrator acted upon: before the step
        labels.append(np.asarray(label, np.float32))
        left -= int(done)
        done = env.step(executed) or done
        if (done and left == 0) or (not done and len(labels) >= config.max_steps):
            break
    if not done:
        return None
    return EpisodeData(
        task=task,
        instructions=tuple(instructions),
        images={camera: np.concatenate([o.images[camera] for o in seen]) for camera in seen[0].images},
        states=np.concatenate([o.state for o in seen]),
        actions=np.stack(labels),
        source=dict(source),
    )
