"""Results as AllenAI's vla-evaluation-harness lays them out, so that what reads its files reads ours.

    Done --harness_document--> NAME_aggregate.json: a benchmark, its tasks, their episodes, means of every metric

As there: a chain is a task of its own, `seq_0000` and on, with one episode, whose metrics are `success` (all of it) and
`completed_subtasks`; means are rounded to four digits; an episode that ended as an error counts as a failure, with its
reason. Our own score leaves such episodes out, and tells how many they are.

Absent, for we do not know it: `elapsed_sec`, the time that an episode took by the clock (ours go on side by side, and
what is kept of them is equal on any machine); `sid` and `eid`, which point into the harness's own recording; the
renderer's `applied_env`. Read at version 0.4 of the harness.
"""

from __future__ import annotations

import re
from collections.abc import Mapping, Sequence
from datetime import UTC, datetime
from pathlib import Path
from typing import Any

from volition.data.files import write_json
from volition.evaluation.episodes import EpisodeResult
from volition.studies.eval_run import Done, settings_hash
from volition.studies.eval_score import are_chains

ERROR = "episode_error"  # why an episode has no verdict; the harness has words of its own for its connections


def write_harness_file(done: Done) -> Path:
    """Beside the results, which must be complete."""
    assert done.complete, "an aggregate is of all episodes"
    path = done.folder / f"{re.sub(r'[^A-Za-z0-9_.-]', '_', done.settings['name'])}_aggregate.json"
    write_json(path, harness_document(done, datetime.now(UTC)))
    return path


def harness_document(done: Done, created: datetime) -> dict[str, Any]:
    """Plain values. `eval_id` is the same for the same evaluation, whichever machine ran it."""
    results, settings = done.ordered, done.settings
    chains = are_chains(results)
    keys = {"success": "mean"} | ({"completed_subtasks": "mean"} if chains else {})
    episodes: dict[str, list[dict[str, Any]]] = {}
    for number, result in enumerate(results):
        mine = episodes.setdefault(f"seq_{number:04d}" if chains else result.task, [])
        mine.append(_episode(len(mine), result, chains=chains))
    every = [episode for mine in episodes.values() for episode in mine]
    seed = results[0].seed
    return {
        "benchmark": settings["name"],
        "mode": "live" if settings["rollout"]["latency"] else "sync",
        "harness_version": f"volition {settings['versions']['volition']}",
        "created_at": created.isoformat(),
        "tasks": [_task(task, mine, keys) for task, mine in episodes.items()],
        "config": {"params": {"seed": seed}, **settings},
        "eval_id": f"{settings['name']}-{settings_hash(settings)}",
        "server_info": {"policy": settings.get("checkpoint", "")},
        "render": {"requested": settings["simulator"].get("renderer", "")},
        "seed": seed,
        "metric_keys": keys,
        **_means(every, keys),
        "num_episodes_total": len(every),
        "num_errors": sum("failure_reason" in episode for episode in every),
    }


def _episode(number: int, result: EpisodeResult, *, chains: bool) -> dict[str, Any]:
    """One row; the first seven fields are the harness's, the others say which of our episodes it was."""
    row: dict[str, Any] = {"episode_id": number, "metrics": {"success": result.success}, "steps": result.num_steps}
    if result.error:
        row |= {"failure_reason": ERROR, "failure_detail": result.error}
    elif chains:
        row["metrics"]["completed_subtasks"] = result.num_successes
    subtasks = [{"task": a.task, "instruction": a.instruction, "success": a.success} for a in result.attempts]
    return row | {"start_seed": result.seed, "scene": result.scene, "subtasks": subtasks}


def _task(name: str, episodes: Sequence[Mapping[str, Any]], keys: Mapping[str, str]) -> dict[str, Any]:
    errors = sum("failure_reason" in episode for episode in episodes)
    return {
        "task": name,
        "episodes": list(episodes),
        "num_episodes": len(episodes),
        "avg_steps": sum(episode["steps"] for episode in episodes) / len(episodes),
        **({"num_errors": errors} if errors else {}),
        **_means(episodes, keys),
    }


def _means(episodes: Sequence[Mapping[str, Any]], keys: Mapping[str, str]) -> dict[str, float]:
    """'mean_success': over the episodes that have the metric."""
    found = {name: [row["metrics"][name] for row in episodes if name in row["metrics"]] for name in keys}
    return {f"{keys[name]}_{name}": round(sum(values) / len(values), 4) for name, values in found.items() if values}
