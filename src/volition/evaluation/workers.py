"""Environments in worker processes: `num_workers` processes, each with several environments (slots) of one class.

    Workers.send(slot, Begin | Play | Replay) --pipe--> Slot --> Moment | Film --pipe--> Workers.receive()

A worker is a fresh interpreter that never imports torch and never re-runs the caller's script, so no `__main__` guard
is needed. Its environments share one GL context. An error in a worker arrives here with its traceback; a dead or
silent worker is an error, never a wait without end.
"""

from __future__ import annotations

import os
import pickle
import signal
import subprocess
import sys
import time
import traceback
from collections import deque
from collections.abc import Callable
from contextlib import suppress
from multiprocessing.connection import Connection, Pipe, wait
from typing import NoReturn, TypeAlias

from volition.evaluation.slot import Failure, Film, Moment, Request, Slot
from volition.records import Env

Reply: TypeAlias = Moment | Film


# Makes an environment in another process, so it must be picklable: a config with `__call__`, or a partial of a class.
EnvFactory: TypeAlias = Callable[[], Env]


class InProcess:
    """The same slots without processes: for debugging and for environments that cannot be moved."""

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


class Workers:
    """Slots in processes. Slot i lives in process i modulo `num_workers`."""

    def __init__(self, factory: EnvFactory, num_workers: int, slots_per_worker: int, patience_seconds: float):
        self.num_slots = num_workers * slots_per_worker
        self._patience = patience_seconds
        self._pending: dict[int, Request] = {}
        self.processes: list[subprocess.Popen[bytes]] = []
        self._pipes: list[Connection] = []
        payload = pickle.dumps(factory)
        try:
            for _ in range(num_workers):
                self._spawn(slots_per_worker, payload)
        except BaseException:
            self.close()
            raise

    def _spawn(self, num_slots: int, payload: bytes) -> None:
        ours, theirs = Pipe()
        command = [sys.executable, "-m", "volition.evaluation.workers", str(theirs.fileno())]
        # One thread a worker: the policy and the other workers want the remaining cores.
        threads = dict.fromkeys(("OMP_NUM_THREADS", "OPENBLAS_NUM_THREADS", "MKL_NUM_THREADS"), "1")
        environment = os.environ | threads | {"PYTHONPATH": os.pathsep.join(p for p in sys.path if p)}
        with theirs:
            self.processes.append(subprocess.Popen(command, pass_fds=[theirs.fileno()], env=environment))
        self._pipes.append(ours)
        ours.send((num_slots, payload))

    def send(self, slot: int, request: Request) -> None:
        worker, place = self._place(slot)
        self._pending[slot] = request
        with suppress(OSError):  # a worker that has ended; its last words, if any, are read by `receive`
            self._pipes[worker].send((place, request))

    def receive(self) -> list[tuple[int, Reply]]:
        assert self._pending, "nothing was sent, so there is nothing to wait for"
        ready = wait(self._pipes, timeout=self._patience)
        if not ready:
            raise TimeoutError(
                f"environments must answer within patience_seconds={self._patience:g}; silent: {self._doing()}. "
                "Raise patience_seconds if they are only slow."
            )
        return [self._read(self._pipes.index(pipe)) for pipe in ready if isinstance(pipe, Connection)]

    def _read(self, worker: int) -> tuple[int, Reply]:
        try:
            place, reply = self._pipes[worker].recv()
        except (EOFError, OSError):
            self._report_death(worker)
        slot = place * len(self._pipes) + worker
        if isinstance(reply, Failure):
            doing = " while it was being made" if place < 0 else f" while running {self._pending[slot]}"
            raise RuntimeError(f"an environment failed{doing}. In the worker:\n{reply.traceback}")
        del self._pending[slot]
        return slot, reply

    def _report_death(self, worker: int) -> NoReturn:
        code = self.processes[worker].wait(timeout=10)
        raise RuntimeError(
            f"a worker process of the environments ended with exit code {code} while running {self._doing(worker)}; "
            "a code of -9 means that the machine was out of memory: use fewer slots or workers"
        )

    def _doing(self, worker: int | None = None) -> str:
        mine = [str(r) for s, r in self._pending.items() if worker is None or self._place(s)[0] == worker]
        return "; ".join(mine) if mine else "nothing"

    def _place(self, slot: int) -> tuple[int, int]:
        return slot % len(self._pipes), slot // len(self._pipes)

    def close(self) -> None:
        """Ends the processes: politely, and after two seconds by force."""
        for pipe in self._pipes:
            pipe.close()
        deadline = time.monotonic() + 2.0
        for process in self.processes:
            try:
                process.wait(timeout=max(0.0, deadline - time.monotonic()))
            except subprocess.TimeoutExpired:
                process.kill()
                process.wait()


Pool: TypeAlias = InProcess | Workers


def open_pool(factory: EnvFactory, *, num_workers: int, slots_per_worker: int, patience_seconds: float) -> Pool:
    """Worker processes, or with `num_workers=0` the same slots in this process."""
    if num_workers == 0:
        return InProcess(factory, slots_per_worker)
    return Workers(factory, num_workers, slots_per_worker, patience_seconds)


def _next(pipe: Connection) -> tuple[int, Request] | None:
    """The next request, or None when the parent is done or gone."""
    try:
        return pipe.recv()
    except (EOFError, OSError):
        return None


def _serve(pipe: Connection) -> None:
    """A worker's life: make the environments, answer until the pipe closes."""
    signal.signal(signal.SIGINT, signal.SIG_IGN)  # Ctrl-C reaches the whole group; the parent decides
    num_slots, payload = pipe.recv()
    slots: list[Slot] = []
    place = -1  # says that nothing was asked yet
    try:
        factory = pickle.loads(payload)
        slots.extend(Slot(factory()) for _ in range(num_slots))
        while (asked := _next(pipe)) is not None:
            place, request = asked
            pipe.send((place, slots[place].answer(request)))
    except Exception:
        with suppress(OSError):  # nobody listens any more
            pipe.send((place, Failure(traceback=traceback.format_exc())))
    finally:
        for slot in slots:
            slot.close()


if __name__ == "__main__":
    _serve(Connection(int(sys.argv[1])))
