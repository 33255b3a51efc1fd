"""What environments report besides success (`episodes.Measuring`), over all attempts and over those that succeeded.

    results --score_measures--> {"path_ratio": MeasureScore, "collided": MeasureScore}

Numbers have a mean with Student's interval, yes or no a rate with Wilson's.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from typing import Any

from volition.evaluation.episodes import EpisodeResult, judged
from volition.evaluation.statistics import Estimate, student_mean, wilson


@dataclass(frozen=True, kw_only=True)
class MeasureScore:
    """`succeeded`: of the attempts that did what was asked, None where none did."""

    every: Estimate
    succeeded: Estimate | None

    def to_json(self) -> dict[str, Any]:
        succeeded = None if self.succeeded is None else _to_json(self.succeeded)
        return _to_json(self.every) | {"of_successes": succeeded}


def score_measures(results: Sequence[EpisodeResult]) -> dict[str, MeasureScore]:
    """By name, in the order in which the environment reports them; attempts that lack one do not count for it."""
    found: dict[str, list[tuple[float | bool, bool]]] = {}
    for attempt in (attempt for result in judged(results) for attempt in result.attempts):
        for name, value in (attempt.measures or {}).items():
            found.setdefault(name, []).append((value, attempt.success))
    scores = {}
    for name, pairs in found.items():
        good = [value for value, success in pairs if success]
        every = [value for value, _ in pairs]
        scores[name] = MeasureScore(every=_estimate(every), succeeded=_estimate(good) if good else None)
    return scores


def _estimate(values: Sequence[float | bool]) -> Estimate:
    if all(isinstance(value, bool) for value in values):
        return wilson(sum(map(bool, values)), len(values))
    return student_mean(values)


def _to_json(estimate: Estimate) -> dict[str, Any]:
    return {"mean": estimate.value, "interval": estimate.known, "num_attempts": estimate.count}
