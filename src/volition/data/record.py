"""Recording demonstrations into a LeRobot dataset: in parallel, reproducible, safe to interrupt and to continue.

    jobs (task by task in turn, then chains) --Workers--> staged episodes, in order --LeRobotWriter--> dataset

Episode i depends on the seed and on i only, so any number of workers makes the same dataset, and a recording that was
interrupted, at whatever moment, becomes the same one when `record` is called again with the same arguments.
"""

from __future__ import annotations

import dataclasses
import json
import logging
import time
from collections.abc import Callable
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

import numpy as np

from volition.contract import require_equal
from volition.data import lerobot_layout as layout
from volition.data.files import read_json, write_json
from volition.data.lerobot_stage import LeRobotConfig
from volition.data.lerobot_write import LeRobotWriter
from volition.data.perform import Job, PerformConfig, RecordableEnv
from volition.data.workers import Duty, Workers

logger = logging.getLogger(__name__)

DONE = layout.PRIVATE / "record.json"
CHAIN_LENGTH = 5


@dataclass(frozen=True, kw_only=True)
class RecordConfig:
    """What to record. `chains` five-task sequences, without reset in between, follow the single episodes.

    `workers` processes; 0 performs everything in this one. Only `workers` has no influence on the result.
    """

    tasks: tuple[str, ...]
    episodes_per_task: int = 10
    chains: int = 0
    scenes: tuple[str, ...] = ("",)  # taken in turn
    perform: PerformConfig = field(default_factory=PerformConfig)
    storage: LeRobotConfig = field(default_factory=LeRobotConfig)
    workers: int = 0

    def __post_init__(self) -> None:
        if not self.tasks or len(set(self.tasks)) < len(self.tasks) or not self.scenes:
            raise ValueError(
                f"tasks must be given once each, and a scene; got tasks={self.tasks}, scenes={self.scenes}"
            )
        if self.episodes_per_task < 0 or self.chains < 0 or self.episodes_per_task + self.chains == 0:
            raise ValueError(
                "episodes_per_task and chains must be at least 0 and not both 0, got "
                f"episodes_per_task={self.episodes_per_task}, chains={self.chains}"
            )
        if self.workers < 0:
            raise ValueError(f"workers must be at least 0, got {self.workers}")


@dataclass(frozen=True, kw_only=True)
class RecordProgress:
    """`jobs` of `total_jobs` are done; a chain is one job with up to five episodes. Speed counts this call alone."""

    jobs: int
    total_jobs: int
    episodes: int
    frames: int
    rejected: int
    seconds: float
    frames_per_second: float


def record(
    make_env: Callable[[], RecordableEnv],
    config: RecordConfig,
    out: Path,
    *,
    chain_tasks: Callable[[int], tuple[str, ...]] | None = None,
    progress: Callable[[RecordProgress], None] | None = None,
) -> RecordProgress:
    """Record into `out`, or finish what an earlier call with the same config began there.

    `make_env` is picklable (workers call it). `chain_tasks` names the tasks of a chain from its seed; by default they
    are drawn from `config.tasks`. On Ctrl-C, or any error, the finished episodes are in `out` when this is left.
    """
    jobs = _jobs(config, chain_tasks)
    writer = _open_writer(make_env, config, out)
    with writer:
        done = _Done.read(out)
        skip = _parts_kept(writer, done.jobs)
        clock, frames_before = time.monotonic(), writer.num_frames

        def state() -> RecordProgress:
            seconds = time.monotonic() - clock
            speed = (writer.num_frames - frames_before) / max(seconds, 1e-9)
            return RecordProgress(
                jobs=done.jobs,
                total_jobs=len(jobs),
                episodes=writer.num_episodes,
                frames=writer.num_frames,
                rejected=done.rejected,
                seconds=seconds,
                frames_per_second=speed,
            )

        duty = Duty(make_env=make_env, config=config.perform, storage=config.storage, scratch=writer.scratch("job"))
        todo = jobs[done.jobs :]
        with Workers(min(config.workers, len(todo)), duty) as workers:
            for result in workers.results(todo):
                for folder in result.folders[skip:]:
                    writer.adopt(folder)
                skip = 0
                done = _Done(jobs=done.jobs + 1, rejected=done.rejected + result.rejected)
                done.write(out)
                if progress is not None:
                    progress(state())
    if not writer.num_episodes:
        raise ValueError(
            f"not one of {len(jobs)} jobs ended in success; is the demonstrator able to do {config.tasks}?"
        )
    return state()


@dataclass(frozen=True, kw_only=True)
class _Done:
    """How far a recording has come, on disk."""

    jobs: int = 0
    rejected: int = 0

    @staticmethod
    def read(out: Path) -> _Done:
        return _Done(**read_json(out / DONE)) if (out / DONE).is_file() else _Done()

    def write(self, out: Path) -> None:
        write_json(out / DONE, dataclasses.asdict(self))


def _parts_kept(writer: LeRobotWriter, next_job: int) -> int:
    """How many episodes of the next job are already in the dataset: the interruption came between two of them."""
    source = writer.last_source
    return int(source["part"]) + 1 if source is not None and source["job"] == next_job else 0


def _jobs(config: RecordConfig, chain_tasks: Callable[[int], tuple[str, ...]] | None) -> list[Job]:
    singles = [task for _ in range(config.episodes_per_task) for task in config.tasks]
    per_scene = len(config.tasks)  # so that every task meets every scene
    jobs = [
        Job(number=i, tasks=(task,), scene=config.scenes[i // per_scene % len(config.scenes)])
        for i, task in enumerate(singles)
    ]
    for number in range(len(singles), len(singles) + config.chains):
        seed = int(np.random.SeedSequence((config.perform.seed, number)).generate_state(1)[0])
        tasks = chain_tasks(seed) if chain_tasks is not None else _draw_tasks(seed, config.tasks)
        jobs.append(Job(number=number, tasks=tuple(tasks), scene=config.scenes[number % len(config.scenes)]))
    return jobs


def _draw_tasks(seed: int, tasks: tuple[str, ...]) -> tuple[str, ...]:
    rng = np.random.default_rng(seed)
    return tuple(tasks[i] for i in rng.choice(len(tasks), CHAIN_LENGTH, replace=len(tasks) < CHAIN_LENGTH))


def _open_writer(make_env: Callable[[], RecordableEnv], config: RecordConfig, out: Path) -> LeRobotWriter:
    """A new dataset, or the one in `out` when it was begun with this config."""
    note = {"record": _as_json(dataclasses.replace(config, workers=0))}
    if not (out / layout.OURS).is_file():
        env = make_env()
        try:
            return LeRobotWriter.create(out, env.spec, config.storage, note)
        finally:
            env.close()
    writer = LeRobotWriter.resume(out)
    begun = _from_json(writer.about["note"].get("record"), out)
    require_equal(
        dataclasses.replace(config, workers=0), begun, left_name="this recording", right_name=f"the one in {out}"
    )
    logger.info("going on with %s at episode %d", out, writer.num_episodes)
    return writer


def _as_json(config: RecordConfig) -> dict[str, Any]:
    tree: dict[str, Any] = json.loads(json.dumps(dataclasses.asdict(config)))
    return tree


def _from_json(tree: Any, out: Path) -> RecordConfig:
    try:
        parts = {"perform": PerformConfig(**tree["perform"]), "storage": LeRobotConfig(**tree["storage"])}
        lists = {name: tuple(tree[name]) for name in ("tasks", "scenes")}
        return RecordConfig(**{**tree, **parts, **lists})
    except (KeyError, TypeError) as error:
        raise ValueError(
            f"{out} must be a recording of this program to go on with, but {error!r}; choose another folder"
        ) from error
