"""Closed-loop evaluation: many environments, one policy that is asked for all of them at once.

    Trial --Begin--> slot --Observation--> [batch of fixed size] --Actor.act--> chunk --Play--> slot ... EpisodeResult

A policy call always has `batch` rows, the missing ones filled up. It is shown at the start that a row's answer depends
neither on its place nor on its neighbours; then the results are equal to the bit for any number of workers and any
order in which they answer. Where it does depend, every row is asked for alone.
"""

from __future__ import annotations

import logging
from collections import deque
from collections.abc import Callable, Sequence
from dataclasses import dataclass, field
from typing import Any

import numpy as np

from volition.evaluation.batching import FixedBatch, rows_are_independent
from volition.evaluation.episodes import Attempt, EpisodeResult, Trial
from volition.evaluation.slot import Begin, Moment, Play
from volition.evaluation.workers import EnvFactory, Pool, open_pool
from volition.records import Actor, Observation

logger = logging.getLogger(__name__)


@dataclass(frozen=True, kw_only=True)
class RolloutConfig:
    """How episodes are run. Only `replan_steps` and `max_steps` may change a result."""

    replan_steps: int = 1  # actions of a chunk that are executed before the policy is asked again
    max_steps: int = 360  # a command that is not done after so many steps has failed
    num_workers: int = 2  # processes; 0: everything in this one
    slots_per_worker: int = 8  # environments in each
    batch: int = 8  # rows of every policy call; half the slots lets workers and policy overlap
    patience_seconds: float = 120.0  # a worker that is silent for longer is an error

    def __post_init__(self) -> None:
        least = {"replan_steps": 1, "max_steps": 1, "num_workers": 0, "slots_per_worker": 1, "batch": 1}
        for name, low in least.items():
            if getattr(self, name) < low:
                raise ValueError(f"{name} must be at least {low}, got {getattr(self, name)}")


def evaluate(
    actor: Actor,
    factory: EnvFactory,
    trials: Sequence[Trial],
    config: RolloutConfig,
    on_result: Callable[[EpisodeResult], None] = lambda result: None,
) -> list[EpisodeResult]:
    """Run every trial; the results stand in the order of `trials`. `on_result` hears of each as it ends."""
    if not trials:
        raise ValueError("there must be at least one trial to evaluate, got none")
    pool = open_pool(
        factory,
        num_workers=config.num_workers,
        slots_per_worker=config.slots_per_worker,
        patience_seconds=config.patience_seconds,
    )
    try:
        return _Rollout(actor, pool, trials, config, on_result).run()
    finally:
        pool.close()


@dataclass(kw_only=True)
class _Running:
    """The trial that a slot is at, and how far it is."""

    number: int
    trial: Trial
    state: Any
    observation: Observation | None = None
    actions: list[np.ndarray] = field(default_factory=list)  # executed under the present command
    planned: np.ndarray | None = None  # sent, and not yet known how many of them were executed
    attempts: list[Attempt] = field(default_factory=list)


class _Rollout:
    """The scheduler: gives trials to free slots, observations to the policy, chunks to the slots."""

    def __init__(
        self,
        actor: Actor,
        pool: Pool,
        trials: Sequence[Trial],
        config: RolloutConfig,
        on_result: Callable[[EpisodeResult], None],
    ):
        self._actor, self._pool, self._trials, self._config, self._on_result = actor, pool, trials, config, on_result
        self._waiting = deque(enumerate(trials))
        self._running: dict[int, _Running] = {}
        self._ready: deque[int] = deque()  # slots that wait for the policy
        self._results: dict[int, EpisodeResult] = {}

    def run(self) -> list[EpisodeResult]:
        policy = FixedBatch(self._actor, self._choose_batch())
        for slot in range(self._pool.num_slots):
            self._start_next(slot)
        while self._running:
            if len(self._ready) < min(policy.size, len(self._running)):
                for slot, reply in self._pool.receive():
                    assert isinstance(reply, Moment)
                    self._hear(slot, reply)
            else:
                self._ask(policy)
        return [self._results[number] for number in range(len(self._trials))]

    def _choose_batch(self) -> int:
        """`config.batch` if rows are independent in batches of that size, else 1."""
        if self._config.batch == 1:
            return 1
        if rows_are_independent(self._actor, self._look_at_some(), self._config.batch):
            return self._config.batch
        logger.warning(
            "the policy's answers depend on a row's place or neighbours in a batch of %d: asking row by row, "
            "which is slower, so that results do not depend on scheduling",
            self._config.batch,
        )
        return 1

    def _look_at_some(self) -> list[Observation]:
        """First observations of trials spread over all: the same ones for any number of workers."""
        count = min(self._config.batch, len(self._trials), 8)
        chosen = [self._trials[int(i)] for i in np.linspace(0, len(self._trials) - 1, count)]
        observations: list[Observation] = []
        for trial in chosen:
            self._pool.send(0, Begin(trial=trial, index=0))
            ((_, reply),) = self._pool.receive()
            assert isinstance(reply, Moment)
            assert reply.observation is not None
            observations.append(reply.observation)
        return observations

    def _start_next(self, slot: int) -> None:
        if self._waiting:
            number, trial = self._waiting.popleft()
            (state,) = self._actor.start(1)
            self._running[slot] = _Running(number=number, trial=trial, state=state)
            self._pool.send(slot, Begin(trial=trial, index=0))

    def _hear(self, slot: int, moment: Moment) -> None:
        running = self._running[slot]
        if running.planned is not None:
            running.actions.extend(running.planned[: moment.num_executed])
            running.planned = None
        if moment.observation is not None:
            running.observation = moment.observation
            self._ready.append(slot)
            return
        self._end_attempt(slot, running, moment)

    def _end_attempt(self, slot: int, running: _Running, moment: Moment) -> None:
        index = len(running.attempts)
        attempt = Attempt(
            task=running.trial.commands[index].task,
            instruction=moment.instruction,
            success=moment.success,
            num_steps=len(running.actions),
            achieved=moment.achieved,
            actions=np.stack(running.actions),
        )
        running.attempts.append(attempt)
        running.actions = []
        if moment.success and len(running.attempts) < len(running.trial.commands):
            (running.state,) = self._actor.start(1)
            self._pool.send(slot, Begin(trial=running.trial, index=len(running.attempts)))
            return
        result = EpisodeResult(trial=running.trial, attempts=tuple(running.attempts))
        self._results[running.number] = result
        del self._running[slot]
        self._start_next(slot)
        self._on_result(result)

    def _ask(self, policy: FixedBatch) -> None:
        slots = [self._ready.popleft() for _ in range(min(policy.size, len(self._ready)))]
        rows = [self._running[slot] for slot in slots]
        observations = [row.observation for row in rows if row.observation is not None]
        chunks, states = policy.act(observations, [row.state for row in rows])
        if chunks.shape[1] < self._config.replan_steps:
            raise ValueError(
                f"replan_steps={self._config.replan_steps} must not exceed the {chunks.shape[1]} actions of a chunk"
            )
        for slot, row, chunk, state in zip(slots, rows, chunks, states):
            row.state = state
            self._play(slot, row, chunk)

    def _play(self, slot: int, row: _Running, chunk: np.ndarray) -> None:
        left = self._config.max_steps - len(row.actions)
        planned = chunk[: min(self._config.replan_steps, left)]
        if not np.isfinite(planned).all():
            raise ValueError(f"actions must be finite, got {planned.tolist()} from the policy in '{row.trial}'")
        row.planned = planned
        self._pool.send(slot, Play(trial=row.trial, actions=planned, last=len(planned) == left))
