"""Closed-loop evaluation: many environments, one policy that is asked for all of them at once.

    Trial --Begin--> slot --Observation--> [batch of fixed size] --Actor.act--> chunk --Play--> slot ... EpisodeResult

A policy call always has `batch` rows, the missing ones filled up, and pads to the longest instruction of all trials. It
is shown at the start that a row's answer depends neither on its place nor on its neighbours; then the results are equal
to the bit for any number of workers and any order in which they answer. Where it does depend, every row is asked for
alone; where smaller batches are shown to give the same bits, they are used when few rows wait.

What breaks is named and costs its own episode: one whose environment was lost begins again, a few times; then, and
where the policy answers nonsense or raises, it ends as an error, and the others go on. Where not one of the first
answers can be executed as asked, nothing is begun.
"""

from __future__ import annotations

import logging
from collections import deque
from collections.abc import Callable, Sequence
from dataclasses import dataclass, field
from typing import Any

import numpy as np

from volition.contract import ActionSpace
from volition.evaluation.batching import FixedBatch, answers, confidence_of, what_is_wrong
from volition.evaluation.chunking import AnyChunking, Execute, Player, RealTime
from volition.evaluation.episodes import Attempt, EpisodeResult, Trial, last_line
from volition.evaluation.first_looks import batched, look_at_some, padded, require_executable
from volition.evaluation.slot import Begin, Moment, Play
from volition.evaluation.workers import EnvFactory, Lost, Pool, Reply, open_pool
from volition.records import Actor, Inpainter, Noisy, Observation

logger = logging.getLogger(__name__)

Hear = Callable[[int, EpisodeResult], None]  # number of the trial, what became of it


@dataclass(frozen=True, kw_only=True)
class RolloutConfig:
    """How episodes are run. Only the first four and `batch` may change a result."""

    chunking: AnyChunking = Execute(steps=1)  # noqa: RUF009  frozen
    latency: int = 0  # control steps that pass in the world while the policy thinks
    max_steps: int = 360  # a command that is not done after so many steps has failed
    space: ActionSpace | None = None  # an action outside of it is an error; None: actions need only be finite
    num_workers: int = 2  # processes; 0: everything in this one
    slots_per_worker: int = 8  # environments in each
    batch: int = 8  # rows of every policy call; half the slots lets workers and policy overlap
    patience_seconds: float = 120.0  # a process that is silent for longer is replaced
    max_repeats: int = 2  # how often an episode begins again after it broke its environment

    def __post_init__(self) -> None:
        least = {
            **{"max_steps": 1, "num_workers": 0, "slots_per_worker": 1, "batch": 1},
            **{"latency": 0, "max_repeats": 0},
        }
        for name, low in least.items():
            if getattr(self, name) < low:
                raise ValueError(f"{name} must be at least {low}, got {getattr(self, name)}")


def evaluate(
    actor: Actor,
    factory: EnvFactory,
    trials: Sequence[Trial],
    config: RolloutConfig,
    on_result: Hear = lambda number, result: None,
    *,
    numbers: Sequence[int] | None = None,
) -> list[EpisodeResult]:
    """Run the trials with these numbers, by default all; the results stand in their order.

    `on_result` hears of each as it ends. `trials` are always all of an evaluation, so that each becomes the same
    whichever others run here.
    """
    if not trials:
        raise ValueError("there must be at least one trial to evaluate, got none")
    chosen = range(len(trials)) if numbers is None else numbers
    if not chosen:
        return []
    pool = open_pool(
        factory,
        num_workers=config.num_workers,
        slots_per_worker=config.slots_per_worker,
        patience_seconds=config.patience_seconds,
    )
    try:
        results = _Rollout(actor, pool, trials, config, on_result).run(chosen)
    finally:
        pool.close()
    return [results[number] for number in chosen]


@dataclass(kw_only=True)
class _Running:
    """The trial that a slot is at, and how far it is."""

    number: int
    trial: Trial
    state: Any = None
    player: Player | None = None
    rest: np.ndarray | None = None
    instruction: str = ""
    observation: Observation | None = None
    actions: list[np.ndarray] = field(default_factory=list)  # executed under the present command
    calls: int = 0
    planned: np.ndarray | None = None  # sent, and not yet known how many of them were executed
    attempts: list[Attempt] = field(default_factory=list)


@dataclass(kw_only=True)
class _Past:
    """Why a trial begins again."""

    reasons: list[str] = field(default_factory=list)
    guilty: int = 0  # how often it was what broke its environment


class _Rollout:
    """The scheduler: gives trials to free slots, observations to the policy, chunks to the slots."""

    def __init__(self, actor: Actor, pool: Pool, trials: Sequence[Trial], config: RolloutConfig, on_result: Hear):
        self._actor, self._pool, self._trials, self._config, self._on_result = actor, pool, trials, config, on_result
        if isinstance(config.chunking, RealTime) and not (isinstance(actor, Inpainter) and actor.continues):
            raise ValueError(
                "real-time chunking needs a head that can continue what is settled, which those that denoise can: "
                "flow, diffusion, expert"
            )
        self._waiting: deque[int] = deque()
        self._running: dict[int, _Running] = {}
        self._ready: deque[int] = deque()  # slots that wait for the policy
        self._past: dict[int, _Past] = {}
        self._results: dict[int, EpisodeResult] = {}

    def run(self, numbers: Sequence[int]) -> dict[int, EpisodeResult]:
        policy = self._first_looks()
        self._waiting.extend(numbers)
        for slot in range(self._pool.num_slots):
            self._start_next(slot)
        while self._running:
            if len(self._ready) < min(policy.size, -(-len(self._running) // 2)):  # the workers have the other half
                for slot, reply in self._pool.receive():
                    self._hear(slot, reply)
            else:
                self._ask(policy)
        return self._results

    def _first_looks(self) -> FixedBatch:
        pool, config, size = self._pool, self._config, self._config.batch
        self._actor = padded(self._actor, pool, self._trials, tries=config.max_repeats + 1)
        seen = look_at_some(pool, self._trials, max(2, size))
        require_executable(self._actor, seen, size, config.chunking, config.space, config.latency)
        return batched(self._actor, seen[:size], size, config.chunking, config.latency)

    def _start_next(self, slot: int) -> None:
        if self._waiting:
            number = self._waiting.popleft()
            self._running[slot] = _Running(number=number, trial=self._trials[number])
            self._begin(slot, self._running[slot])

    def _begin(self, slot: int, running: _Running) -> None:
        """The next command, for a policy that remembers nothing."""
        noise = running.trial.noise(len(running.attempts))
        (running.state,) = self._actor.start_with([noise]) if isinstance(self._actor, Noisy) else self._actor.start(1)
        running.player = self._config.chunking.begin(self._config.space, self._config.latency)
        running.actions, running.calls = [], 0
        self._pool.send(slot, Begin(trial=running.trial, index=len(running.attempts)))

    def _hear(self, slot: int, reply: Reply) -> None:
        if isinstance(reply, Lost):
            self._lose(slot, reply)
            return
        assert isinstance(reply, Moment)
        running = self._running[slot]
        running.instruction = reply.instruction
        if running.planned is not None:
            running.actions.extend(running.planned[: reply.num_executed])
            running.planned = None
        if reply.observation is not None:
            running.observation, running.rest = reply.observation, reply.rest
            self._ready.append(slot)
        else:
            self._end_attempt(slot, running, reply)

    def _lose(self, slot: int, lost: Lost) -> None:
        """What the slot was at begins again from its start, unless it broke its environment too often."""
        running = self._running.get(slot)
        if running is None:
            return
        if slot in self._ready:
            self._ready.remove(slot)
        past = self._past.setdefault(running.number, _Past())
        past.guilty += lost.guilty
        if past.guilty > self._config.max_repeats:
            self._end(slot, running, error=f"tried {past.guilty} times: {lost.reason}".strip())
            return
        logger.warning("'%s' begins again: %s", running.trial, lost.reason)
        past.reasons.append(last_line(lost.reason) if lost.guilty else f"beside another: {lost.reason}")
        del self._running[slot]
        self._waiting.appendleft(running.number)
        self._start_next(slot)

    def _end_attempt(self, slot: int, running: _Running, moment: Moment) -> None:
        attempt = Attempt(
            task=running.trial.commands[len(running.attempts)].task,
            instruction=moment.instruction,
            success=moment.success,
            num_steps=len(running.actions),
            num_calls=running.calls,
            achieved=moment.achieved,
            measures=moment.measures,
            actions=np.stack(running.actions),
        )
        running.attempts.append(attempt)
        if moment.success and len(running.attempts) < len(running.trial.commands):
            self._begin(slot, running)
        else:
            self._end(slot, running)

    def _end(self, slot: int, running: _Running, error: str = "") -> None:
        repeats = tuple(self._past.pop(running.number, _Past()).reasons)
        result = EpisodeResult(trial=running.trial, attempts=tuple(running.attempts), error=error, repeats=repeats)
        if error:
            logger.warning("'%s' ends without a verdict: %s", running.trial, error)
        self._results[running.number] = result
        del self._running[slot]
        self._start_next(slot)
        self._on_result(running.number, result)

    def _ask(self, policy: FixedBatch) -> None:
        slots = [self._ready.popleft() for _ in range(min(policy.size, len(self._ready)))]
        rows = [self._running[slot] for slot in slots]
        observations = [row.observation for row in rows if row.observation is not None]
        players = [row.player for row in rows if row.player is not None]
        settled = [player.settled() for player in players]
        horizon, space = max(player.horizon for player in players), self._config.space

        def fits(chunks: np.ndarray) -> bool:
            return chunks.shape[1] >= horizon and (space is None or chunks.shape[2] == space.dim)

        found = answers(policy, observations, [row.state for row in rows], settled, fits)
        for slot, row, player, answer in zip(slots, rows, players, found, strict=True):
            if isinstance(answer, str):
                self._end(slot, row, error=answer)
                continue
            chunk, row.state = answer
            row.calls += 1
            if wrong := what_is_wrong(chunk, space):
                self._end(slot, row, error=wrong)
                continue
            try:
                actions = player.take(chunk, row.rest, confidence_of(row.state))
            except ValueError as error:
                self._end(slot, row, error=str(error))
            else:
                self._play(slot, row, actions)

    def _play(self, slot: int, row: _Running, actions: np.ndarray) -> None:
        left = self._config.max_steps - len(row.actions)
        row.planned = actions[:left]
        self._pool.send(slot, Play(trial=row.trial, actions=row.planned, last=len(actions) >= left))
