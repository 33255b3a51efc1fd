"""From results to the figures of an evaluation: plain values, each rate with its interval and its count."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import replace
from typing import Any

from volition.evaluation.chain import compare_chains, score_chains
from volition.evaluation.episodes import EpisodeResult, troubles
from volition.evaluation.measures import score_measures
from volition.evaluation.suite import compare, score_tasks
from volition.studies.eval_run import Done


def document_of(done: Done) -> dict[str, Any]:
    """The score; where this was one shard of several, what is still missing."""
    if not done.complete:
        return {
            "folder": str(done.folder),
            "num_finished": len(done.results),
            "num_episodes": done.settings["num_trials"],
            "next": "run the other shards, copy their folders here, and: volition eval --merge FOLDER ...",
        }
    return score_of(done) | speed_of(done)


def difference(first: Done, second: Done) -> dict[str, Any]:
    """How much better the first did on the same trials, and the figures of the second."""
    compared = compare_chains if are_chains(first.ordered) else compare
    found = compared(first.ordered, second.ordered).to_json()
    return found | {"theirs": figures(second.ordered), "folder": str(second.folder)}


def are_chains(results: Sequence[EpisodeResult]) -> bool:
    return len(results[0].trial.commands) > 1


def score_of(done: Done) -> dict[str, Any]:
    """Every figure of a finished evaluation; equal whenever the results are."""
    results = done.ordered
    wrong = troubles(results)
    score = figures(results) | wrong
    if wrong["num_errors"]:  # what the figures would be if nothing that broke could have become a success
        score["if_errors_were_failures"] = figures([replace(result, error="") for result in results])
    steps, calls = (sum(getattr(a, name) for r in results for a in r.attempts) for name in ("num_steps", "num_calls"))
    return score | {
        "max_steps": done.settings["rollout"]["max_steps"],
        "control_steps": steps,
        "policy_calls": calls,
        "steps_per_policy_call": steps / max(1, calls),
        "settings": dict(done.settings),
        "folder": str(done.folder),
    }


def figures(results: Sequence[EpisodeResult]) -> dict[str, Any]:
    """Of chains where trials have several commands, of single tasks and every episode where they have one."""
    measured = {name: score.to_json() for name, score in score_measures(results).items()}
    besides = {"measures": measured} if measured else {}
    if are_chains(results):
        return score_chains(results).to_json() | besides
    return score_tasks(results).to_json() | besides | {"episodes": [result.to_json() for result in results]}


def speed_of(done: Done) -> dict[str, Any]:
    """Of what this call ran."""
    attempts = [attempt for number in done.ran for attempt in done.results[number].attempts]
    seconds = max(done.seconds, 1e-9)
    return {
        "evaluation_seconds": done.seconds,
        "episodes_per_second": len(done.ran) / seconds,
        "control_steps_per_second": sum(a.num_steps for a in attempts) / seconds,
        "policy_calls_per_second": sum(a.num_calls for a in attempts) / seconds,
    }
