"""Evaluation with real simulators: demonstrations recorded in this process succeed again in others, to the bit."""

import hashlib
import zlib
from collections.abc import Sequence
from dataclasses import replace
from functools import partial
from typing import Any

import numpy as np
import pytest

from tests.envs.calvin.tools import require_clones
from tests.evaluation.test_rollout import same
from volition.envs.base import EnvConfig
from volition.envs.calvin.config import CalvinSimConfig
from volition.envs.desk.environment import DeskConfig, DeskEnv
from volition.evaluation.chain import chain_trials
from volition.evaluation.chunking import Execute
from volition.evaluation.episodes import Trial
from volition.evaluation.films import replay_films
from volition.evaluation.rollout import RolloutConfig, evaluate
from volition.evaluation.suite import task_trials
from volition.records import Observation

SIZES = {"static": (64, 64), "gripper": (32, 32)}
FACTORY = partial(DeskEnv, DeskConfig(image_sizes=SIZES))
TRIALS = task_trials(("open_drawer", "lift_red_block_table"), num_starts=2, first_seed=7, scenes=("A", "D"))
CONFIG = RolloutConfig(chunking=Execute(steps=1), max_steps=200, num_workers=2, slots_per_worker=2, batch=4)


class Remembers:
    """Knows every demonstration by its first picture and goes through it; does nothing where it knows none."""

    def __init__(self) -> None:
        self.plans: dict[str, list[np.ndarray]] = {}

    def learn(self, trial: Trial) -> int:
        env = DeskEnv(FACTORY.args[0])
        task = trial.commands[0].task
        env.reset(trial.start)
        env.begin(task)
        key = self.picture(env.observe(""))
        actions, done = [], False
        for executed, _ in env.demonstrate(task, np.random.default_rng(trial.start.seed)):
            if done or len(actions) == CONFIG.max_steps:
                break
            actions.append(executed.astype(np.float32))
            done = env.step(actions[-1])
        env.close()
        assert done, "the expert must succeed, else this tests nothing"
        self.plans[key] = actions
        return len(actions)

    @staticmethod
    def picture(observation: Observation) -> str:
        return hashlib.sha256(observation.images["static"].tobytes()).hexdigest()

    def start(self, n: int) -> list[Any]:
        return [("", 0)] * n

    def act(self, observations: Sequence[Observation], states: Sequence[Any]) -> tuple[np.ndarray, list[Any]]:
        chunks, after = [], []
        for observation, (key, step) in zip(observations, states):
            key = key or self.picture(observation)
            plan = self.plans.get(key, [np.zeros(7, np.float32)])
            chunks.append(plan[min(step, len(plan) - 1)][None])
            after.append((key, step + 1))
        return np.stack(chunks), after


@pytest.mark.slow
def test_demonstrations_succeed_again_in_other_processes_and_on_film() -> None:
    actor = Remembers()
    lengths = [actor.learn(trial) for trial in TRIALS]
    results = evaluate(actor, FACTORY, TRIALS, CONFIG)
    assert [(r.success, r.num_steps) for r in results] == [(True, length) for length in lengths]
    assert all(r.task in (r.attempts[0].achieved or ()) for r in results)
    (film,) = replay_films(FACTORY, results[:1], every=2)
    assert film.frames.shape == ((lengths[0] + 1) // 2 + 1, 200, 200, 3)
    assert np.any(film.frames[0] != film.frames[-1])


class ByPicture:
    """Draws its actions from every bit of what it sees, and from how often it has looked."""

    def start(self, n: int) -> list[Any]:
        return [0] * n

    def act(self, observations: Sequence[Observation], states: Sequence[Any]) -> tuple[np.ndarray, list[Any]]:
        chunks = [self.chunk(seen.images["static"], looks) for seen, looks in zip(observations, states)]
        return np.stack(chunks), [looks + 1 for looks in states]

    @staticmethod
    def chunk(picture: np.ndarray, looks: int) -> np.ndarray:
        actions = np.random.default_rng([zlib.crc32(picture.tobytes()), looks]).uniform(-1, 1, (3, 7))
        actions[:, 6] = np.sign(actions[:, 6])
        return actions.astype(np.float32)


@pytest.mark.slow
@pytest.mark.parametrize("simulator", ["desk", "calvin"])
def test_any_number_of_workers_gives_the_same_results(simulator: str) -> None:
    """What happens next hangs on every bit of every picture, so that nothing can differ unnoticed."""
    env: EnvConfig = DeskConfig(image_sizes=SIZES)
    if simulator == "calvin":
        require_clones()
        env = CalvinSimConfig(image_sizes={"static": (32, 32)})
    config = replace(CONFIG, chunking=Execute(steps=3), latency=1, max_steps=8, slots_per_worker=1)
    config, trials = replace(config, space=env.spec.action_space), chain_trials(env.chains(2))
    one, two = (evaluate(ByPicture(), env.make, trials, replace(config, num_workers=count)) for count in (1, 2))
    assert same(one, two)
    assert [result.error for result in one] == ["", ""]
    assert len({result.attempts[0].actions.tobytes() for result in one}) == 2, "the same is done whatever is seen"
