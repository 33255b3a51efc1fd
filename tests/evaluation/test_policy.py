"""A real policy in the loop: a vision-language model and a head with a state."""

import dataclasses

import numpy as np
import pytest

from tests.evaluation.test_rollout import same
from tests.tiny import make_backbone, make_head
from tests.toy import SPEC, TASKS, ToyConfig
from volition.data.transforms import Chain, NormalizeActions, Scale, Transform
from volition.evaluation.batching import rows_are_independent
from volition.evaluation.chunking import Execute, RealTime
from volition.evaluation.rollout import RolloutConfig, evaluate
from volition.evaluation.suite import task_trials
from volition.policy import Collator, Policy
from volition.records import Settled, Start

CONFIG = RolloutConfig(chunking=Execute(steps=2), max_steps=8, num_workers=0, slots_per_worker=5, batch=4)


@pytest.fixture(scope="module", params=["mlp", "lstm"])
def policy(request: pytest.FixtureRequest) -> Policy:
    backbone = make_backbone("paligemma")
    head = make_head(request.param, backbone, SPEC.action_space, state_dim=2)
    return Policy(backbone, head, Collator(Transform(), backbone.adapter, ("base",), (0, 1))).eval()


def test_workers_and_neighbours_change_no_bit(policy: Policy, caplog: pytest.LogCaptureFixture) -> None:
    trials = task_trials(TASKS, num_starts=4, first_seed=0, split="train")  # wordings of different lengths
    alone = evaluate(policy, ToyConfig(), trials, CONFIG)
    spread = evaluate(policy, ToyConfig(), trials, dataclasses.replace(CONFIG, num_workers=2, slots_per_worker=3))
    assert same(alone, spread)
    assert "row by row" not in caplog.text, "a policy of ours must not need the slow way"


def test_padding_changes_the_shape_of_calls_and_what_they_mean_not(policy: Policy) -> None:
    env = ToyConfig().make()
    env.reset(Start(3, TASKS))
    looks = [env.observe(text) for text in ("go to the red square", "red")]
    padded = policy.padded_for(["please touch the red square, if you can", "red"])
    wanted = padded.collator.adapter.collate(["please touch the red square, if you can"], 1)["input_ids"].shape[1]
    assert {padded.collator.batch(some).inputs["input_ids"].shape[1] for some in (looks, looks[1:])} == {wanted}
    for some in (looks, looks[1:]):
        free, held = (actor.act(some, actor.start(len(some)))[0] for actor in (policy, padded))
        np.testing.assert_allclose(held, free, atol=1e-5)
    assert policy.collator.length == 0
    assert padded.backbone is policy.backbone


def test_a_policy_that_mixes_its_rows_is_found_out(policy: Policy) -> None:
    class Mixed(Policy):
        def act(self, observations, states):  # type: ignore[no-untyped-def]
            chunks, after = super().act(observations, states)
            return chunks - 1e-3 * chunks.mean(axis=0), after

    mixed = Mixed(policy.backbone, policy.head, policy.collator)
    env = ToyConfig()()
    looks = []
    for trial in task_trials(TASKS, num_starts=2, first_seed=0):
        env.reset(trial.start)
        looks.append(env.observe("go to the red square"))
    assert rows_are_independent(policy, looks, 4)
    assert not rows_are_independent(mixed, looks, 4)


@pytest.fixture(scope="module")
def continuing() -> Policy:
    backbone = make_backbone("paligemma")
    head = make_head("flow", backbone, SPEC.action_space, state_dim=2)
    scale = Scale(offset=(0.1, -0.2), factor=(0.5, 2.0))
    transforms = Chain(transforms=(NormalizeActions(scale=scale),))
    return Policy(backbone, head, Collator(transforms, backbone.adapter, ("base",), (0, 1))).eval()


def test_chunks_continue_what_is_settled_in_robot_units(continuing: Policy) -> None:
    env = ToyConfig().make()
    looks = []
    for seed in (1, 2):
        env.reset(Start(seed, TASKS))
        looks.append(env.observe("go to the red square"))
    assert continuing.continues
    free, _ = continuing.act(looks, continuing.start(2))
    wanted = np.array([[0.2, 0.1], [-0.3, 0.4]], np.float32)
    settled = [None, Settled(wanted, np.ones(2, np.float32))]
    held, states = continuing.act_on(looks, continuing.start(2), settled)
    np.testing.assert_allclose(held[1, :2], wanted, atol=1e-5)
    np.testing.assert_array_equal(held[0], free[0])
    assert not np.allclose(held[1, 2:], free[1, 2:])
    assert len(states) == 2


def test_real_time_chunks_are_the_same_for_any_number_of_workers(continuing: Policy) -> None:
    trials = task_trials(TASKS, num_starts=3, first_seed=0)
    config = dataclasses.replace(CONFIG, chunking=RealTime(steps=2), latency=1, max_steps=9)
    alone = evaluate(continuing, ToyConfig(), trials, config)
    spread = evaluate(continuing, ToyConfig(), trials, dataclasses.replace(config, num_workers=2, slots_per_worker=2))
    assert same(alone, spread)
    assert alone != evaluate(continuing, ToyConfig(), trials, CONFIG)


def test_interleaved_history_answers_the_same_beside_any_neighbours() -> None:
    """Rows of one length go through the backbone together, so how many there are depends on who is where."""
    backbone = make_backbone("paligemma")
    head = make_head("lstm", backbone, SPEC.action_space, state_dim=2)
    collator = Collator(Transform(), backbone.adapter, ("base",), (0, 1), interleaved=True)
    policy = Policy(backbone, head, collator, max_steps=4).eval()
    trials = task_trials(TASKS, num_starts=4, first_seed=0, split="train")
    config = dataclasses.replace(CONFIG, max_steps=12)
    alone = evaluate(policy, ToyConfig(), trials, config)
    for workers, slots in ((2, 3), (1, 2)):
        spread = evaluate(
            policy, ToyConfig(), trials, dataclasses.replace(config, num_workers=workers, slots_per_worker=slots)
        )
        assert same(alone, spread)


def test_a_policy_whose_answers_hang_on_how_many_remember_is_found_out(policy: Policy) -> None:
    class Crowded(Policy):
        def act(self, observations, states):  # type: ignore[no-untyped-def]
            chunks, after = super().act(observations, states)
            old = sum(state.head != self.head.start() for state in states) if self.head.start() is not None else 0
            return chunks + (1e-3 if old == 4 else 0.0), after

    env, looks = ToyConfig()(), []
    for trial in task_trials(TASKS, num_starts=4, first_seed=0)[:6]:
        env.reset(trial.start)
        looks.append(env.observe("go to the red square"))
    crowded = Crowded(policy.backbone, policy.head, policy.collator)
    assert rows_are_independent(policy, looks, 6)
    assert rows_are_independent(crowded, looks, 6) == (policy.head.start() is None)
