"""Environments in worker processes: `num_workers` processes, each with several environments (slots) of one class.

    Workers.send(slot, Begin | Play | Replay | Ask) --pipe--> Slot --> Moment | Film | Worded --pipe--> .receive()

A process that dies, hangs or whose environment raises costs what its slots were at, and nothing else: `receive` says
Lost for each of them, and new ones stand in their place. Its environments share one GL context. A process leads a
session of its own, so that whatever its environments started ends with it.
"""

from __future__ import annotations

import os
import pickle
import signal
import subprocess
import sys
import time
from collections import deque
from collections.abc import Callable
from contextlib import suppress
from dataclasses import dataclass, field
from multiprocessing.connection import Connection, Pipe, wait
from typing import TypeAlias

from volition.evaluation.slot import Failure, Film, Made, Moment, Request, Slot, Worded
from volition.records import Env

MAX_STARTS = 3  # in a row that fail, of a process that could make its environments before
START_SECONDS = 60.0  # that a process has for making its environments, at the least
GLANCE_SECONDS = 1.0  # between two looks whether a process is still there: one that it forked may keep its pipe open


@dataclass(frozen=True, kw_only=True)
class Lost:
    """The slot's environment was replaced by a new one. `guilty`: it was the one at work when that became necessary."""

    reason: str
    guilty: bool


Reply: TypeAlias = Moment | Film | Worded | Lost


# Makes an environment in another process, so it must be picklable: a bound method of a config, a partial of a class.
EnvFactory: TypeAlias = Callable[[], Env]


class InProcess:
    """The same slots without processes, whose errors are raised: for debugging, and for what cannot be moved."""

    def __init__(self, factory: EnvFactory, num_slots: int):
        self.num_slots = num_slots
        self._slots = [Slot(factory()) for _ in range(num_slots)]
        self._replies: deque[tuple[int, Reply]] = deque()

    def send(self, slot: int, request: Request) -> None:
        self._replies.append((slot, self._slots[slot].answer(request)))

    def receive(self) -> list[tuple[int, Reply]]:
        assert self._replies, "nothing was sent, so there is nothing to wait for"
        replies = list(self._replies)
        self._replies.clear()
        return replies

    def close(self) -> None:
        for slot in self._slots:
            slot.close()


@dataclass(kw_only=True)
class _Worker:
    """A process, and what it was asked and has not answered: it works in that order."""

    process: subprocess.Popen[bytes]
    pipe: Connection
    made: bool = False  # its environments are there
    asked: deque[tuple[int, Request]] = field(default_factory=deque)  # place of the slot, request
    since: float = field(default_factory=time.monotonic)  # when it began with the first of them, at the latest


class Workers:
    """Slots in processes. Slot i lives in process i modulo `num_workers`."""

    def __init__(self, factory: EnvFactory, num_workers: int, slots_per_worker: int, patience_seconds: float):
        self.num_slots = num_workers * slots_per_worker
        self._slots_each = slots_per_worker
        self._patience = patience_seconds
        self._payload = pickle.dumps(factory)
        self._could_be_made = False  # at least once, in any of them
        self._failed_starts = 0  # in a row
        self._crew: list[_Worker] = []
        try:
            for _ in range(num_workers):
                self._crew.append(self._spawn())
        except BaseException:
            self.close()
            raise

    @property
    def processes(self) -> list[subprocess.Popen[bytes]]:
        return [worker.process for worker in self._crew]

    def send(self, slot: int, request: Request) -> None:
        number, place = slot % len(self._crew), slot // len(self._crew)
        worker = self._crew[number]
        if not worker.asked:
            worker.since = time.monotonic()
        worker.asked.append((place, request))
        with suppress(OSError):  # a process that has ended; its last words, if any, are read by `receive`
            worker.pipe.send((place, request))

    def receive(self) -> list[tuple[int, Reply]]:
        """At least one reply. RuntimeError where environments cannot be made at all."""
        assert any(worker.asked for worker in self._crew), "nothing was sent, so there is nothing to wait for"
        replies: list[tuple[int, Reply]] = []
        while not replies:
            busy = {worker.pipe: number for number, worker in enumerate(self._crew) if worker.asked}
            deadline = min(self._deadline(number) for number in busy.values())
            ready = wait(list(busy), timeout=min(GLANCE_SECONDS, max(0.0, deadline - time.monotonic())))
            for pipe in ready:
                assert isinstance(pipe, Connection)
                replies += self._read(busy[pipe])
            replies += self._end_silent([number for pipe, number in busy.items() if pipe not in ready])
        return replies

    def close(self) -> None:
        """Ends the processes: politely, and after two seconds by force."""
        for worker in self._crew:
            worker.pipe.close()
        deadline = time.monotonic() + 2.0
        for worker in self._crew:
            with suppress(subprocess.TimeoutExpired):
                worker.process.wait(timeout=max(0.0, deadline - time.monotonic()))
            _end(worker.process)

    def _spawn(self) -> _Worker:
        ours, theirs = Pipe()
        command = [sys.executable, "-m", "volition.evaluation.worker", str(theirs.fileno())]
        # One thread a worker: the policy and the other workers want the remaining cores.
        threads = dict.fromkeys(("OMP_NUM_THREADS", "OPENBLAS_NUM_THREADS", "MKL_NUM_THREADS"), "1")
        environment = os.environ | threads | {"PYTHONPATH": os.pathsep.join(p for p in sys.path if p)}
        with theirs:
            process = subprocess.Popen(command, pass_fds=[theirs.fileno()], env=environment, start_new_session=True)
        with suppress(OSError):  # it has ended already, which `receive` will find
            ours.send((self._slots_each, self._payload))
        return _Worker(process=process, pipe=ours)

    def _read(self, number: int) -> list[tuple[int, Reply]]:
        worker = self._crew[number]
        try:
            place, reply = worker.pipe.recv()
        except (EOFError, OSError):
            return self._replace(number, self._how_it_ended(worker))
        worker.since = time.monotonic()
        if isinstance(reply, Made):
            worker.made, self._could_be_made, self._failed_starts = True, True, 0
            return []
        if isinstance(reply, Failure) and place < 0:
            # Where there were environments, one could not be made anew after its error, which was told already.
            return self._replace(number, f"it could not be made. In the worker:\n{reply.traceback}", blame=False)
        asked_place, _ = worker.asked.popleft()
        assert asked_place == place, "a worker answers in the order in which it was asked"
        slot = place * len(self._crew) + number
        if isinstance(reply, Failure):
            reason = f"the environment raised an error. In the worker:\n{reply.traceback}"
            return [(slot, Lost(reason=reason, guilty=True))]
        return [(slot, reply)]

    def _deadline(self, number: int) -> float:
        worker = self._crew[number]
        return worker.since + (self._patience if worker.made else max(self._patience, START_SECONDS))

    def _end_silent(self, quiet: list[int]) -> list[tuple[int, Reply]]:
        """Processes that have gone without a word, or been silent for too long, are ended and replaced."""
        replies: list[tuple[int, Reply]] = []
        for number in quiet:
            worker = self._crew[number]
            if worker.process.poll() is not None and not worker.pipe.poll():
                replies += self._replace(number, self._how_it_ended(worker))
            elif time.monotonic() >= self._deadline(number):
                waited = f"patience_seconds={self._patience:g}; raise it if it is slow"
                doing = "was silent for" if worker.made else "was not made within"
                reason = f"the environment {doing} {waited}"
                replies += self._replace(number, reason)
        return replies

    def _replace(self, number: int, reason: str, *, blame: bool = True) -> list[tuple[int, Reply]]:
        """A new process, and a Lost for every slot of the old one: the oldest request is what it was at."""
        old = self._crew[number]
        old.pipe.close()
        _end(old.process)
        if not old.made:
            self._failed_starts += 1
            if not self._could_be_made or self._failed_starts >= MAX_STARTS:
                raise RuntimeError(f"environments must be made before they can be asked, but failed to be: {reason}")
        self._crew[number] = self._spawn()
        culprit = old.asked[0][0] if old.asked and old.made and blame else -1
        return [
            (place * len(self._crew) + number, Lost(reason=reason, guilty=place == culprit))
            for place in range(self._slots_each)
        ]

    @staticmethod
    def _how_it_ended(worker: _Worker) -> str:
        try:
            code = worker.process.wait(timeout=10)
        except subprocess.TimeoutExpired:
            return "the environment's process closed its pipe"
        hint = "; -9 means that it was killed, mostly because memory ran out: use fewer workers" if code == -9 else ""
        return f"the environment's process ended with exit code {code}{hint}"


def _end(process: subprocess.Popen[bytes]) -> None:
    """With all that it started."""
    with suppress(ProcessLookupError, PermissionError):  # nothing is left of its group
        os.killpg(process.pid, signal.SIGKILL)
    process.wait()


Pool: TypeAlias = InProcess | Workers


def open_pool(factory: EnvFactory, *, num_workers: int, slots_per_worker: int, patience_seconds: float) -> Pool:
    """Worker processes, or with `num_workers=0` the same slots in this process."""
    if num_workers == 0:
        return InProcess(factory, slots_per_worker)
    return Workers(factory, num_workers, slots_per_worker, patience_seconds)


def ask_first(pool: Pool, request: Request, *, tries: int = 1) -> Reply:
    """What the first slot answers, where no other was asked; Lost where its environment was, every time."""
    for _ in range(tries):
        pool.send(0, request)
        reply = dict(pool.receive())[0]
        if not isinstance(reply, Lost):
            break
    return reply
