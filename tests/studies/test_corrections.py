"""A policy begins, the expert corrects: who acts, what is labelled, what is recorded."""

from __future__ import annotations

from dataclasses import replace
from pathlib import Path

import numpy as np
import pytest

from tests.studies.test_recording import SilentConfig
from tests.tiny import SMALL
from tests.toy import SPEC, TASKS, Toy, ToyConfig
from volition.backbones import TinyPaliGemma
from volition.config import DataConfig, Experiment, Recording, WindowConfig, dump, load
from volition.data.open import load_episodes
from volition.data.record import RecordConfig
from volition.envs.base import EnvConfig
from volition.heads import LSTMHeadConfig
from volition.records import Start
from volition.studies.commands import _begun_by
from volition.studies.corrections import Corrections
from volition.studies.recording import record_env
from volition.studies.training import load_policy, run_training_on
from volition.training.train import LoopConfig

SEED = 1  # lets the policy act for several steps, and fewer than twenty


@pytest.fixture(scope="module")
def learner(tmp_path_factory) -> str:
    """An untrained policy that is asked again every second step."""
    folder = tmp_path_factory.mktemp("learner")
    data = record_env(
        Recording(env=ToyConfig(), record=RecordConfig(tasks=TASKS, episodes_per_task=1)), folder / "data"
    )
    assert data.episodes == len(TASKS)
    experiment = Experiment(
        data=DataConfig(cameras=("base",)),
        window=WindowConfig(num_obs_steps=2, obs_stride=2, action_horizon=3, replan_steps=2),
        backbone=TinyPaliGemma(**SMALL),
        head=LSTMHeadConfig(hidden=16),
        loop=LoopConfig(num_steps=0),
    )
    run_training_on(experiment, load_episodes(folder / "data"), SPEC, folder / "run")
    return str(folder / "run")


def play(config: Corrections, seed: int, steps: int) -> tuple[list[np.ndarray], list[np.ndarray], list[np.ndarray]]:
    """Where the point was, what was executed there, what it was labelled."""
    env = config.make()
    env.reset(Start(seed=seed, tasks=("reach_red",)))
    env.begin("reach_red")
    toy: Toy = env._env
    places, executed, labels = [], [], []
    for action, label in env.demonstrate("reach_red", np.random.default_rng(seed)):
        places.append(toy.position.copy())
        executed.append(action)
        labels.append(label)
        env.step(action)
        if len(labels) == steps:
            break
    return places, executed, labels


def test_the_policy_acts_first_and_every_step_has_the_experts_label(learner: str) -> None:
    config = Corrections(env=ToyConfig(noise=0.0), learner=learner, learner_steps=20)
    places, executed, labels = play(config, seed=SEED, steps=24)
    other = [not np.allclose(a, b) for a, b in zip(executed, labels)]
    led = other.index(False)
    assert 2 <= led <= 20, "the seed should let the policy act for some steps"
    assert not any(other[led:]), "after the policy it is the expert alone who acts"

    toy = Toy(ToyConfig(noise=0.0))
    toy.reset(Start(seed=SEED, tasks=("reach_red",)))
    toy.begin("reach_red")
    for place, label in zip(places, labels):
        toy.position = place
        np.testing.assert_array_equal(label, toy.label("reach_red"))


def test_the_policy_acts_as_in_evaluation(learner: str) -> None:
    config = Corrections(env=ToyConfig(noise=0.0), learner=learner, learner_steps=20)
    _, executed, _ = play(config, seed=SEED, steps=4)
    policy, _ = load_policy(Path(learner))
    rng = np.random.default_rng(SEED)
    toy = Toy(ToyConfig(noise=0.0))
    toy.reset(Start(seed=SEED, tasks=("reach_red",)))
    toy.begin("reach_red")
    instruction, states, expected = str(rng.choice(toy.instructions("reach_red", "train"))), policy.start(1), []
    for _ in range(2):
        chunks, states = policy.act([toy.observe(instruction)], states)
        for action in chunks[0, :2]:
            expected.append(action)
            toy.step(action)
    np.testing.assert_array_equal(executed, expected)


def test_it_is_recorded_as_any_environment_and_remembers_who_began(learner: str, tmp_path: Path) -> None:
    config = Corrections(env=ToyConfig(), learner=learner, learner_steps=4)
    assert isinstance(config, EnvConfig)
    assert load(dump(config), allow=("tests",)) == config
    done = record_env(Recording(env=config, record=RecordConfig(tasks=TASKS, episodes_per_task=2)), tmp_path)
    assert done.episodes == len(load_episodes(tmp_path)) == 4
    with pytest.raises(ValueError, match="learner_steps: 5 != 4"):
        record_env(
            Recording(env=replace(config, learner_steps=5), record=RecordConfig(tasks=TASKS, episodes_per_task=2)),
            tmp_path,
        )


def test_a_recording_keeps_to_the_checkpoint_that_it_began_with(learner: str) -> None:
    config = _begun_by(ToyConfig(), Path(learner), 4, ())
    assert config == Corrections(env=ToyConfig(), learner=str(Path(learner) / "checkpoints/step_0"), learner_steps=4)


def test_what_cannot_be_corrected_is_refused(learner: str, tmp_path: Path) -> None:
    with pytest.raises(ValueError, match="at least 1, got 0"):
        Corrections(env=ToyConfig(), learner=learner, learner_steps=0)
    with pytest.raises(ValueError, match="`label` and `demonstrate`; Silent has not"):
        Corrections(env=SilentConfig(), learner=learner).make()
    with pytest.raises(ValueError, match="run that has one; there is none"):
        play(Corrections(env=ToyConfig(), learner=str(tmp_path)), seed=0, steps=1)


def test_a_policy_for_another_robot_is_refused(learner: str) -> None:
    class Elsewhere(ToyConfig):
        @property
        def spec(self):
            return replace(SPEC, control_hz=20.0)

        def fit(self, robot):
            from volition.contract import require_equal

            require_equal(robot, self.spec, left_name="the checkpoint's robot", right_name="elsewhere")

    with pytest.raises(ValueError, match=r"control_hz: 10.0 != 20.0"):
        play(Corrections(env=Elsewhere(), learner=learner), seed=0, steps=1)
