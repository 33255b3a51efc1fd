"""Measures beside success: they reach the results, the files and the score, and what is none costs its episode."""

from __future__ import annotations

import json
import math
from dataclasses import replace
from pathlib import Path

import pytest

from tests.evaluation.worlds import TASKS, Lazy, MeasuredToy, MeasuredWorld, ScalarToy, Seeker
from tests.toy import SPEC, ToyConfig
from volition.evaluation.episodes import Measuring
from volition.evaluation.journal import Journal, read_journal
from volition.evaluation.measures import score_measures
from volition.evaluation.perturb import ActionNoise, Perturbed
from volition.evaluation.rollout import RolloutConfig, evaluate
from volition.evaluation.statistics import student_mean, wilson
from volition.evaluation.suite import task_trials
from volition.studies.eval_score import figures
from volition.studies.eval_text import lines

HERE = RolloutConfig(num_workers=0, slots_per_worker=4, batch=4, max_steps=20)
TRIALS = task_trials(TASKS, num_starts=4, first_seed=0)


def test_what_was_measured_at_the_end_of_each_attempt_is_in_its_result_and_file(tmp_path: Path) -> None:
    results = evaluate(Seeker(), MeasuredWorld(), TRIALS, RolloutConfig(num_workers=1, slots_per_worker=2, batch=2))
    for result in results:
        (attempt,) = result.attempts
        again = MeasuredToy()
        again.reset(result.trial.start)
        again.begin(attempt.task)
        for action in attempt.actions:
            again.step(action)
        assert attempt.measures == again.measures()
        assert result.to_json()["attempts"][0]["measures"] == attempt.measures
    with Journal(tmp_path / "results.jsonl", {"name": "toy"}) as journal:
        journal.write(0, results[0])
    assert read_journal(tmp_path / "results.jsonl")[1] == {0: results[0]}


def test_numbers_become_means_and_yes_or_no_a_rate() -> None:
    results = evaluate(Seeker(deaf=True), MeasuredWorld(), TRIALS, HERE)  # does half of the tasks
    attempts = [result.attempts[0] for result in results]
    score = score_measures(results)
    assert list(score) == ["way", "met_the_edge", "way_ahead"]
    ways = [attempt.measures["way"] for attempt in attempts if attempt.measures]
    good = [attempt.measures["way"] for attempt in attempts if attempt.measures and attempt.success]
    assert (len(ways), len(good)) == (8, 4)
    assert (score["way"].every, score["way"].succeeded) == (student_mean(ways), student_mean(good))
    edges = sum(bool(attempt.measures and attempt.measures["met_the_edge"]) for attempt in attempts)
    assert score["met_the_edge"].every == wilson(edges, 8)
    assert figures(results)["measures"]["way"]["of_successes"]["num_attempts"] == 4


def test_where_nothing_succeeds_or_is_measured_nothing_is_made_up() -> None:
    results = evaluate(Lazy(), MeasuredWorld(), TRIALS, HERE)  # never moves
    score = score_measures(results)
    assert "way_ahead" not in score
    assert (score["way"].every.value, score["way"].succeeded) == (0.0, None)
    assert "measures" not in figures(evaluate(Lazy(), ToyConfig(), TRIALS, HERE))


@pytest.mark.parametrize("wrong", [math.nan, math.inf])
def test_what_is_no_number_costs_its_episode_and_says_so(wrong: float) -> None:
    config = RolloutConfig(num_workers=1, slots_per_worker=1, batch=1, max_steps=3, max_repeats=0)
    (result,) = evaluate(Lazy(), MeasuredWorld(wrong), TRIALS[:1], config)
    assert "finite number" in result.error
    assert "way=" in result.error


def test_numbers_of_numpy_are_numbers_too(tmp_path: Path) -> None:
    results = evaluate(Seeker(), ScalarToy, TRIALS, replace(HERE, latency=1))
    with Journal(tmp_path / "results.jsonl", {"name": "toy"}) as journal:
        journal.write(0, results[0])
    assert read_journal(tmp_path / "results.jsonl")[1] == {0: results[0]}
    measured = results[0].attempts[0].measures or {}
    assert {name: type(value) for name, value in measured.items()} == {
        "looks": int, "way": float, "met_the_edge": bool, "way_ahead": float,
    }  # fmt: skip
    assert type(results[0].attempts[0].success) is bool


def test_a_disturbed_environment_measures_too() -> None:
    perturbed = Perturbed(MeasuredWorld(), (ActionNoise(),), SPEC.action_space)
    assert isinstance(perturbed(), Measuring)
    results = evaluate(Seeker(), perturbed, TRIALS, HERE)
    assert all(result.attempts[0].measures for result in results)


def test_the_terminal_shows_them_with_their_intervals() -> None:
    results = evaluate(Seeker(deaf=True), MeasuredWorld(), TRIALS, HERE)
    score = figures(results)
    shown = dict.fromkeys(("num_errors", "repeated_episodes", "steps_per_policy_call", "max_steps"), 0)
    text = list(lines(score | shown | {"folder": "here", "settings": {"simulator": {}}}))
    row = next(line for line in text if line.strip().startswith("way "))
    mean, (low, high) = score["measures"]["way"]["mean"], score["measures"]["way"]["interval"]
    assert f"{mean:.3g} ({low:.3g} to {high:.3g})" in row


def test_one_attempt_has_a_mean_and_no_interval_that_anybody_trips_over() -> None:
    score = figures(evaluate(Seeker(), MeasuredWorld(), TRIALS[:1], HERE))
    way = score["measures"]["way"]
    assert way["interval"] is None
    assert json.loads(json.dumps(score, allow_nan=False)) == score
    shown = dict.fromkeys(("num_errors", "repeated_episodes", "steps_per_policy_call", "max_steps"), 0)
    text = list(lines(score | shown | {"folder": "here", "settings": {"simulator": {}}}))
    row = next(line for line in text if line.strip().startswith("way "))
    assert row.split() == ["way", f"{way['mean']:.3g}", f"{way['mean']:.3g}"]
