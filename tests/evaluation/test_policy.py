"""A real policy in the loop: a vision-language model and a head with a state."""

import dataclasses

import pytest

from tests.evaluation.test_rollout import same
from tests.tiny import make_backbone, make_head
from tests.toy import SPEC, TASKS, ToyConfig
from volition.data.transforms import Transform
from volition.evaluation.batching import rows_are_independent
from volition.evaluation.rollout import RolloutConfig, evaluate
from volition.evaluation.suite import task_trials
from volition.policy import Collator, Policy

CONFIG = RolloutConfig(replan_steps=2, max_steps=8, num_workers=0, slots_per_worker=5, batch=4)


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
