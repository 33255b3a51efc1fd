"""Dataset metrics: what a policy would have done at every step of recorded episodes, beside what was done.

    Episode --one observation a step, teacher-forced--> Actor.act (stateful) --> chunk, compared with the actions that
    followed --> OfflineScore

Cheap and useful to find broken data paths; it does not replace closed-loop success.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from typing import Any

import numpy as np

from volition.contract import ActionSpace
from volition.evaluation.statistics import Estimate, bounded_mean, student_mean
from volition.records import Actor, Episode, Observation


@dataclass(frozen=True, kw_only=True)
class OfflineScore:
    """Errors of the first action of every chunk, in robot units, and of the whole chunk.

    Episodes weigh the same, and intervals are over episodes. `constant_mae` and `constant_accuracy` are those of always
    answering with the dimension's median or commoner side: a policy that has learned something is better.
    """

    mae: dict[str, Estimate]  # continuous dimension -> mean absolute error
    constant_mae: dict[str, float]
    accuracy: dict[str, Estimate]  # binary dimension -> share on the right side of its middle
    constant_accuracy: dict[str, float]
    chunk_mae: tuple[float, ...]  # entry k: mean over the continuous dimensions, k steps ahead
    num_steps: int
    num_episodes: int

    def to_json(self) -> dict[str, Any]:
        show = lambda e: {"value": e.value, "interval": e.known}
        return {
            "mae": {name: show(e) for name, e in self.mae.items()},
            "constant_mae": self.constant_mae,
            "accuracy": {name: show(e) for name, e in self.accuracy.items()},
            "constant_accuracy": self.constant_accuracy,
            "chunk_mae": list(self.chunk_mae),
            "num_steps": self.num_steps,
            "num_episodes": self.num_episodes,
        }


def offline_metrics(
    actor: Actor, episodes: Sequence[Episode], space: ActionSpace, *, wording: int = 0, batch: int = 32, stride: int = 1
) -> OfflineScore:
    """Ask `actor` at every step of every episode, `batch` episodes at a time.

    `stride`: control steps between two questions when it acts (its replan_steps); its history is that far apart.
    """
    if not episodes or any(len(episode) == 0 for episode in episodes):
        raise ValueError("offline metrics need at least one episode, and no empty one")
    predicted: list[np.ndarray] = []
    for first in range(0, len(episodes), batch):
        predicted.extend(_predict(actor, episodes[first : first + batch], wording, stride))
    actual = [episode.actions(np.arange(len(episode))) for episode in episodes]
    if predicted[0].shape[2] != space.dim or actual[0].shape[1] != space.dim:
        raise ValueError(
            f"policy, dataset and action space must have the same dimensions, got {predicted[0].shape[2]}, "
            f"{actual[0].shape[1]} and {space.dim}"
        )
    return _score(predicted, actual, space)


def _predict(actor: Actor, episodes: Sequence[Episode], wording: int, stride: int) -> list[np.ndarray]:
    """A chunk for every step: float32[steps, H, A] an episode. Episodes that have ended leave the batch.

    Each episode is gone through by `stride` robots, one from each of its first steps on, so that every step is asked
    about and each robot's history is as far apart as when it acts.
    """
    chunks: list[list[np.ndarray]] = [[] for _ in episodes]
    robots = [actor.start(stride) for _ in episodes]
    for step in range(max(len(episode) for episode in episodes)):
        alive = [i for i, episode in enumerate(episodes) if step < len(episode)]
        observations = [_observe(episodes[i], step, wording) for i in alive]
        answers, after = actor.act(observations, [robots[i][step % stride] for i in alive])
        for i, answer, state in zip(alive, answers, after):
            chunks[i].append(answer)
            robots[i][step % stride] = state
    return [np.stack(rows) for rows in chunks]


def _observe(episode: Episode, step: int, wording: int) -> Observation:
    steps = np.array([step])
    instruction = episode.instructions[wording % len(episode.instructions)]
    return Observation(images=episode.images(steps), state=episode.states(steps), instruction=instruction)


def _score(predicted: Sequence[np.ndarray], actual: Sequence[np.ndarray], space: ActionSpace) -> OfflineScore:
    continuous, binary = list(space.continuous), list(space.binary)
    names = [dimension.name for dimension in space.dimensions]
    middle = np.array([(d.low + d.high) / 2.0 for d in space.dimensions])
    errors = [np.abs(chunks[:, 0] - actions) for chunks, actions in zip(predicted, actual)]
    right = [(chunks[:, 0] > middle) == (actions > middle) for chunks, actions in zip(predicted, actual)]
    everything = np.concatenate(list(actual))
    constant = np.median(everything, axis=0)
    still = [np.abs(actions - constant).mean(axis=0) for actions in actual]
    usual = (everything > middle).mean(axis=0) > 0.5
    lucky = [((actions > middle) == usual).mean(axis=0) for actions in actual]
    horizon = predicted[0].shape[1]
    ahead = [_chunk_error(predicted, actual, k, continuous) for k in range(horizon)] if continuous else []
    return OfflineScore(
        mae={names[i]: student_mean([float(e[:, i].mean()) for e in errors], least=0.0) for i in continuous},
        constant_mae={names[i]: float(np.mean(still, axis=0)[i]) for i in continuous},
        accuracy={names[i]: bounded_mean([float(r[:, i].mean()) for r in right], 0.0, 1.0) for i in binary},
        constant_accuracy={names[i]: float(np.mean(lucky, axis=0)[i]) for i in binary},
        chunk_mae=tuple(value for value in ahead if value is not None),
        num_steps=len(everything),
        num_episodes=len(actual),
    )


def _chunk_error(
    predicted: Sequence[np.ndarray], actual: Sequence[np.ndarray], ahead: int, dimensions: list[int]
) -> float | None:
    """Mean error of entry `ahead` against the action so many steps later; None where no episode is long enough."""
    errors = [
        np.abs(chunks[: len(actions) - ahead, ahead] - actions[ahead:])[:, dimensions].ravel()
        for chunks, actions in zip(predicted, actual)
        if len(actions) > ahead
    ]
    return float(np.concatenate(errors).mean()) if errors else None
