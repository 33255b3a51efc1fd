"""The file for readers of AllenAI's vla-evaluation-harness: its layout, described here, and what its figures mean."""

from __future__ import annotations

import json
from dataclasses import replace
from pathlib import Path
from typing import Any

import pytest

from tests.evaluation.worlds import TASKS, Seeker
from tests.toy import ToyConfig
from volition.evaluation.chain import chain_trials
from volition.evaluation.suite import task_trials
from volition.studies.eval_run import Done, run_plan
from volition.studies.eval_score import score_of
from volition.studies.harness_file import write_harness_file

from tests.studies.test_eval_run import PLAN  # isort: skip

NUMBER = (int, float)
# What the harness's own classes say of its fields (version 0.4): name -> types, and those that may be absent.
EPISODE: dict[str, Any] = {"episode_id": int, "metrics": dict}
EPISODE_MAY: dict[str, Any] = {"steps": int, "elapsed_sec": NUMBER, "failure_reason": str, "failure_detail": str}
TASK: dict[str, Any] = {"task": str, "episodes": list, "num_episodes": int, "avg_steps": NUMBER}
TASK_MAY: dict[str, Any] = {"num_errors": int}
BENCHMARK: dict[str, Any] = {
    **{"benchmark": str, "mode": str, "harness_version": str, "created_at": str, "tasks": list, "config": dict},
    **{"eval_id": str, "num_episodes_total": int},
}
BENCHMARK_MAY: dict[str, Any] = {"seed": int, "metric_keys": dict, "server_info": dict, "render": dict}


def require(row: dict[str, Any], must: dict[str, Any], may: dict[str, Any]) -> None:
    assert must.keys() <= row.keys()
    for name, kind in (must | may).items():
        assert isinstance(row.get(name), kind) or name not in row, f"{name}: {row.get(name)!r}"


def recomputed(rows: list[dict[str, Any]], name: str) -> float:
    """As its tools do: over all episodes that have the metric."""
    values = [row["metrics"][name] for row in rows if name in row["metrics"]]
    return round(sum(values) / len(values), 4)


def check(document: dict[str, Any]) -> None:
    require(document, BENCHMARK, BENCHMARK_MAY)
    assert document["mode"] in ("sync", "live")
    assert set(document["metric_keys"].values()) <= {"mean", "sum", "max", "min"}
    every = [row for task in document["tasks"] for row in task["episodes"]]
    assert document["num_episodes_total"] == len(every)
    assert document["config"]["params"]["seed"] == document["seed"]
    for name, how in document["metric_keys"].items():
        assert document[f"{how}_{name}"] == recomputed(every, name)
    for task in document["tasks"]:
        require(task, TASK, TASK_MAY)
        assert task["num_episodes"] == len(task["episodes"])
        assert task.get("num_errors", 0) == sum("failure_reason" in row for row in task["episodes"])
        assert [row["episode_id"] for row in task["episodes"]] == list(range(len(task["episodes"])))
        for row in task["episodes"]:
            require(row, EPISODE, EPISODE_MAY)
            assert isinstance(row["metrics"]["success"], bool)
            assert all(isinstance(value, bool | int | float) for value in row["metrics"].values())


def written(done: Done) -> dict[str, Any]:
    path = write_harness_file(done)
    assert path.name.endswith("_aggregate.json")
    document = json.loads(path.read_text())
    check(document)
    return document


def ran(folder: Path, trials: Any, actor: Seeker) -> Done:
    return run_plan(replace(PLAN, trials=trials), actor, folder)


def test_chains_have_their_average_length(tmp_path: Path) -> None:
    done = ran(tmp_path, chain_trials(ToyConfig().chains(5)), Seeker(deaf=True))
    document, score = written(done), score_of(done)
    assert document["mean_completed_subtasks"] == round(score["average_length"], 4)
    assert document["mean_success"] == round(score["chain_success"][-1], 4)
    assert [task["task"] for task in document["tasks"]] == [f"seq_{i:04d}" for i in range(5)]
    assert document["tasks"][0]["episodes"][0]["subtasks"][0]["task"] in TASKS


def test_single_tasks_have_their_rates(tmp_path: Path) -> None:
    done = ran(tmp_path, task_trials(TASKS, num_starts=3, first_seed=4), Seeker(deaf=True))
    document, score = written(done), score_of(done)
    assert {task["task"]: task["mean_success"] for task in document["tasks"]} == {
        name: row["success_rate"] for name, row in score["tasks"].items()
    }
    assert document["seed"] == 4
    assert "mean_completed_subtasks" not in document


def test_an_error_is_a_failure_there_and_says_why(tmp_path: Path) -> None:
    done = ran(tmp_path, chain_trials(ToyConfig().chains(4)), Seeker())
    done = replace(done, results={**done.results, 1: replace(done.results[1], error="it fell over")})
    document = written(done)
    assert document["mean_success"] == 0.75
    row = document["tasks"][1]["episodes"][0]
    assert (row["metrics"], row["failure_detail"]) == ({"success": False}, "it fell over")


def test_the_check_sees_what_is_missing(tmp_path: Path) -> None:
    document = written(ran(tmp_path, chain_trials(ToyConfig().chains(2)), Seeker()))
    for name in BENCHMARK:
        with pytest.raises(AssertionError):
            check({key: value for key, value in document.items() if key != name})
    with pytest.raises(AssertionError):
        check(document | {"mean_success": 0.5})


def test_another_checkpoint_is_another_evaluation(tmp_path: Path) -> None:
    trials = chain_trials(ToyConfig().chains(2))
    names = {written(ran(tmp_path / "0", trials, Seeker()))["eval_id"]}
    names.add(written(ran(tmp_path / "1", trials, Seeker()))["eval_id"])
    assert len(names) == 1
    other = run_plan(replace(PLAN, trials=trials, about={"checkpoint": "ffff"}), Seeker(), tmp_path / "2")
    assert written(other)["eval_id"] not in names
