"""The policy's own thread: requests of many sessions, answered together.

    submit(job) -> queue -> [the jobs that wait, up to max_batch] -> Actor.act -> answers, each to its own future

States are explicit and belong to a row, so any jobs may share a call. Free batching calls with as many rows as there
are: the fastest, and within rounding of a session that is served alone. With `fixed`, a call always has that many rows,
and its jobs are of one instruction (so that padding cannot differ). They are one at a time until it is shown that rows
of that instruction do not depend on their place or neighbours: a job alone is padded to the same rows, so its answer is
equal to the bit before and after, and whoever else is served. It is shown when two jobs of an instruction first wait
together, so nobody pays for instructions that only one robot has, and between the trial's calls others are answered.
"""

from __future__ import annotations

import logging
import threading
import time
from collections import deque
from collections.abc import Callable, Sequence
from concurrent.futures import Future
from dataclasses import dataclass, field
from typing import Any

import numpy as np

from volition.contract import RobotSpec
from volition.evaluation.batching import FixedBatch, confidence_of, rows_are_independent
from volition.records import Actor, Observation, Settled
from volition.serving.metrics import Metrics
from volition.serving.refusals import quoted
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
        self._next: tuple[Served, int] | None = None
        self._wake = threading.Condition()
        self._stopped = False
        self._thread = threading.Thread(target=self._run, name="volition-policy", daemon=True)
        self._size = self.prepare(served)  # rows of a fixed call
        self._shared: dict[str, bool] = {}  # instruction -> whether jobs of it may share a fixed call
        self._trying = False

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
            self._wake.notify_all()

    def prepare(self, served: Served) -> int:
        """Warm a policy up, off the thread that serves; how many rows its fixed calls have.

        One where rows depend on each other whatever the instruction: padding would cost, and nothing ever be shared.
        """
        for rows in sorted({1, self._most}):
            observations = warm_up_observations(served.robot, rows)
            states = served.actor.start(rows)
            for _ in range(2):
                _, states = served.actor.act(observations, states)
        return self._most if self._fixed and self._may_share(served.actor, served.robot, WARM_UP_PROMPTS[0]) else 1

    def replace(self, served: Served, size: int) -> None:
        """Between two calls, `served` takes over; returns when it has. `size`: what `prepare` said of it."""
        with self._wake:
            self._next = (served, size)
            self._wake.notify_all()
            self._wake.wait_for(lambda: self._next is None or self._stopped)
            if self._next is not None:
                raise RuntimeError("the server is about to stop, and takes no other policy")

    def stop(self, seconds: float) -> bool:
        """Whether every job that was submitted has its answer. A call that takes longer than `seconds` is given up."""
        with self._wake:
            self._stopped = True
            self._wake.notify_all()
        if self._thread.is_alive():
            self._thread.join(seconds)
        return not self._thread.is_alive()

    def _run(self) -> None:
        while (instruction := self._wait()) is not None:
            self._serve(instruction)

    def _wait(self) -> str | None:
        """The instruction of the job that waits longest; None at the end. A new policy takes over here."""
        with self._wake:
            while True:
                if self._next is not None:
                    (self.served, self._size), self._next = self._next, None
                    self._shared.clear()
                    self._wake.notify_all()
                if self._jobs:
                    return self._jobs[0].observation.instruction
                if self._stopped:
                    return None
                self._wake.wait()

    def _serve(self, instruction: str) -> None:
        """One call."""
        if jobs := self._take(instruction, self._together(instruction) if self._fixed else self._most):
            self._answer(jobs)

    def _take(self, instruction: str, most: int) -> list[Job]:
        """The jobs of the next call."""
        with self._wake:
            taken: list[Job] = []
            left: deque[Job] = deque()
            for job in self._jobs:
                alike = not self._fixed or job.observation.instruction == instruction
                (taken if len(taken) < most and alike else left).append(job)
            self._jobs = left
        return [job for job in taken if job.future.set_running_or_notify_cancel()]

    def _together(self, instruction: str) -> int:
        """How many jobs of it may share a fixed call. What was not asked for a long time is tried again."""
        known = self._shared.pop(instruction, None)
        if known is None and self._size > 1 and not self._trying and self._several_wait(instruction):
            self._trying = True
            known = self._may_share(
                _Courteous(self.served.actor, self._serve_who_waits), self.served.robot, instruction
            )
            self._trying = False
        if known is not None:
            self._shared[instruction] = known
        while len(self._shared) > KNOWN_INSTRUCTIONS:
            del self._shared[next(iter(self._shared))]
        return self._size if known else 1

    def _several_wait(self, instruction: str) -> bool:
        with self._wake:
            return sum(job.observation.instruction == instruction for job in self._jobs) > 1

    def _serve_who_waits(self) -> None:
        with self._wake:
            instruction = self._jobs[0].observation.instruction if self._jobs else None
        if instruction is not None:
            self._serve(instruction)

    def _may_share(self, actor: Actor, robot: RobotSpec, instruction: str) -> bool:
        """How a matrix product rounds may depend on its shape, so on the length of the instruction."""
        alike = warm_up_observations(robot, self._most, prompts=[instruction])
        try:
            fine = self._most == 1 or rows_are_independent(actor, alike, self._most)
        except Exception as error:  # whatever a policy raises: the request that brings it hears of it
            logger.warning("the policy cannot be tried on %s: %s", quoted(instruction), error)
            fine = False
        if not fine:
            logger.warning(
                "answers to %s depend on a row's place or neighbours in a batch of %d: asking for one at a time, which "
                "is slower, so that sessions do not depend on each other",
                quoted(instruction),
                self._most,
            )
        return fine

    def _answer(self, jobs: Sequence[Job]) -> None:
        try:
            results = self._act(jobs)
        except Exception as error:  # whatever a policy raises, the others go on
            if len(jobs) > 1:
                logger.warning("a call of %d rows failed (%s): asking row by row", len(jobs), error)
                for job in jobs:
                    self._answer([job])
                return
            logger.exception("the policy failed on an observation")
            jobs[0].future.set_exception(ServerError("internal", f"the policy failed: {type(error).__name__}: {error}"))
            return
        for job, result in zip(jobs, results):
            job.future.set_result(result)

    def _act(self, jobs: Sequence[Job]) -> list[Result]:
        served = self.served
        fits = [job.memory is not None and job.memory.key == served.memory for job in jobs]
        states = [
            job.memory.state if known and job.memory is not None else served.actor.start(1)[0]
            for job, known in zip(jobs, fits)
        ]
        actor = FixedBatch(served.actor, self._size if self._fixed else len(jobs))
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


class _Courteous:
    """A policy on trial: before each of its calls, who waits is answered."""

    def __init__(self, actor: Actor, answer: Callable[[], None]):
        self._actor, self._answer = actor, answer

    def start(self, n: int) -> list[Any]:
        return self._actor.start(n)

    def act(self, observations: Sequence[Observation], states: Sequence[Any]) -> tuple[np.ndarray, list[Any]]:
        self._answer()
        return self._actor.act(observations, states)


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
