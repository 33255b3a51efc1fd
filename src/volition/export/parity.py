"""How an exported policy's actions differ from the policy's own, on the same observations with each its own memory.

The direction of continuous actions (cosine) and the largest error of any action for every step of a chunk, and how
often binary actions agree. In the contract's units.
"""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from dataclasses import dataclass

import numpy as np

from volition.contract import ActionSpace
from volition.envs.base import EnvConfig
from volition.evaluation.episodes import Trial
from volition.records import Actor, Env, Observation


@dataclass(frozen=True, kw_only=True)
class Parity:
    observations: int
    cosine: float  # mean over steps of all chunks
    least_cosine: float  # of any step of any chunk
    cosines: tuple[float, ...]  # of every step of a chunk, mean over all
    largest_error: tuple[float, ...]  # of every step of a chunk, continuous dimensions
    binary_agreement: float  # share of equal binary actions; 1 where there are none


def parity(ours: Actor, exported: Actor, episodes: Sequence[Sequence[Observation]], space: ActionSpace) -> Parity:
    """Episodes are observations of one robot each, in order."""
    first, second = (np.concatenate([_answers(actor, one) for one in episodes]) for actor in (ours, exported))
    continuous, binary = list(space.continuous), list(space.binary)
    cosines = _cosine(first[..., continuous], second[..., continuous])
    errors = np.abs(first - second)[..., continuous].max(axis=(0, 2)) if continuous else np.zeros(first.shape[1])
    same = first[..., binary] == second[..., binary]
    return Parity(
        observations=len(first),
        cosine=float(cosines.mean()),
        least_cosine=float(cosines.min()),
        cosines=tuple(cosines.mean(axis=0).tolist()),
        largest_error=tuple(errors.tolist()),
        binary_agreement=float(same.mean()) if binary else 1.0,
    )


def _answers(actor: Actor, observations: Sequence[Observation]) -> np.ndarray:
    """float32[n, H, A]"""
    (state,), chunks = actor.start(1), []
    for observation in observations:
        chunk, (state,) = actor.act([observation], [state])
        chunks.append(chunk[0])
    return np.stack(chunks)


def _cosine(first: np.ndarray, second: np.ndarray) -> np.ndarray:
    """[..., C] -> [...]; 1 where both stand still, 0 where one does."""
    lengths = np.linalg.norm(first, axis=-1), np.linalg.norm(second, axis=-1)
    product = lengths[0] * lengths[1]
    still = (lengths[0] < 1e-9) & (lengths[1] < 1e-9)
    return np.where(still, 1.0, (first * second).sum(-1) / np.where(product > 0, product, 1.0))


def watch(
    actor: Actor, env: EnvConfig, trials: Sequence[Trial], *, replan_steps: int, looks: int
) -> list[list[Observation]]:
    """What an actor sees in the first `looks` of its calls, an episode for each trial."""
    made = env.make()
    try:
        return [list(_episode(actor, made, trial, replan_steps, looks)) for trial in trials]
    finally:
        made.close()


def _episode(actor: Actor, env: Env, trial: Trial, replan_steps: int, looks: int) -> Iterator[Observation]:
    command = trial.commands[0]
    env.reset(trial.start)
    env.begin(command.task)
    wordings = env.instructions(command.task, command.split)
    (state,) = actor.start(1)
    for _ in range(looks):
        observation = env.observe(wordings[command.wording % len(wordings)])
        yield observation
        chunks, (state,) = actor.act([observation], [state])
        for action in chunks[0][:replan_steps]:
            env.step(action)
