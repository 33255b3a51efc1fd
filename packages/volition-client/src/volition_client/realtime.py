"""Real-time chunking: the robot never waits for the policy.

    control step  0    1    2    3    4    5    6    7 ...
    executing     [------- chunk A -------]
    thinking                |-- infer --|               asked with the observation of step 2
    chunk B                 b0   b1   b2   b3 ...       b0..b2 are in the past when it arrives: frozen, A did them
    executed      a0   a1   a2   a3   a4   ab  ab  b5   the overlap fades from A to B

While a request is under way its chunk's first actions pass; these are skipped, and where old and new chunk overlap, the
action fades from one to the other, so that the arm does not jump. This works with any head. A policy that can (a server
whose head is flow or diffusion, `Client.accepts("settled")`) is told what is left of the old chunk, and that its first
steps are settled: the new chunk then continues it (real-time chunking, Black et al. 2025).

Inference runs in one thread; `act` returns at once. When the chunk runs out before an answer has come there is nothing
to execute: `act` then raises `OutOfActionsError`, and the robot must hold (`safety.Envelope.hold`).
"""

from __future__ import annotations

import logging
import threading
import time
from collections import deque
from typing import Any, Callable, Mapping, Sequence

import numpy as np

from volition_client.chunks import chunk_of, combine, tell, time_of

logger = logging.getLogger(__name__)


class OutOfActionsError(RuntimeError):
    """The policy was too slow: every action that it planned has been executed."""


class RealtimeChunks:
    """`replan_steps`: actions between two requests at least; the policy is asked again as soon as these have passed.

    `fade`: overlapping steps over which the old chunk gives way to the new one; 0 switches at once. `binary` dimensions
    switch in the middle of the fade.
    """

    def __init__(self, policy: Any, replan_steps: int, fade: int = 3, binary: Sequence[int] = ()) -> None:
        if replan_steps < 1 or fade < 0:
            raise ValueError(f"replan_steps must be at least 1 and fade at least 0, got {replan_steps} and {fade}")
        self._policy, self._replan_steps, self._fade, self._binary = policy, replan_steps, fade, list(binary)
        self._step = 0
        self._plan: dict[int, np.ndarray] = {}  # step -> action
        self._asked_at = 0  # the step of the newest request
        self._delivered = 0  # actions since the newest request that was answered
        self._worker: _Request | None = None
        self.delays: deque[int] = deque(maxlen=100)  # steps that passed while the policy thought
        self.answer: dict[str, Any] = {}
        self.observed_at: float | None = None  # when the observation behind the newest chunk was made, if it said

    def act(self, observation: Mapping[str, Any]) -> np.ndarray:
        """Call once a control step. The first call waits for the first chunk; no later one waits.

        Raises what `infer` raised, in the step after, and OutOfActionsError.
        """
        self._take()
        if self._worker is None and (not self._plan or self._step - self._asked_at >= self._replan_steps):
            if self.answer:
                self._tell(self._delivered)
            self._asked_at = self._step
            self._worker = _Request(self._policy.infer, dict(observation), self._delivered)
            if self._step == 0:
                self._worker.wait()
                self._take()
        if self._step not in self._plan:
            raise OutOfActionsError(
                f"step {self._step} has no action: the chunk ended before the policy answered; hold, and ask again"
            )
        action = self._plan.pop(self._step)
        self._step += 1
        self._delivered += 1
        return action

    def skip(self) -> None:
        """A control step passed without one of our actions (the robot held): plans stay in step with the robot."""
        self._plan.pop(self._step, None)
        self._step += 1

    def reset(self) -> None:
        """Waits for a request that is under way; its answer belongs to the episode that ended."""
        if self._worker is not None:
            self._worker.wait()
            self._worker = None
        self._policy.reset()
        self._plan.clear()
        self.answer = {}
        self._step = self._asked_at = self._delivered = 0

    def _tell(self, executed: int) -> None:
        """What is left of the plan, settled for as long as the policy will think, as it did the last times."""
        left: list[np.ndarray] = []
        while self._step + len(left) in self._plan:
            left.append(self._plan[self._step + len(left)])
        if left:
            delay = max(self.delays, default=1)
            tell(self._policy, executed, np.stack(left), soft_weights(len(left), min(delay, len(left))))
        else:
            tell(self._policy, executed)

    def _take(self) -> None:
        """Merge a chunk that has arrived."""
        if self._worker is None or not self._worker.done:
            return
        worker, self._worker = self._worker, None
        self.answer = worker.result()
        self._delivered -= worker.delivered
        chunk, first = chunk_of(self.answer), self._asked_at
        self.observed_at = time_of(worker.observation)
        self.delays.append(self._step - first)
        old, self._plan = self._plan, {}
        for offset in range(self._step - first, len(chunk)):
            step = first + offset
            new = chunk[offset]
            passed = step - self._step + 1  # 1 for the first step that can still be changed
            if step in old and passed <= self._fade:
                share = passed / (self._fade + 1)
                new = combine(np.stack([old[step], new]), np.array([1 - share, share]), self._binary)
            self._plan[step] = new


def soft_weights(count: int, settled: int) -> np.ndarray:
    """float32[count]: 1 for the first `settled` actions, then falling towards 0, ever faster at first."""
    share = (count - np.arange(count)) / (count - settled + 1)
    return np.where(np.arange(count) < settled, 1.0, share * np.expm1(share) / np.expm1(1.0)).astype(np.float32)


class _Request:
    """One call in a thread of its own. `delivered`: actions that were carried out before it, and are not its own."""

    def __init__(
        self, infer: Callable[[Mapping[str, Any]], dict[str, Any]], observation: Mapping[str, Any], delivered: int
    ) -> None:
        self._infer, self.observation, self.delivered = infer, observation, delivered
        self._answer: dict[str, Any] | None = None
        self._error: Exception | None = None
        self._thread = threading.Thread(target=self._run, name="volition-request", daemon=True)
        self.started = time.monotonic()
        self._thread.start()

    def _run(self) -> None:
        try:
            self._answer = self._infer(self.observation)
        except Exception as error:  # whatever it is, it is raised where the robot's loop runs
            self._error = error

    @property
    def done(self) -> bool:
        return not self._thread.is_alive()

    def wait(self) -> None:
        self._thread.join()

    def result(self) -> dict[str, Any]:
        assert self.done
        if self._error is not None:
            raise self._error
        assert self._answer is not None
        return self._answer
