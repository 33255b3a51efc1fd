"""Language probes: does the policy listen, or does it do what the scene suggests?

`swap`: the world stands as for task A, but the policy is told to do task B, which is feasible there too. A policy that
listens does B and leaves A alone; one that does not does A.
"""

from __future__ import annotations

from collections.abc import Callable, Collection, Sequence
from dataclasses import dataclass
from typing import Any

import numpy as np

from volition.evaluation.episodes import Command, EpisodeResult, Trial, judged
from volition.evaluation.statistics import Estimate, wilson
from volition.records import Start


@dataclass(frozen=True, kw_only=True)
class SwapScore:
    """`commanded`: how often the task that was said was done; `original`: how often the one the start was made for."""

    commanded: Estimate
    original: Estimate
    pairs: tuple[tuple[str, str, bool, bool], ...]  # start made for, told to do, told task done, start's task done

    def to_json(self) -> dict[str, Any]:
        pairs = [dict(zip(("start", "told", "told_done", "start_done"), pair)) for pair in self.pairs]
        return {
            "commanded_rate": self.commanded.value,
            "commanded_interval": list(self.commanded.interval),
            "original_rate": self.original.value,
            "original_interval": list(self.original.interval),
            "num_episodes": self.commanded.count,
            "pairs": pairs,
        }


def swap_trials(
    trials: Sequence[Trial], feasible: Callable[[Start], Collection[str]], tasks: Collection[str], *, seed: int = 0
) -> list[Trial]:
    """The same starts, each with the command of another of `tasks` that `feasible` allows there.

    Commands are drawn so that tasks come up equally often; starts where nothing else can be done are left out.
    """
    rng = np.random.default_rng(seed)
    used = dict.fromkeys(sorted(tasks), 0)
    swapped = []
    for trial in trials:
        own = trial.commands[0]
        possible = feasible(trial.start)
        others = [task for task in used if task in possible and task != own.task]
        if others:
            least = min(used[task] for task in others)
            told = str(rng.choice([task for task in others if used[task] == least]))
            used[told] += 1
            command = Command(task=told, split=own.split, wording=own.wording)
            swapped.append(Trial(start=trial.start, commands=(command,)))
    return swapped


def score_swaps(results: Sequence[EpisodeResult]) -> SwapScore:
    """The score of `swap_trials`. Raises ValueError if the environment does not say what was achieved."""
    pairs = []
    for result in judged(results):
        original, attempt = result.trial.start.tasks[0], result.attempts[0]
        if attempt.achieved is None:
            raise ValueError(
                "language swaps are judged by what was achieved, told or not: the environment must have a method "
                "`achieved() -> frozenset[str]`"
            )
        pairs.append((original, attempt.task, attempt.success, original in attempt.achieved))
    return SwapScore(
        commanded=wilson(sum(pair[2] for pair in pairs), len(pairs)),
        original=wilson(sum(pair[3] for pair in pairs), len(pairs)),
        pairs=tuple(pairs),
    )
