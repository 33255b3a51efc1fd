import dataclasses
import subprocess
import sys
from collections.abc import Sequence
from functools import partial
from typing import Any

import numpy as np
import pytest

from tests.evaluation.worlds import TASKS, Lazy, Seeker, WatchedWorld
from tests.toy import Toy, ToyConfig
from volition.evaluation.batching import FixedBatch, rows_are_independent, sizes_alike
from volition.evaluation.chunking import Execute
from volition.evaluation.episodes import Command, EpisodeResult, Trial
from volition.evaluation.rollout import RolloutConfig, evaluate
from volition.evaluation.suite import task_trials
from volition.records import Observation, Start

HERE = RolloutConfig(num_workers=0, slots_per_worker=4, batch=4, max_steps=30)
TRIALS = task_trials(TASKS, num_starts=6, first_seed=100)


def same(left: list[EpisodeResult], right: list[EpisodeResult]) -> bool:
    """Equal to the bit, actions included."""
    actions = lambda results: [a.actions.tobytes() for r in results for a in r.attempts]
    return left == right and actions(left) == actions(right)


def test_a_policy_that_looks_succeeds_and_one_that_does_not_fails() -> None:
    results = evaluate(Seeker(), ToyConfig(), TRIALS, HERE)
    assert [r.trial for r in results] == TRIALS
    assert all(r.success and 1 <= r.num_steps < 15 for r in results)
    lazy = evaluate(Lazy(), ToyConfig(), TRIALS, HERE)
    assert not any(r.success for r in lazy)
    assert {r.num_steps for r in lazy} == {HERE.max_steps}


@pytest.mark.parametrize("replan_steps", [1, 3, 4])
def test_results_are_those_of_a_plain_loop(replan_steps: int) -> None:
    config = dataclasses.replace(HERE, chunking=Execute(steps=replan_steps), max_steps=3)
    results = evaluate(Seeker(), ToyConfig(), TRIALS, config)
    assert len({r.success for r in results}) == 2, "three steps must be enough for some and not for others"
    for result in results:
        env, actor, (state,), executed, done = Toy(), Seeker(), Seeker().start(1), [], False
        env.reset(result.trial.start)
        env.begin(result.task)
        while len(executed) < config.max_steps and not done:
            observation = env.observe(env.instructions(result.task, "validation")[0])
            chunks, (state,) = actor.act([observation], [state])
            for action in chunks[0][: min(replan_steps, config.max_steps - len(executed))]:
                executed.append(action)
                done = env.step(action)
                if done:
                    break
        assert result.success == done
        np.testing.assert_array_equal(result.attempts[0].actions, np.stack(executed))


@pytest.mark.parametrize(("workers", "slots"), [(1, 1), (1, 3), (2, 2), (3, 4)])
def test_any_number_of_workers_gives_the_same_results(workers: int, slots: int) -> None:
    alone = evaluate(Seeker(), WatchedWorld(), TRIALS, HERE)
    config = dataclasses.replace(HERE, num_workers=workers, slots_per_worker=slots)
    assert same(alone, evaluate(Seeker(), WatchedWorld(), TRIALS, config))


class Sized(Seeker):
    """Answers otherwise, by a little, in batches of fewer rows than `same_from`."""

    def __init__(self, same_from: int):
        super().__init__()
        self.same_from = same_from

    def act(self, observations, states):  # type: ignore[no-untyped-def]
        chunks, after = super().act(observations, states)
        return chunks + (1e-7 * len(chunks) if len(chunks) < self.same_from else 0), after


@pytest.mark.parametrize(("same_from", "alike", "sizes"), [(1, (2, 1), {1, 4}), (2, (2,), {2, 4}), (4, (), {4})])
def test_fewer_rows_are_asked_for_only_where_that_changes_no_bit(
    same_from: int, alike: tuple[int, ...], sizes: set[int]
) -> None:
    actor = Sized(same_from)
    results = evaluate(actor, ToyConfig(), TRIALS[:5], HERE)
    tried = 1 + 2 + 3 + 3 + 2 + 2 * 2  # can it be executed, is a row alone in its answer, and two for every half
    assert set(actor.batches[tried:]) == sizes, "the last of five trials is alone"
    assert same(results, evaluate(Sized(same_from), ToyConfig(), TRIALS[:5], dataclasses.replace(HERE, num_workers=2)))
    env = Toy()
    env.reset(Start(seed=1, tasks=TASKS))
    assert sizes_alike(Sized(same_from), [env.observe("red")] * 3, 4) == alike


def test_a_policy_whose_rows_depend_on_each_other_is_asked_row_by_row(caplog: pytest.LogCaptureFixture) -> None:
    actor = Seeker(coupled=True)
    config = dataclasses.replace(HERE, num_workers=2, slots_per_worker=2)
    results = evaluate(actor, ToyConfig(), TRIALS, config)
    assert "row by row" in caplog.text
    assert actor.batches[-1] == 1
    assert same(results, evaluate(Seeker(coupled=True), ToyConfig(), TRIALS, HERE))


def test_dependence_on_padding_alone_is_noticed() -> None:
    class Padded(Seeker):
        def act(self, observations, states):  # type: ignore[no-untyped-def]
            chunks, after = super().act(observations, states)
            return chunks + 1e-7 * max(len(o.instruction) for o in observations), after

    env = Toy()
    env.reset(Start(seed=1, tasks=TASKS))
    looks = [env.observe(text) for text in ("red", "go to the blue square")]
    assert rows_are_independent(Seeker(), looks, 4)
    assert not rows_are_independent(Padded(), looks, 4)


def test_dependence_on_the_place_in_later_steps_is_noticed() -> None:
    class Forgetful(Seeker):
        """Fresh rows are right; rows with a past see their place."""

        def act(self, observations, states):  # type: ignore[no-untyped-def]
            chunks, after = super().act(observations, states)
            places = np.arange(len(chunks), dtype=np.float32)[:, None, None]
            return chunks + places * np.array(states)[:, None, None].astype(np.float32), after

    env = Toy()
    env.reset(Start(seed=1, tasks=TASKS))
    assert not rows_are_independent(Forgetful(), [env.observe("red")] * 3, 4)


class Placed(Seeker):
    """Answers otherwise at places from `first` on, where rows have seen something only if they are `old`."""

    def __init__(self, first: int, *, old: bool = False):
        super().__init__()
        self.first, self.old = first, old

    def act(self, observations, states):  # type: ignore[no-untyped-def]
        chunks, after = super().act(observations, states)
        chunks[[i for i in range(self.first, len(chunks)) if states[i] or not self.old]] *= 0.7
        return chunks, after


@pytest.mark.parametrize("old", [False, True])
@pytest.mark.parametrize("first", [1, 8, 15])
def test_every_place_of_a_large_batch_is_tried(first: int, old: bool) -> None:
    env, looks = Toy(), []
    for seed in range(8):
        env.reset(Start(seed=seed, tasks=TASKS))
        looks.append(env.observe("red"))
    for count in (1, 5, 8):
        assert rows_are_independent(Seeker(), looks[:count], 16)
        assert not rows_are_independent(Placed(first, old=old), looks[:count], 16)


def test_a_policy_whose_late_places_differ_gives_the_same_for_any_number_of_slots() -> None:
    trials = task_trials(TASKS, num_starts=10, first_seed=10)
    few, many = (dataclasses.replace(HERE, batch=16, slots_per_worker=slots) for slots in (8, 20))
    assert same(evaluate(Placed(8), ToyConfig(), trials, few), evaluate(Placed(8), ToyConfig(), trials, many))


def test_a_state_is_fresh_for_every_trial_and_counts_on_within_it() -> None:
    actor = Seeker(horizon=1)
    config = dataclasses.replace(HERE, slots_per_worker=1, batch=1)
    results = evaluate(actor, ToyConfig(), TRIALS[:3], config)
    assert actor.ages == [0, *(age for result in results for age in range(result.num_steps))], "and a first look"


class Drawing(Seeker):
    """Its state is the number of its noise, and moves what it does a little."""

    def start_with(self, noise: Sequence[int]) -> list[Any]:
        return list(noise)

    def act(self, observations: Sequence[Observation], states: Sequence[Any]) -> tuple[np.ndarray, list[Any]]:
        chunks, _ = super().act(observations, states)
        return chunks + np.array(states, np.float32)[:, None, None] % 97 * 1e-5, list(states)


def test_noise_is_the_starts_own_whatever_else_runs() -> None:
    actor = Drawing()
    results = evaluate(actor, ToyConfig(), TRIALS, HERE)
    drawn = set(actor.ages) - {0}  # 0: the first looks, of robots that only start
    assert drawn == {trial.noise(0) for trial in TRIALS}
    assert len(drawn) == len({trial.start for trial in TRIALS})
    assert TRIALS[0].noise(0) != TRIALS[0].noise(1)
    elsewhere = dataclasses.replace(HERE, num_workers=2, slots_per_worker=2)
    assert same(results, evaluate(Drawing(), ToyConfig(), TRIALS, elsewhere))
    assert not same(results, evaluate(Seeker(), ToyConfig(), TRIALS, HERE))


def test_the_wording_is_the_one_that_was_asked_for() -> None:
    start = Start(seed=1, tasks=("reach_red",))
    trial = lambda wording: Trial(start=start, commands=(Command(task="reach_red", split="train", wording=wording),))
    results = evaluate(Seeker(), ToyConfig(), [trial(0), trial(1), trial(4)], HERE)
    assert [r.instruction for r in results] == ["go to the red square", "move to red", "move to red"]


def test_a_call_back_hears_of_every_episode() -> None:
    heard: list[tuple[int, EpisodeResult]] = []
    results = evaluate(Seeker(), ToyConfig(), TRIALS, HERE, lambda number, result: heard.append((number, result)))
    assert [result for _, result in sorted(heard, key=lambda pair: pair[0])] == results


def test_some_of_the_trials_become_what_they_are_among_all() -> None:
    actor = Seeker(coupled=True)  # asked in a batch, it would answer otherwise
    everything = evaluate(actor, ToyConfig(), TRIALS, HERE)
    some = evaluate(actor, ToyConfig(), TRIALS, HERE, numbers=[7, 2])
    assert same(some, [everything[7], everything[2]])
    assert evaluate(actor, ToyConfig(), TRIALS, HERE, numbers=[]) == []


def test_how_often_the_policy_was_asked_is_counted() -> None:
    results = evaluate(Seeker(), ToyConfig(), TRIALS, dataclasses.replace(HERE, chunking=Execute(steps=3)))
    assert all(a.num_calls == -(-a.num_steps // 3) for r in results for a in r.attempts)


def test_wrong_numbers_are_refused() -> None:
    with pytest.raises(ValueError, match="steps must be at least 1, got 0"):
        RolloutConfig(chunking=Execute(steps=0))
    with pytest.raises(ValueError, match="steps=9 need chunks of 9 actions or more, and this policy's have 4"):
        evaluate(Seeker(), ToyConfig(), TRIALS, dataclasses.replace(HERE, chunking=Execute(steps=9)))
    with pytest.raises(ValueError, match="at least one trial"):
        evaluate(Seeker(), ToyConfig(), [], HERE)
    with pytest.raises(ValueError, match=r"B states for B=4"):
        FixedBatch(Lopsided(), 4).act([Toy().observe("red")], [0])


class Lopsided(Lazy):
    def act(self, observations, states):  # type: ignore[no-untyped-def]
        return np.zeros((1, 4, 2), np.float32), list(states)


def test_workers_need_no_torch_and_no_main_guard(tmp_path) -> None:  # type: ignore[no-untyped-def]
    script = tmp_path / "script.py"
    script.write_text(
        "from tests.evaluation.worlds import Seeker, WatchedWorld, TASKS\n"
        "from volition.evaluation.rollout import RolloutConfig, evaluate\n"
        "from volition.evaluation.suite import task_trials\n"
        "import sys\n"
        "results = evaluate(Seeker(), WatchedWorld(), task_trials(TASKS, num_starts=1, first_seed=0),\n"
        "                   RolloutConfig(num_workers=2, slots_per_worker=1))\n"
        "sys.exit(len(results) != 2 or 'torch' in sys.modules)\n"
    )
    subprocess.run([sys.executable, str(script)], check=True, env={"PYTHONPATH": ":".join(p for p in sys.path if p)})


def test_a_partial_of_a_class_is_a_factory_too() -> None:
    config = dataclasses.replace(HERE, num_workers=1)
    assert evaluate(Seeker(), partial(Toy, ToyConfig()), TRIALS[:2], config)[0].success
