"""From the results of runs to rows of a table: means over seeds with intervals, success with its own, and a ranking.

Differences to the first row are paired: the same start and training seed on both sides. Their p-values are corrected
for their number: among many rows the best is ahead of some by luck.
"""

from __future__ import annotations

import statistics
from collections import Counter
from collections.abc import Mapping, Sequence
from dataclasses import asdict, dataclass, replace
from typing import Any

from volition.evaluation.statistics import (
    Difference,
    Estimate,
    holm,
    mean_over_tasks,
    paired_difference,
    student_mean,
)

MEASURES = ("mae", "train_loss", "validation_loss")  # lower is better


@dataclass(frozen=True, kw_only=True)
class Row:
    name: str
    seeds: tuple[int, ...]
    success: Estimate | None  # None: nothing was acted out
    measures: Mapping[str, Estimate | None]  # over seeds
    errors: Mapping[str, float]  # in robot units, and accuracies: means over seeds
    difference: Difference | None  # of the success, the first row's minus this one's
    better: Mapping[str, float]  # measure -> share of seeds in which it is lower than the first row's
    epochs: float
    steps: int
    action_dim: int
    parameters: int
    head_parameters: int
    act_seconds: float
    p_corrected: float | None = None  # of the difference, among those of all rows
    diverged: int = 0  # runs, which have no other part in the row
    by_seed: tuple[Estimate, ...] = ()  # the success of every seed alone

    def to_json(self) -> dict[str, Any]:
        """Plain values; the ends of an interval of which nothing is known are None."""
        document = asdict(self)
        for name, found in self.measures.items():
            if found is not None and found.known is None:
                document["measures"][name] |= {"low": None, "high": None}
        return document


def make_rows(results: Sequence[Mapping[str, Any]]) -> list[Row]:
    """The best first: by success where there is any, else by error."""
    names = list(dict.fromkeys(result["name"] for result in results))
    finished = [result for result in results if "diverged" not in result]
    groups = {name: [result for result in finished if result["name"] == name] for name in names}
    ranked = sorted(names, key=lambda name: _rank(groups[name]))
    first = groups[ranked[0]]
    rows = [
        _row(name, group, first if group is not first else None) if (group := groups[name]) else _without_figures(name)
        for name in ranked
    ]
    lost = Counter(result["name"] for result in results if "diverged" in result)
    rows = [replace(row, diverged=lost[row.name]) for row in rows]
    compared = [number for number, row in enumerate(rows) if row.difference is not None]
    corrected = holm([difference.p_value for row in rows if (difference := row.difference) is not None])
    for number, p_value in zip(compared, corrected, strict=True):
        rows[number] = replace(rows[number], p_corrected=p_value)
    return rows


def _rank(group: Sequence[Mapping[str, Any]]) -> tuple[float, float]:
    success = _success(group)
    error = _mean(group, "mae")
    return (-success.value if success else 0.0, error.value if error else float("inf"))


def _row(name: str, group: Sequence[Mapping[str, Any]], first: Sequence[Mapping[str, Any]] | None) -> Row:
    any_one = group[0]
    errors = [key for key in any_one if key.startswith("error_") or key.endswith("_accuracy")]
    return Row(
        name=name,
        seeds=tuple(result["seed"] for result in group),
        success=_success(group),
        measures={measure: _mean(group, measure) for measure in MEASURES},
        errors={key: statistics.fmean(result[key] for result in group) for key in errors},
        difference=_difference(first, group) if first is not None else None,
        better=_better(first, group) if first is not None else {},
        epochs=any_one["epochs"],
        steps=any_one["steps"],
        action_dim=any_one["action_dim"],
        parameters=any_one["parameters"],
        head_parameters=any_one["head_parameters"],
        act_seconds=statistics.median(result["act_seconds"] for result in group),
        by_seed=tuple(value for result in group if (value := _success([result])) is not None),
    )


def _without_figures(name: str) -> Row:
    """Every run of it diverged."""
    nothing = dict.fromkeys(MEASURES)
    return Row(name=name, seeds=(), success=None, measures=nothing, errors={}, difference=None, better={}, epochs=0.0,
               steps=0, action_dim=0, parameters=0, head_parameters=0, act_seconds=0.0)  # fmt: skip


def _success(group: Sequence[Mapping[str, Any]]) -> Estimate | None:
    """Over the tasks, every training seed's episodes together."""
    outcomes: dict[str, list[bool]] = {}
    for result in group:
        for episode in result["episodes"]:
            outcomes.setdefault(episode["task"], []).append(episode["success"])
    return mean_over_tasks(outcomes) if outcomes else None


def _mean(group: Sequence[Mapping[str, Any]], measure: str) -> Estimate | None:
    values = [result[measure] for result in group if result[measure] is not None]
    return student_mean(values) if values else None


def _difference(first: Sequence[Mapping[str, Any]], group: Sequence[Mapping[str, Any]]) -> Difference | None:
    """Of episodes that both had: the same training seed, task and start."""
    key = lambda result, episode: (result["seed"], episode["task"], episode["seed"], episode["scene"])
    ours, theirs = (
        {key(result, episode): episode["success"] for result in side for episode in result["episodes"]}
        for side in (first, group)
    )
    common = sorted(ours.keys() & theirs.keys())
    if not common:
        return None
    return paired_difference([ours[k] for k in common], [theirs[k] for k in common])


def _better(first: Sequence[Mapping[str, Any]], group: Sequence[Mapping[str, Any]]) -> dict[str, float]:
    by_seed = {result["seed"]: result for result in first}
    pairs = [(by_seed[result["seed"]], result) for result in group if result["seed"] in by_seed]
    found = {}
    for measure in MEASURES:
        known = [(a[measure], b[measure]) for a, b in pairs if a[measure] is not None and b[measure] is not None]
        if known:
            found[measure] = statistics.fmean(float(theirs < ours) for ours, theirs in known)
    return found
