"""From chunks to actions, when answers take time: what a robot does between two looks at the world.

    look at step t --policy--> chunk, `latency` control steps later --Player.take--> actions from t to the next look

    Execute    waits for the answer, then executes some of it, less where the policy is not sure; meanwhile it rests
    Overlap    goes on with the chunk before while the policy thinks, and enters the new one where it is by then
    RealTime   as Overlap, but the policy is told what is settled already and continues it (Black et al. 2025)
    Ensemble   asks often and executes the mean of all chunks that speak of a step (Zhao et al. 2023)

A player is told no clock: whoever steps the world counts. Numpy only.
"""

from __future__ import annotations

from collections import deque
from dataclasses import dataclass
from typing import Protocol, TypeAlias, runtime_checkable

import numpy as np

from volition.contract import ActionSpace
from volition.records import Settled


@runtime_checkable
class Player(Protocol):
    """One robot under one command; its time is counted in control steps, from look to look."""

    @property
    def horizon(self) -> int: ...  # actions that a chunk must have at least
    def settled(self) -> Settled | None: ...  # before the policy is asked: what the robot is going to do by then
    def take(self, chunk: np.ndarray, rest: np.ndarray | None, confidence: np.ndarray | None = None) -> np.ndarray: ...

    # `take`: the chunk float32[H, A] that answers the look now, which arrives `latency` steps from now, the action
    # float32[A] with which the robot waits, and how sure the policy is of each action, float32[H], where it tells
    # -> the actions float32[n, A] from now to the next look. ValueError where the chunk cannot be executed so.


@runtime_checkable
class Chunking(Protocol):
    """A frozen dataclass: how chunks become actions."""

    def begin(self, space: ActionSpace | None, latency: int) -> Player: ...


@dataclass(frozen=True, kw_only=True)
class Execute:
    """Wait for the answer, execute its first `steps` actions, look again.

    `least_confidence`: look again sooner, before the first action (but the chunk's own first) of which the policy is
    less sure than that, in 0..1. `volition_client.ChunkBroker` does the same; a test holds them together.
    """

    steps: int = 1
    least_confidence: float = 0.0

    def __post_init__(self) -> None:
        _require_positive("steps", self.steps)
        if not 0 <= self.least_confidence <= 1:
            raise ValueError(f"least_confidence must be in 0..1, got {self.least_confidence:g}")

    def begin(self, space: ActionSpace | None, latency: int) -> Player:
        return _Executing(self.steps, latency, self.least_confidence)


@dataclass(frozen=True, kw_only=True)
class Overlap:
    """Look every `steps` steps and go on with the chunk before until the answer is there.

    Of the new chunk, the actions that would have been due in the meantime are left out.
    """

    steps: int = 1

    def __post_init__(self) -> None:
        _require_positive("steps", self.steps)

    def begin(self, space: ActionSpace | None, latency: int) -> Player:
        return _Overlapping(self.steps, latency, tells=False)


@dataclass(frozen=True, kw_only=True)
class RealTime:
    """As `Overlap`, for policies that can continue what is settled: `records.Inpainter`.

    What is executed before the answer comes is settled; the rest of the chunk before counts less and less.
    """

    steps: int = 1

    def __post_init__(self) -> None:
        _require_positive("steps", self.steps)

    def begin(self, space: ActionSpace | None, latency: int) -> Player:
        return _Overlapping(self.steps, latency, tells=True)


@dataclass(frozen=True, kw_only=True)
class Ensemble:
    """Look every `steps` steps; execute the mean of what all chunks say of a step, the oldest weighing most.

    The weight of a chunk falls by exp(-`decay`) with every one that is older. Binary dimensions go to the nearer side.
    """

    steps: int = 1
    decay: float = 0.01

    def __post_init__(self) -> None:
        _require_positive("steps", self.steps)

    def begin(self, space: ActionSpace | None, latency: int) -> Player:
        if space is None:
            raise ValueError("an ensemble of chunks needs the action space: which dimensions are binary")
        return _Averaging(self, space, latency)


AnyChunking: TypeAlias = Execute | Overlap | RealTime | Ensemble
STRATEGIES: dict[str, type[AnyChunking]] = {
    "execute": Execute,
    "overlap": Overlap,
    "realtime": RealTime,
    "ensemble": Ensemble,
}


class _Executing:
    def __init__(self, steps: int, latency: int, least_confidence: float):
        self.horizon, self._steps, self._latency, self._least = steps, steps, latency, least_confidence

    def settled(self) -> Settled | None:
        return None

    def take(self, chunk: np.ndarray, rest: np.ndarray | None, confidence: np.ndarray | None = None) -> np.ndarray:
        _require_horizon(chunk, self.horizon, f"steps={self._steps}")
        return np.concatenate([_wait(rest, self._latency, chunk), chunk[: self._sure_steps(confidence)]])

    def _sure_steps(self, confidence: np.ndarray | None) -> int:
        if not self._least:
            return self._steps
        if confidence is None:
            raise ValueError(
                f"least_confidence={self._least:g} needs a policy that tells how sure it is, which this one does not: "
                "heads that are an ensemble or a gate do"
            )
        doubtful = np.flatnonzero(np.asarray(confidence)[1 : self._steps] < self._least)
        return int(doubtful[0]) + 1 if len(doubtful) else self._steps


class _Overlapping:
    def __init__(self, steps: int, latency: int, *, tells: bool):
        if latency > steps:
            raise ValueError(
                f"the answer must be there before the next look, but latency={latency} is above steps={steps}: "
                "look less often"
            )
        self.horizon, self._steps, self._latency, self._tells = steps + latency, steps, latency, tells
        self._plan: np.ndarray | None = None  # float32[n, A]: what is still to be executed of the last chunk

    def settled(self) -> Settled | None:
        if self._plan is None or not self._tells:
            return None
        return Settled(self._plan, soft_weights(len(self._plan), self._latency))

    def take(self, chunk: np.ndarray, rest: np.ndarray | None, confidence: np.ndarray | None = None) -> np.ndarray:
        _require_horizon(chunk, self.horizon, f"steps={self._steps} and latency={self._latency}")
        if self._plan is None:  # nothing has moved until the first answer, so all of it is still to be done
            plan, count = np.concatenate([_wait(rest, self._latency, chunk), chunk]), self._latency + self._steps
        else:
            plan, count = np.concatenate([self._plan[: self._latency], chunk[self._latency :]]), self._steps
        self._plan = plan[count:]
        return plan[:count]


class _Averaging:
    def __init__(self, config: Ensemble, space: ActionSpace, latency: int):
        self.horizon, self._config, self._latency = config.steps + latency, config, latency
        self._binary = list(space.binary)
        ends = [(space.dimensions[i].low, space.dimensions[i].high) for i in self._binary]
        self._low, self._high = np.array(ends, np.float32).reshape(-1, 2).T
        self._now = 0
        self._chunks: deque[tuple[int, int, np.ndarray]] = deque()  # since when it speaks, when it came, what it says

    def settled(self) -> Settled | None:
        return None

    def take(self, chunk: np.ndarray, rest: np.ndarray | None, confidence: np.ndarray | None = None) -> np.ndarray:
        steps, latency = self._config.steps, self._latency
        _require_horizon(chunk, self.horizon, f"steps={steps} and latency={latency}")
        # While the first answer is waited for nothing moves: what was seen then is seen when it comes.
        self._chunks.append((max(self._now, latency), self._now + latency, chunk))
        count = steps + (latency if self._now == 0 else 0)
        actions = [self._action(step, chunk, rest) for step in range(self._now, self._now + count)]
        self._now += count
        while self._chunks and self._chunks[0][0] + len(self._chunks[0][2]) <= self._now:
            self._chunks.popleft()
        return np.stack(actions)

    def _action(self, step: int, like: np.ndarray, rest: np.ndarray | None) -> np.ndarray:
        heard = [says[step - since] for since, came, says in self._chunks if came <= step < since + len(says)]
        if not heard:
            return _wait(rest, 1, like)[0]
        weights = np.exp(-self._config.decay * np.arange(len(heard)))
        action = (weights / weights.sum()) @ np.stack(heard).astype(np.float64)
        action[self._binary] = np.where(action[self._binary] > (self._low + self._high) / 2, self._high, self._low)
        return action.astype(np.float32)


def soft_weights(count: int, settled: int) -> np.ndarray:
    """float32[count]: 1 for the first `settled` actions, then falling towards 0, ever faster at first.

    `volition_client.realtime` has the same, for robots that have nothing else of ours; a test holds them together.
    """
    share = (count - np.arange(count)) / (count - settled + 1)
    return np.where(np.arange(count) < settled, 1.0, share * np.expm1(share) / np.expm1(1.0)).astype(np.float32)


def _wait(rest: np.ndarray | None, steps: int, like: np.ndarray) -> np.ndarray:
    """float32[steps, A]"""
    if steps and rest is None:
        raise ValueError(
            "while a policy thinks its robot waits, so the environment must say what leaves the robot as it is: "
            "a method `rest() -> action`"
        )
    return np.repeat(np.zeros((1, like.shape[1]), np.float32) if rest is None else rest[None], steps, axis=0)


def _require_positive(name: str, value: int) -> None:
    if value < 1:
        raise ValueError(f"{name} must be at least 1, got {value}")


def _require_horizon(chunk: np.ndarray, needed: int, why: str) -> None:
    if len(chunk) < needed:
        raise ValueError(f"{why} need chunks of {needed} actions or more, and this policy's have {len(chunk)}")
