"""Five-task chains by CALVIN's protocol.

The world is reset before the first task of a chain and never again; the policy's state is fresh for every task; each
task has 360 steps and one fixed validation sentence; the first failure ends the chain. Scored are the shares of chains
with at least 1, 2, ... successes and the average length.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from typing import Any

from volition.evaluation.episodes import Command, EpisodeResult, Trial, judged, paired
from volition.evaluation.statistics import Difference, Estimate, bounded_mean, chains_needed, paired_difference, wilson
from volition.records import Start

CLAIMS = (0.1, 0.25, 0.5)  # differences of the average length for which the number of chains to show them is told


@dataclass(frozen=True, kw_only=True)
class ChainScore:
    """`reached[i]`: share of chains with at least i + 1 successes. `tasks`: success of each task when it was tried."""

    average_length: Estimate
    lengths: tuple[int, ...]  # of the chains, in their order
    reached: tuple[Estimate, ...]
    tasks: dict[str, Estimate]

    def to_json(self) -> dict[str, Any]:
        """`average_length`, `chain_success` and their intervals, `num_chains`, and the tasks' rates."""
        tasks = {
            name: {"success_rate": e.value, "success_interval": list(e.interval), "num_attempts": e.count}
            for name, e in self.tasks.items()
        }
        return {
            "average_length": self.average_length.value,
            "average_length_interval": list(self.average_length.interval),
            "chain_success": [e.value for e in self.reached],
            "chain_success_intervals": [list(e.interval) for e in self.reached],
            "num_chains": self.average_length.count,
            "chains_needed": {f"{d:g}": chains_needed(self.lengths, d, most=len(self.reached)) for d in CLAIMS},
            "tasks": tasks,
        }


def chain_trials(starts: Sequence[Start], *, split: str = "validation", wording: int = 0) -> list[Trial]:
    """One trial a chain: its tasks are `start.tasks`, each said by the same fixed wording."""
    return [
        Trial(start=start, commands=tuple(Command(task=task, split=split, wording=wording) for task in start.tasks))
        for start in starts
    ]


def score_chains(results: Sequence[EpisodeResult]) -> ChainScore:
    """The score of chains of one common length, without those that ended as errors.

    Raises ValueError for none or for several lengths.
    """
    results = judged(results)
    lengths = {len(result.trial.commands) for result in results}
    if len(lengths) != 1:
        raise ValueError(f"chains must have one common number of tasks, got {sorted(lengths) or 'no chain'}")
    solved = [result.num_successes for result in results]
    reached = [wilson(sum(n > i for n in solved), len(solved)) for i in range(lengths.pop())]
    tried: dict[str, list[bool]] = {}
    for attempt in (attempt for result in results for attempt in result.attempts):
        tried.setdefault(attempt.task, []).append(attempt.success)
    return ChainScore(
        average_length=bounded_mean(solved, 0.0, float(len(reached))),
        lengths=tuple(solved),
        reached=tuple(reached),
        tasks={task: wilson(sum(tried[task]), len(tried[task])) for task in sorted(tried)},
    )


def compare_chains(first: Sequence[EpisodeResult], second: Sequence[EpisodeResult]) -> Difference:
    """How much longer the chains of `first` are; both must be results of the same trials in the same order."""
    both = paired(first, second)
    return paired_difference(
        [one.num_successes for one, _ in both],
        [other.num_successes for _, other in both],
        most=float(len(first[0].trial.commands)),
    )
