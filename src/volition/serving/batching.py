"""The policy's own thread: requests of many sessions, answered together.

    submit(job) -> queue -> [the jobs that wait, up to max_batch] -> Actor.act -> answers, each to its own future

States are explicit and belong to a row, so any jobs may share a call. Free batching calls with as many rows as there
are: the fastest, and within rounding of a session that is served alone. With `fixed`, a call always has that many rows,
of one instruction (so that padding cannot differ), and when an instruction first comes it is shown that rows do not
depend on their place or neighbours (else they are asked one by one): answers are then equal to the bit, whoever else is
served.
"""

from __future__ import annotations

import logging
import threading
import time
from collections import deque
from collections.abc import Sequence
from concurrent.futures import Future
from dataclasses import dataclass, field
from typing import Any

import numpy as np

from volition.contract import RobotSpec
from volition.evaluation.batching import FixedBatch, confidence_of, rows_are_independent
from volition.records import Observation, Settled
from volition.serving.metrics import Metrics
from volition.serving.served import Served
from volition_client.errors import ServerError

logger = logging.getLogger(__name__)
KNOWN_INSTRUCTIONS = 64  # of which a server with fixed calls remembers whether rows are independent
WARM_UP_PROMPTS = ("open the drawer", "push the blue block over to the left, please")


@dataclass(frozen=True, kw_only=True)
class Memory:
    """A policy's state of one session, and of which policy it is."""

    state: Any
    key: str


@dataclass(frozen=True, kw_only=True)
class Result:
    chunk: np.ndarray  # float32[H, A]
    memory: Memory
    confidence: np.ndarray | None  # float32[H]
    rows: int  # of the call that answered
    seconds: float  # that the call took
    policy: str  # the name of the policy that answered
    forgot: bool  # the session's memory did not fit the policy that is served now


@dataclass(frozen=True, kw_only=True)
class Job:
    observation: Observation
    memory: Memory | None  # None: the session begins
    settled: Settled | None = None  # what the robot is going to do anyway; only for policies that can continue it
    future: Future[Result] = field(default_factory=Future)


class PolicyThread:
    """`max_batch`: rows of one call at most; `fixed`: always so many, for answers that are equal to the bit."""

    def __init__(self, served: Served, metrics: Metrics, *, max_batch: int, fixed: bool):
        self.served, self._metrics, self._most, self._fixed = served, metrics, max_batch, fixed
        self._jobs: deque[Job] = deque()
        self._next: tuple[Served, dict[str, int], threading.Event] | None = None
        self._wake = threading.Condition()
        self._stopped = False
        self._thread = threading.Thread(target=self._run, name="volition-policy", daemon=True)
        self._rows: dict[str, int] = {}  # of a fixed call, by its instruction
        self._rows = self.prepare(served)

    @property
    def waiting(self) -> int:
        return len(self._jobs)

    def start(self) -> None:
        self._thread.start()

    def submit(self, job: Job) -> None:
        with self._wake:
            if self._stopped:
                raise ServerError("draining", "the server is about to stop")
            self._jobs.append(job)
            self._wake.notify()

    def prepare(self, served: Served) -> dict[str, int]:
        """Warm a policy up, off the thread that serves; the rows of a fixed call for instructions that are known."""
        for rows in sorted({1, self._most}):
            observations = warm_up_observations(served.robot, rows)
            states = served.actor.start(rows)
            for _ in range(2):
                _, states = served.actor.act(observations, states)
        known = [*self._rows] or [WARM_UP_PROMPTS[0]]
        return {prompt: self._fixed_rows(served, prompt) for prompt in known} if self._fixed else {}

    def replace(self, served: Served, rows: dict[str, int]) -> None:
        """Between two calls, `served` takes over; returns when it has. `rows`: what `prepare` said of it."""
        taken = threading.Event()
        with self._wake:
            self._next = (served, rows, taken)
            self._wake.notify()
        taken.wait()

    def stop(self) -> None:
        """Ends when every job that was submitted has its answer."""
        with self._wake:
            self._stopped = True
            self._wake.notify()
        if self._thread.is_alive():
            self._thread.join()

    def _run(self) -> None:
        while (instruction := self._wait()) is not None:
            rows = self._rows_of(instruction) if self._fixed else self._most
            if jobs := self._take(instruction, rows):
                self._answer(jobs, rows)

    def _wait(self) -> str | None:
        """The instruction of the job that waits longest; None at the end. A new policy takes over here."""
        with self._wake:
            while True:
                if self._next is not None:
                    self.served, self._rows, taken = self._next
                    self._next = None
                    taken.set()
                if self._jobs:
                    return self._jobs[0].observation.instruction
                if self._stopped:
                    return None
                self._wake.wait()

    def _take(self, instruction: str, rows: int) -> list[Job]:
        """The jobs of the next call."""
        with self._wake:
            taken: list[Job] = []
            left: deque[Job] = deque()
            for job in self._jobs:
                alike = not self._fixed or job.observation.instruction == instruction
                (taken if len(taken) < rows and alike else left).append(job)
            self._jobs = left
        return [job for job in taken if job.future.set_running_or_notify_cancel()]

    def _rows_of(self, instruction: str) -> int:
        """Of a fixed call; an instruction that was not asked for a long time is looked at again."""
        rows = self._rows.pop(instruction, 0) or self._fixed_rows(self.served, instruction)
        self._rows[instruction] = rows
        while len(self._rows) > KNOWN_INSTRUCTIONS:
            del self._rows[next(iter(self._rows))]
        return rows

    def _fixed_rows(self, served: Served, instruction: str) -> int:
        """How a matrix product rounds may depend on its shape, so on the length of the instruction."""
        alike = warm_up_observations(served.robot, self._most, prompts=[instruction])
        try:
            fine = self._most == 1 or rows_are_independent(served.actor, alike, self._most)
        except Exception as error:  # whatever a policy raises: the request that brings it hears of it
            logger.warning("the policy cannot be tried on %r: %s", instruction, error)
            fine = False
        if not fine:
            logger.warning(
                "answers to %r depend on a row's place or neighbours in a batch of %d: asking row by row, which is "
                "slower, so that sessions do not depend on each other",
                instruction,
                self._most,
            )
        return self._most if fine else 1

    def _answer(self, jobs: Sequence[Job], rows: int) -> None:
        try:
            results = self._act(jobs, rows)
        except Exception as error:  # whatever a policy raises, the others go on
            if len(jobs) > 1:
                logger.warning("a call of %d rows failed (%s): asking row by row", len(jobs), error)
                for job in jobs:
                    self._answer([job], rows)
                return
            logger.exception("the policy failed on an observation")
            jobs[0].future.set_exception(ServerError("internal", f"the policy failed: {type(error).__name__}: {error}"))
            return
        for job, result in zip(jobs, results):
            job.future.set_result(result)

    def _act(self, jobs: Sequence[Job], rows: int) -> list[Result]:
        served = self.served
        fits = [job.memory is not None and job.memory.key == served.memory for job in jobs]
        states = [
            job.memory.state if known and job.memory is not None else served.actor.start(1)[0]
            for job, known in zip(jobs, fits)
        ]
        actor = FixedBatch(served.actor, rows if self._fixed else len(jobs))
        started = time.perf_counter()
        chunks, after = actor.act([job.observation for job in jobs], states, [job.settled for job in jobs])
        seconds = time.perf_counter() - started
        self._metrics.policy.observe(seconds)
        self._metrics.rows.observe(float(len(jobs)))
        return [
            Result(
                chunk=chunk,
                memory=Memory(state=state, key=served.memory),
                confidence=confidence_of(state),
                rows=len(jobs),
                seconds=seconds,
                policy=served.name,
                forgot=job.memory is not None and not known,
            )
            for job, known, chunk, state in zip(jobs, fits, chunks, after)
        ]


def warm_up_observations(
    robot: RobotSpec, count: int, prompts: Sequence[str] = WARM_UP_PROMPTS, seed: int = 0
) -> list[Observation]:
    """Noise of the right shapes."""
    rng = np.random.default_rng(seed)
    return [
        Observation(
            images={c.name: rng.integers(0, 256, (1, c.height, c.width, 3), dtype=np.uint8) for c in robot.cameras},
            state=rng.standard_normal((1, len(robot.state))).astype(np.float32),
            instruction=prompts[i % len(prompts)],
        )
        for i in range(count)
    ]
