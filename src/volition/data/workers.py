"""Processes that each hold an environment and perform jobs; results come back in the order of the jobs.

Workers are spawned, so they carry nothing of the caller but what is pickled; they leave Ctrl-C to the caller, and end
by themselves when the caller is gone.
"""

from __future__ import annotations

import multiprocessing
import signal
import traceback
from collections.abc import Callable, Iterator, Sequence
from dataclasses import dataclass
from multiprocessing.connection import Connection, wait
from pathlib import Path
from types import TracebackType

from volition.data.lerobot_stage import LeRobotConfig
from volition.data.perform import Job, JobResult, PerformConfig, RecordableEnv, perform_and_stage

AHEAD = 4  # jobs a worker may be in front of the oldest unfinished one


@dataclass(frozen=True, kw_only=True)
class Duty:
    """All that a worker needs besides jobs."""

    make_env: Callable[[], RecordableEnv]
    config: PerformConfig
    storage: LeRobotConfig
    scratch: Path

    def perform(self, env: RecordableEnv, job: Job) -> JobResult:
        place = self.scratch.with_name(f"{self.scratch.name}-{job.number}")
        return perform_and_stage(env, job, self.config, self.storage, place)


class Workers:
    """`count` processes, or none: then jobs are performed here."""

    def __init__(self, count: int, duty: Duty) -> None:
        self.duty = duty
        context = multiprocessing.get_context("spawn")
        pairs = [context.Pipe() for _ in range(count)]
        self._processes = [context.Process(target=_work, args=(theirs, duty), daemon=True) for _, theirs in pairs]
        self._pipes = [ours for ours, _ in pairs]
        for process, (_, theirs) in zip(self._processes, pairs):
            process.start()
            theirs.close()  # so that a dead worker is the end of its pipe

    def results(self, jobs: Sequence[Job]) -> Iterator[JobResult]:
        """In the order of `jobs`. RuntimeError with the worker's own traceback when a job fails."""
        if not self._processes:
            yield from self._here(jobs)
            return
        idle, finished, given, taken = list(self._pipes), dict[int, JobResult](), 0, 0
        while taken < len(jobs):
            while idle and given < min(len(jobs), taken + AHEAD * len(self._pipes)):
                idle.pop().send(jobs[given])
                given += 1
            busy = [pipe for pipe in self._pipes if pipe not in idle]
            for pipe in wait(busy):
                assert isinstance(pipe, Connection)
                result = self._receive(pipe)
                finished[result.number] = result
                idle.append(pipe)
            while taken < len(jobs) and jobs[taken].number in finished:
                yield finished.pop(jobs[taken].number)
                taken += 1

    def close(self) -> None:
        for process in self._processes:
            process.terminate()
        for process in self._processes:
            process.join()
        for pipe in self._pipes:
            pipe.close()

    def __enter__(self) -> Workers:
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        self.close()

    def _here(self, jobs: Sequence[Job]) -> Iterator[JobResult]:
        env = self.duty.make_env()
        try:
            for job in jobs:
                yield self.duty.perform(env, job)
        finally:
            env.close()

    def _receive(self, pipe: Connection) -> JobResult:
        try:
            answer = pipe.recv()
        except EOFError as error:
            process = self._processes[self._pipes.index(pipe)]
            process.join(1)
            raise RuntimeError(
                f"a recording worker died (exit code {process.exitcode}); what was finished is kept, "
                f"the same command goes on from there"
            ) from error
        if isinstance(answer, str):
            raise RuntimeError(f"a recording worker failed:\n{answer}")
        assert isinstance(answer, JobResult)
        return answer


def _work(pipe: Connection, duty: Duty) -> None:
    """The life of a worker process."""
    signal.signal(signal.SIGINT, signal.SIG_IGN)
    try:
        env = duty.make_env()
        while True:
            pipe.send(duty.perform(env, pipe.recv()))
    except (EOFError, BrokenPipeError, ConnectionResetError):
        return  # the caller is gone
    except Exception:  # whatever it is, the caller must hear of it
        pipe.send(traceback.format_exc())
