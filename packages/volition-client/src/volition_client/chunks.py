"""From chunks of actions to one action a control step: wrappers around anything with `infer` and `reset`.

    ChunkBroker          asks, executes `replan_steps` of the chunk, asks again: what a policy was trained for
    TemporalEnsemble     asks at every step, and averages what all chunks say about this step
    RealtimeChunks       asks in a thread of its own while the robot moves on; see `realtime.py`

An observation is the dict that goes to the server. All return float32[A] in robot units, and remember as `observed_at`
when the observation was made that the action is an answer to (its `time` less its `age`): what an envelope must hear,
for the newest look says nothing of how old a chunk is.
"""

from __future__ import annotations

from collections import deque
from typing import Any, Mapping, Sequence

import numpy as np


class Policy:
    """What the brokers need of a policy; `Client` has it. (A base class for yours, not a requirement.)

    One that has `tell(executed, settled, weights)` as well is told before each request but the first how many of the
    last chunk's actions were carried out and, by `RealtimeChunks`, which are settled.
    """

    def infer(self, observation: Mapping[str, Any]) -> dict[str, Any]:
        raise NotImplementedError

    def reset(self) -> None:
        """Forget the episode so far."""


def chunk_of(answer: Mapping[str, Any]) -> np.ndarray:
    """The actions [H, A] of an answer; ValueError where they are none, or not finite."""
    chunk = np.asarray(answer["actions"])
    if chunk.ndim != 2 or not len(chunk):
        raise ValueError(f"a policy must answer with actions [H, A], got the shape {list(chunk.shape)}")
    if not np.isfinite(chunk).all():
        raise ValueError("a policy must answer with finite actions, got NaN or infinity")
    return chunk


def tell(policy: Any, executed: int, *settled: np.ndarray) -> None:
    """Where the policy listens."""
    listening = getattr(policy, "tell", None)
    if listening is not None:
        listening(executed, *settled)


def time_of(observation: Mapping[str, Any]) -> float | None:
    """When it was made, on the robot's own clock: its `time` less its `age`; None where no time is told."""
    if observation.get("time") is None:
        return None
    return float(observation["time"]) - float(observation.get("age") or 0.0)


class ChunkBroker:
    """Executes the first `replan_steps` actions of every chunk.

    `least_confidence`: asks again sooner, before the first action (but the chunk's own first) of which the policy is
    less sure than that, in 0..1. Policies that give no confidence are asked every `replan_steps`. A policy with a
    history then sees steps that are closer together than in training.
    """

    def __init__(self, policy: Any, replan_steps: int, least_confidence: float = 0.0) -> None:
        if replan_steps < 1:
            raise ValueError(f"replan_steps must be at least 1, got {replan_steps}")
        if not 0 <= least_confidence <= 1:
            raise ValueError(f"least_confidence must be in 0..1, got {least_confidence}")
        self._policy, self._replan_steps, self._least = policy, replan_steps, least_confidence
        self._chunk = np.empty((0, 0))
        self._next, self._end = 0, 0  # of the newest answer: actions carried out, and how many may be
        self.observed_at: float | None = None  # when the observation behind the last action was made, if it said
        self.answer: dict[str, Any] = {}  # the newest, with its confidence and the like
        self.early = 0  # times that it asked sooner

    def act(self, observation: Mapping[str, Any]) -> np.ndarray:
        if self._next >= self._end:
            if self.answer:
                tell(self._policy, self._next)
            self.answer = self._policy.infer(observation)
            self._next = self._end = 0  # nothing of this answer is carried out, and nothing of one that is refused
            self._chunk = self._checked(chunk_of(self.answer))
            self.observed_at = time_of(observation)
            self._end = self._sure_steps()
        action = self._chunk[self._next]
        self._next += 1
        return action

    def reset(self) -> None:
        self._policy.reset()
        self.answer, self._next, self._end = {}, 0, 0

    def _checked(self, chunk: np.ndarray) -> np.ndarray:
        if len(chunk) < self._replan_steps:
            raise ValueError(f"replan_steps={self._replan_steps} exceeds the {len(chunk)} actions of a chunk")
        return chunk

    def _sure_steps(self) -> int:
        confidence = self.answer.get("confidence")
        if confidence is None:
            return self._replan_steps
        doubtful = np.flatnonzero(np.asarray(confidence)[1 : self._replan_steps] < self._least)
        self.early += bool(len(doubtful))
        return int(doubtful[0]) + 1 if len(doubtful) else self._replan_steps


class TemporalEnsemble:
    """Asks at every step; acts with the mean of all chunks that speak of it, the oldest weighing most.

    Weights are exp(-`decay` * i), i = 0 for the oldest prediction, as in action chunking with transformers. Dimensions
    in `binary` (a gripper) take the weighted majority instead of a value between their two. For policies without a
    history: one with a history expects to be asked every `replan_steps`.
    """

    def __init__(self, policy: Any, decay: float = 0.01, binary: Sequence[int] = ()) -> None:
        if decay < 0:
            raise ValueError(f"decay must not be below 0, got {decay}")
        self._policy, self._decay, self._binary = policy, decay, list(binary)
        self._chunks: deque[tuple[int, np.ndarray]] = deque()  # (first step, chunk), oldest first
        self._step = 0
        self._delivered: int | None = None  # actions since the newest answer
        self.observed_at: float | None = None

    def act(self, observation: Mapping[str, Any]) -> np.ndarray:
        if self._delivered is not None:
            tell(self._policy, self._delivered)
        answer = self._policy.infer(observation)
        self._delivered = 0
        chunk = chunk_of(answer)
        self.observed_at = time_of(observation)
        self._chunks.append((self._step, chunk))
        while self._step - self._chunks[0][0] >= len(self._chunks[0][1]):
            self._chunks.popleft()
        said = np.stack([chunk[self._step - first] for first, chunk in self._chunks])
        self._step += 1
        self._delivered = 1
        return combine(said, np.exp(-self._decay * np.arange(len(said))), self._binary)

    def reset(self) -> None:
        self._policy.reset()
        self._chunks.clear()
        self._step, self._delivered = 0, None


def combine(said: np.ndarray, weights: np.ndarray, binary: Sequence[int]) -> np.ndarray:
    """Weighted mean of predictions [M, A]; in `binary` dimensions the value that has the larger weight behind it."""
    share = (weights / weights.sum()).astype(np.float64)
    mean = share @ said.astype(np.float64)
    for index in binary:
        values = np.unique(said[:, index])
        mean[index] = values[int(np.argmax([share[said[:, index] == value].sum() for value in values]))]
    return mean.astype(said.dtype)
