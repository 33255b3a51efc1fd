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
from collections.abc import Callable, Iterator, Mapping, Sequence
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

import numpy as np

from volition.contract import require_equal
from volition.data import lerobot_layout as layout
from volition.data.files import json_differences
from volition.data.lerobot_stage import LeRobotConfig
from volition.data.lerobot_write import LeRobotWriter
from volition.data.perform import Job, PerformConfig, RecordableEnv
from volition.data.workers import Duty, Workers

logger = logging.getLogger(__name__)

JOURNAL = layout.PRIVATE / "record.jsonl"
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
    about_env: Mapping[str, Any] | None = None,
    progress: Callable[[RecordProgress], None] | None = None,
) -> RecordProgress:
    """Record into `out`, or finish what an earlier call with the same config began there.

    `make_env` is picklable (workers call it). `chain_tasks` names the tasks of a chain from its seed; by default they
    are drawn from `config.tasks`. `about_env` is JSON that says how the environment was made: it is kept with the
    dataset, and one begun with another is not gone on with. On Ctrl-C, or any error, the finished episodes are in
    `out` when this is left.
    """
    jobs = _jobs(config, chain_tasks)
    began = time.monotonic()
    with _open_writer(make_env, config, out, about_env or {}) as writer:
        frames_before = writer.num_frames
        done = before = _last_done(out, writer.num_episodes)
        duty = Duty(make_env=make_env, config=config.perform, storage=config.storage, scratch=writer.scratch("job"))
        for done in _perform_rest(jobs, before, duty, config.workers, writer):
            if progress is not None:
                progress(_progress(done, len(jobs), writer, began, frames_before))
    if not writer.num_episodes:
        raise ValueError(
            f"not one of {len(jobs)} jobs ended in success; is the demonstrator able to do {config.tasks}?"
        )
    return _progress(done, len(jobs), writer, began, frames_before)


@dataclass(frozen=True, kw_only=True)
class _Done:
    """How far a recording had come when a job was finished: a line of the journal."""

    jobs: int = 0
    episodes: int = 0
    rejected: int = 0


def _perform_rest(
    jobs: Sequence[Job], done: _Done, duty: Duty, num_workers: int, writer: LeRobotWriter
) -> Iterator[_Done]:
    """Perform what is left of `jobs`, adopt the episodes in order, and note every finished job in the journal."""
    todo = jobs[done.jobs :]
    skip = writer.num_episodes - done.episodes  # the interruption came between the episodes of one job
    with Workers(min(num_workers, len(todo)), duty) as workers, (writer.root / JOURNAL).open("w") as journal:
        journal.write(json.dumps(dataclasses.asdict(done)) + "\n")
        for result in workers.results(todo):
            for folder in result.folders[skip:]:
                writer.adopt(folder)
            skip = max(skip - len(result.folders), 0)
            rejected = done.rejected + result.rejected
            done = _Done(jobs=result.number + 1, episodes=writer.num_episodes - skip, rejected=rejected)
            journal.write(json.dumps(dataclasses.asdict(done)) + "\n")
            journal.flush()
            yield done


def _progress(done: _Done, total: int, writer: LeRobotWriter, began: float, frames_before: int) -> RecordProgress:
    seconds = time.monotonic() - began
    return RecordProgress(
        jobs=done.jobs,
        total_jobs=total,
        episodes=writer.num_episodes,
        frames=writer.num_frames,
        rejected=done.rejected,
        seconds=seconds,
        frames_per_second=(writer.num_frames - frames_before) / max(seconds, 1e-9),
    )


def _last_done(out: Path, num_episodes: int) -> _Done:
    """The last line of the journal that the episodes on the disk bear out; a line cut short ends the journal."""
    found = _Done()
    if (out / JOURNAL).is_file():
        for line in (out / JOURNAL).read_text().splitlines():
            try:
                done = _Done(**json.loads(line))
            except (ValueError, TypeError):
                break
            if done.episodes <= num_episodes and done.jobs > found.jobs:
                found = done
    return found


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


def _open_writer(
    make_env: Callable[[], RecordableEnv], config: RecordConfig, out: Path, about_env: Mapping[str, Any]
) -> LeRobotWriter:
    """A new dataset, or the one in `out` when it was begun with this config and environment."""
    record_part = dataclasses.asdict(dataclasses.replace(config, workers=0))
    note = json.loads(json.dumps({"record": record_part, "environment": about_env}))
    env = make_env()
    try:
        spec = env.spec
    finally:
        env.close()
    if not (out / layout.OURS).is_file():
        return LeRobotWriter.create(out, spec, config.storage, note)
    writer = LeRobotWriter.resume(out)
    different = json_differences(note, writer.about.get("note"))
    if different:
        raise ValueError(
            f"{out} was begun otherwise; to go on, record the same, else choose another folder "
            f"(or train on what is there: volition train --no-record). Now != then:\n  " + "\n  ".join(different)
        )
    require_equal(spec, writer.spec, left_name="the environment", right_name=f"the dataset {out}")
    logger.info("going on with %s at episode %d", out, writer.num_episodes)
    return writer
