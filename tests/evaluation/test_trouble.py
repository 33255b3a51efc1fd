"""What breaks is named, costs its own episode at most, and changes nothing else."""

from __future__ import annotations

import dataclasses
from pathlib import Path
from typing import Any

import numpy as np
import pytest

from tests.evaluation.worlds import TASKS, BrokenWorld, Lazy, Seeker
from tests.toy import SPEC, Toy, ToyConfig
from volition.contract import ActionSpace, Dimension
from volition.evaluation.batching import what_is_wrong
from volition.evaluation.chain import chain_trials, score_chains
from volition.evaluation.episodes import troubles
from volition.evaluation.films import replay_films
from volition.evaluation.rollout import RolloutConfig, evaluate
from volition.evaluation.suite import compare, score_tasks, task_trials
from volition.records import Start

HERE = RolloutConfig(num_workers=0, slots_per_worker=4, batch=4, max_steps=30)
WORKERS = dataclasses.replace(HERE, num_workers=2, slots_per_worker=2, batch=1, patience_seconds=20.0)
TRIALS = task_trials(("reach_red",), num_starts=8, first_seed=10)  # seed 13 is the fourth
SOUND = evaluate(Seeker(), ToyConfig(), TRIALS, HERE)


@pytest.mark.parametrize(
    ("how", "reason"),
    [("raise", "ArithmeticError: the table has fallen over"), ("die", "exit code 7"), ("hang", "patience_seconds=3")],
)
def test_an_episode_whose_environment_broke_begins_again_and_is_counted(how: str, reason: str, tmp_path: Path) -> None:
    (tmp_path / "1").touch()
    (tmp_path / "2").touch()
    config = dataclasses.replace(WORKERS, patience_seconds=3.0 if how == "hang" else 20.0)
    results = evaluate(Seeker(), BrokenWorld(how, tmp_path), TRIALS, config)
    assert results == SOUND
    again = {result.seed: result.repeats for result in results if result.repeats}
    assert len([text for text in again[13] if reason in text]) == 2
    beside = {seed: reasons for seed, reasons in again.items() if seed != 13}
    assert all("beside another" in text for reasons in beside.values() for text in reasons)
    assert bool(beside) == (how != "raise"), "a process that ends takes its other episode along"
    told = troubles(results)
    assert told["num_errors"] == 0
    assert {entry["trial"] for entry in told["repeated_episodes"]} >= {"reach_red from seed 13"}


@pytest.mark.parametrize("how", ["raise", "die"])
def test_one_that_always_breaks_its_environment_is_an_error_beside_the_others(how: str) -> None:
    results = evaluate(Seeker(), BrokenWorld(how), TRIALS, WORKERS)
    (broken,) = (result for result in results if result.error)
    assert broken.seed == 13
    assert "tried 3 times: " in broken.error
    assert ("ArithmeticError" if how == "raise" else "exit code 7") in broken.error
    assert not broken.success
    assert [r for r in results if not r.error] == [r for r in SOUND if r.seed != 13]
    score = score_tasks(results)
    assert (score.success.count, score.success.value) == (7, 1.0)
    assert troubles(results)["errors"] == [{"trial": "reach_red from seed 13", "error": broken.error}]
    assert compare(results, SOUND).count == 7


def test_silence_beyond_all_patience_is_an_error_too() -> None:
    config = dataclasses.replace(WORKERS, patience_seconds=3.0, max_repeats=0)
    results = evaluate(Seeker(), BrokenWorld("hang"), TRIALS, config)
    assert [result.seed for result in results if result.error] == [13]
    assert "silent for patience_seconds=3" in next(result.error for result in results if result.error)


def test_environments_that_cannot_be_made_stop_everything() -> None:
    with pytest.raises(RuntimeError, match=r"could not be made(.|\n)*no graphics here"):
        evaluate(Seeker(), BrokenWorld("unbuildable"), TRIALS, WORKERS)


class Padded(Seeker):
    """Asks for all instructions before it begins."""

    def padded_for(self, instructions: Any) -> Seeker:
        return self


def test_one_that_dies_when_it_is_first_asked_is_asked_again(tmp_path: Path) -> None:
    (tmp_path / "1").touch()
    assert evaluate(Padded(), BrokenWorld("mute", tmp_path), TRIALS, WORKERS) == SOUND
    with pytest.raises(RuntimeError, match=r"must say all commands(.|\n)*exit code 7"):
        evaluate(Padded(), BrokenWorld("mute"), TRIALS, WORKERS)


def test_a_chain_that_breaks_is_no_short_chain() -> None:
    starts = [Start(seed=seed, tasks=TASKS) for seed in (11, 12, 13)]
    results = evaluate(Seeker(), BrokenWorld("raise"), chain_trials(starts), WORKERS)
    assert (results[2].error != "", results[2].num_successes) == (True, 0)
    score = score_chains(results)
    assert (score.average_length.value, score.average_length.count) == (2.0, 2)


class Wrong(Seeker):
    """Answers wrongly where it is told to go to the red square and has been asked three times already."""

    def __init__(self, how: str):
        super().__init__(horizon=1)
        self.how = how

    def act(self, observations: Any, states: Any) -> Any:
        chunks, after = super().act(observations, states)
        for row, (observation, state) in enumerate(zip(observations, states)):
            if "red" in observation.instruction and state == 2:
                match self.how:
                    case "nan":
                        chunks[row, 0, 1] = np.nan
                    case "far":
                        chunks[row, 0, 0] = -1.5
                    case "flat":
                        return chunks[:, 0], after
                    case "wide":
                        return np.concatenate([chunks, chunks], axis=2), after
                    case "short":
                        return chunks[:, :0], after
                    case "ragged":
                        return [[0.0, [1.0]]] * len(after), after
                    case "none":
                        return None
                    case "stateless":
                        return chunks, None
                    case "raise":
                        raise FloatingPointError("the network has overflown")
        return chunks, after


@pytest.mark.parametrize(
    ("how", "reason"),
    [
        ("nan", "actions must be finite"),
        ("far", "x of an action must lie between -1 and 1, got -1.5"),
        ("flat", r"a policy must return chunks [B, H, A]"),
        ("wide", "an action must have 2 dimensions (x, y), got 4"),
        ("short", "steps=1 need chunks of 1 actions or more, and this policy's have 0"),
        ("ragged", "a policy must return chunks [B, H, A] and B states"),
        ("none", "got what cannot be read as such: 'NoneType' object is not subscriptable"),
        ("stateless", "got what cannot be read as such: 'NoneType' object is not iterable"),
        ("raise", "the policy raised an error:\nTraceback"),
        ("raise", "FloatingPointError: the network has overflown"),
    ],
)
@pytest.mark.parametrize("batch", [1, 4])
def test_an_answer_that_is_none_ends_its_episode_by_name(how: str, reason: str, batch: int) -> None:
    """And no other's that was asked about in the same call."""
    trials = task_trials(TASKS, num_starts=3, first_seed=10)
    config = dataclasses.replace(HERE, space=SPEC.action_space, batch=batch)
    results = evaluate(Wrong(how), ToyConfig(), trials, config)
    sound = evaluate(Seeker(horizon=1), ToyConfig(), trials, config)
    assert [result.task for result in results if result.error] == ["reach_red"] * 3
    assert all(reason in result.error for result in results if result.error)
    assert [r for r in results if not r.error] == [r for r in sound if r.task != "reach_red"]


def test_a_policy_that_can_do_nothing_at_all_ends_everything_at_once() -> None:
    class Dead(Lazy):
        def act(self, observations: Any, states: Any) -> Any:
            raise FloatingPointError("the network has overflown")

    heard: list[int] = []
    with pytest.raises(FloatingPointError, match="overflown"):
        evaluate(Dead(), ToyConfig(), TRIALS, HERE, lambda number, result: heard.append(number))
    assert not heard


def test_a_policy_that_never_answers_rightly_leaves_nothing_to_score() -> None:
    class Flat(Lazy):
        def act(self, observations: Any, states: Any) -> Any:
            return np.zeros((len(observations), 2)), list(states)

    results = evaluate(Flat(), ToyConfig(), TRIALS, HERE)
    assert all(result.error for result in results)
    with pytest.raises(ValueError, match=r"got none of 8; the first, 'reach_red from seed 10': a policy must return"):
        score_tasks(results)


def test_what_may_be_executed() -> None:
    grip = Dimension(name="grip", unit="", kind="binary")
    space = ActionSpace(dimensions=(Dimension(name="x", unit="m", low=0.0, high=2.0), grip))
    good = np.array([[0.0, 1.0], [2.0, -1.0], [2.00001, 1.0]])  # a rounding error is none
    assert what_is_wrong(good, space) == ""
    assert "x of an action must lie between 0 and 2, got 3" in what_is_wrong(good * [1.5, 1], space)
    assert "grip of an action must be -1 or 1, got 0.9" in what_is_wrong(good * [1, 0.9], space)
    assert what_is_wrong(good * 100, None) == ""
    assert "finite" in what_is_wrong(np.where(good > 1.5, np.inf, good), None)


def test_an_episode_that_cannot_be_filmed_says_so() -> None:
    lazy = evaluate(Lazy(), ToyConfig(), [TRIALS[3]], HERE)
    with pytest.raises(RuntimeError, match=r"could not be filmed(.|\n)*exit code 7"):
        replay_films(BrokenWorld("die"), lazy, num_workers=1)
    assert isinstance(BrokenWorld("die")(), Toy)
