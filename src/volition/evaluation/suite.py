"""Single tasks: which episodes to run, and what the results say, per task and over all.

task_trials(tasks, num_starts) --rollout.evaluate--> results --score_tasks--> SuiteScore
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from typing import Any

import numpy as np

from volition.evaluation.episodes import Command, EpisodeResult, Trial, judged, paired
from volition.evaluation.statistics import (
    Difference,
    Estimate,
    episodes_needed,
    mean_over_tasks,
    paired_difference,
    wilson,
)
from volition.records import Start

CLAIMS = (0.02, 0.05, 0.1)  # differences of the rate for which the number of episodes to show them is told


@dataclass(frozen=True, kw_only=True)
class TaskScore:
    """How one task went. `steps` is the mean number of steps of its successes, 0 if there are none."""

    task: str
    success: Estimate
    steps: float


@dataclass(frozen=True, kw_only=True)
class SuiteScore:
    """Rates per task, and their mean, every task weighing the same."""

    success: Estimate
    tasks: tuple[TaskScore, ...]

    def to_json(self) -> dict[str, Any]:
        """`success_rate`, `success_interval`, `num_episodes` and the same per task."""
        tasks = {
            score.task: {
                "success_rate": score.success.value,
                "success_interval": list(score.success.interval),
                "num_episodes": score.success.count,
                "mean_steps": score.steps,
            }
            for score in self.tasks
        }
        return {
            "success_rate": self.success.value,
            "success_interval": list(self.success.interval),
            "num_episodes": self.success.count,
            "episodes_needed": {f"{d:g}": episodes_needed(*_apart(self.success.value, d)) for d in CLAIMS},
            "tasks": tasks,
        }


def _apart(rate: float, difference: float) -> tuple[float, float]:
    """The rate, and one that differs so much from it towards the middle."""
    return rate, rate - difference if rate >= 0.5 else rate + difference


def task_trials(
    tasks: Sequence[str],
    *,
    num_starts: int,
    first_seed: int,
    scenes: Sequence[str] = ("",),
    split: str = "validation",
) -> list[Trial]:
    """`num_starts` starts of every task, dealt evenly to the scenes and the wordings of `split`.

    Seeds run on over tasks, so that no two trials share one.
    """
    if num_starts < 1 or not tasks or not scenes:
        raise ValueError(f"a suite needs tasks, scenes and num_starts >= 1, got {tasks}, {scenes} and {num_starts}")
    trials = []
    for number in range(len(tasks) * num_starts):
        task, index = tasks[number // num_starts], number % num_starts
        start = Start(seed=first_seed + number, tasks=(task,), scene=scenes[index % len(scenes)])
        command = Command(task=task, split=split, wording=index // len(scenes))
        trials.append(Trial(start=start, commands=(command,)))
    return trials


def score_tasks(results: Sequence[EpisodeResult]) -> SuiteScore:
    """Results of trials with one command each, without errors. Tasks keep the order of their first result."""
    results = judged(results)
    outcomes = outcomes_by_task(results)
    scores = []
    for task, successes in outcomes.items():
        steps = [result.num_steps for result in results if result.task == task and result.success]
        rate = wilson(sum(successes), len(successes))
        scores.append(TaskScore(task=task, success=rate, steps=float(np.mean(steps)) if steps else 0.0))
    return SuiteScore(success=mean_over_tasks(outcomes), tasks=tuple(scores))


def outcomes_by_task(results: Sequence[EpisodeResult]) -> dict[str, list[bool]]:
    """Task -> whether each of its episodes succeeded, of those that could be judged."""
    outcomes: dict[str, list[bool]] = {}
    for result in results:
        if not result.error:
            outcomes.setdefault(result.task, []).append(result.success)
    return outcomes


def compare(first: Sequence[EpisodeResult], second: Sequence[EpisodeResult]) -> Difference:
    """How much better `first` is than `second`; both must be results of the same trials in the same order."""
    both = paired(first, second)
    return paired_difference([one.success for one, _ in both], [other.success for _, other in both])
