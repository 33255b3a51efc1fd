import dataclasses

import pytest

from tests.evaluation.worlds import Lazy, Seeker, WatchedWorld
from tests.toy import Toy, ToyConfig
from volition.evaluation.chain import chain_trials, compare_chains, score_chains
from volition.evaluation.rollout import RolloutConfig, evaluate
from volition.evaluation.statistics import wilson
from volition.records import Start

HERE = RolloutConfig(num_workers=0, slots_per_worker=2, batch=2, max_steps=20)
FIVE = ("reach_red", "reach_blue", "reach_red", "reach_blue", "reach_red")
STARTS = [Start(seed=seed, tasks=FIVE) for seed in range(6)]


class Tiring(Seeker):
    """Obeys only while the red square is named: stops at the second task of a chain."""

    def _chunk(self, observation):  # type: ignore[no-untyped-def]
        chunk = super()._chunk(observation)
        return chunk if "red" in observation.instruction else 0 * chunk


def test_a_chain_is_one_episode_without_reset_in_between() -> None:
    results = evaluate(Seeker(), ToyConfig(), chain_trials(STARTS), HERE)
    for result in results:
        assert [a.task for a in result.attempts] == list(FIVE)
        env = Toy()
        env.reset(result.trial.start)
        for attempt in result.attempts:
            env.begin(attempt.task)
            done = [env.step(action) for action in attempt.actions]
            assert done == [False] * (attempt.num_steps - 1) + [True], "the world must go on where the last task ended"
    score = score_chains(results)
    assert score.average_length.value == 5
    assert [e.value for e in score.reached] == [1.0] * 5


def test_the_first_failure_ends_a_chain() -> None:
    results = evaluate(Tiring(), ToyConfig(), chain_trials(STARTS), HERE)
    assert all([a.success for a in result.attempts] == [True, False] for result in results)
    assert not any(result.success for result in results)
    score = score_chains(results)
    assert score.average_length.value == 1.0
    assert [e.value for e in score.reached] == [1.0, 0.0, 0.0, 0.0, 0.0]
    assert {name: e.value for name, e in score.tasks.items()} == {"reach_red": 1.0, "reach_blue": 0.0}


def test_each_task_has_its_own_steps_and_its_own_policy_state() -> None:
    actor = Tiring(horizon=1)
    config = dataclasses.replace(HERE, slots_per_worker=1, batch=1)
    (result,) = evaluate(actor, ToyConfig(), chain_trials(STARTS[:1]), config)
    first, second = result.attempts
    assert second.num_steps == config.max_steps
    assert actor.ages == [0, *range(first.num_steps), *range(second.num_steps)], "after a first look"


def test_workers_do_not_change_a_chain() -> None:
    alone = evaluate(Seeker(), WatchedWorld(), chain_trials(STARTS), HERE)
    config = dataclasses.replace(HERE, num_workers=2, slots_per_worker=2)
    assert alone == evaluate(Seeker(), WatchedWorld(), chain_trials(STARTS), config)


def test_the_report_has_the_fields_that_others_read() -> None:
    found = score_chains(evaluate(Lazy(), ToyConfig(), chain_trials(STARTS), HERE)).to_json()
    assert found["average_length"] == 0.0
    assert found["chain_success"] == [0.0] * 5
    assert len(found["chain_success_intervals"]) == 5
    assert found["average_length_interval"] == pytest.approx([0.0, 5 * wilson(0, 6).high])
    assert set(found["chains_needed"]) == {"0.1", "0.25", "0.5"}
    assert found["num_chains"] == 6


def test_chains_of_several_lengths_have_no_common_score() -> None:
    mixed = chain_trials([STARTS[0], Start(seed=1, tasks=FIVE[:2])])
    with pytest.raises(ValueError, match=r"one common number of tasks, got \[2, 5\]"):
        score_chains(evaluate(Lazy(), ToyConfig(), mixed, HERE))


def test_chains_are_compared_in_pairs() -> None:
    good, tiring = (evaluate(actor, ToyConfig(), chain_trials(STARTS), HERE) for actor in (Seeker(), Tiring()))
    found = compare_chains(good, tiring)
    assert (found.value, found.count, found.only_first) == (4.0, 6, 6)
    assert found.low > 1
    assert found.p_value == pytest.approx(2 / 2**6)
    with pytest.raises(ValueError, match="same trials"):
        compare_chains(good, tiring[1:])
