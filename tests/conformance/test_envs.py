"""What every environment must do. An environment joins by being listed in `tests/environments.py`."""

from __future__ import annotations

import dataclasses
import json
import pickle
from collections.abc import Iterator, Sequence
from typing import Any

import numpy as np
import pytest

from tests.environments import CASES, Case, actions, first_start, play, same
from volition.config import dump, load
from volition.contract import Camera
from volition.data.perform import RecordableEnv
from volition.envs.base import EnvConfig, require_tasks
from volition.envs.table import ENVIRONMENTS, find_env
from volition.evaluation.batching import what_is_wrong
from volition.evaluation.episodes import Command, Measuring, Resting, Trial, Watcher
from volition.evaluation.rollout import RolloutConfig, evaluate
from volition.records import Env, Observation, Start


def test_every_environment_of_ours_is_tested() -> None:
    assert set(ENVIRONMENTS) <= set(CASES)


@pytest.fixture(scope="module", params=CASES)
def case(request: pytest.FixtureRequest) -> Case:
    return CASES[request.param]()


@pytest.fixture(scope="module")
def env(case: Case) -> Iterator[Env]:
    made = case.config.make()
    yield made
    made.close()


def test_the_config_travels(case: Case) -> None:
    config = case.config
    assert isinstance(config, EnvConfig)
    assert issubclass(type(config), EnvConfig)
    assert pickle.loads(pickle.dumps(config)) == config
    package = type(config).__module__.split(".")[0]
    assert load(json.loads(json.dumps(dump(config))), allow=(package,)) == config
    assert find_env(f"{type(config).__module__}:{type(config).__qualname__}") is type(config)


def test_it_says_what_it_has(case: Case) -> None:
    config = case.config
    assert len(set(config.tasks)) == len(config.tasks) > 0
    assert len(set(config.scenes)) == len(config.scenes) > 0
    assert config.max_steps >= 1
    assert config.slots_per_worker >= 1
    about = config.about()
    assert {"simulator", "renderer"} <= set(about)
    assert all(isinstance(value, str) and value for value in about.values())
    require_tasks(config, case.shown)
    with pytest.raises(ValueError, match="no task 'hover'"):
        require_tasks(config, [*case.shown, "hover"])


def test_observations_are_what_the_spec_says(case: Case, env: Env) -> None:
    spec = case.config.spec
    assert isinstance(env, Env)
    env.reset(first_start(case))
    env.begin(case.shown[0])
    seen = env.observe("do it")
    assert seen.instruction == "do it"
    assert {name: image.shape for name, image in seen.images.items()} == {
        camera.name: (1, camera.height, camera.width, 3) for camera in spec.cameras
    }
    assert list(seen.images) == [camera.name for camera in spec.cameras]
    assert {image.dtype for image in seen.images.values()} == {np.dtype(np.uint8)}
    assert all(image.std() > 1 for image in seen.images.values()), "a picture shows nothing"
    assert (seen.state.shape, seen.state.dtype) == ((1, len(spec.state)), np.float32)
    assert np.isfinite(seen.state).all()
    frame = env.frame()
    assert (frame.shape, frame.dtype) == ((200, 200, 3), np.uint8)


def test_a_start_is_the_same_whatever_ran_before(case: Case, env: Env) -> None:
    one, other = first_start(case, seed=3), first_start(case, seed=4, number=-1)
    taken = actions(case, 5)
    before = play(env, one, taken)
    assert not same(before[0], play(env, other, taken)[0])
    again = play(env, one, taken)
    assert all(same(left, right) for left, right in zip(before, again, strict=True))
    assert not same(before[0], before[-1]), "five actions change nothing"


def test_looking_changes_nothing(case: Case, env: Env) -> None:
    start, taken = first_start(case), actions(case, 6, seed=1)
    assert same(play(env, start, taken)[-1], play(env, start, taken, look=False)[-1])


class Scripted:
    """Plays given actions and keeps what it saw before each: before the first, what the episode itself showed last."""

    def __init__(self, taken: np.ndarray):
        self.taken, self.seen = taken, dict[int, Observation]()

    def start(self, n: int) -> list[Any]:
        return [0] * n

    def act(self, observations: Sequence[Observation], states: Sequence[Any]) -> tuple[np.ndarray, list[Any]]:
        self.seen.update(zip(states, observations, strict=True))
        return np.stack([self.taken[state : state + 1] for state in states]), [state + 1 for state in states]


def test_another_process_sees_the_same_to_the_bit(case: Case, env: Env) -> None:
    start, taken = first_start(case), actions(case, 4, seed=2)
    actor, command = Scripted(taken), Command(task=start.tasks[0])
    here = play(env, start, taken)
    evaluate(
        actor,
        case.config.make,
        [Trial(start=start, commands=(command,))],
        RolloutConfig(num_workers=1, slots_per_worker=1, batch=1, max_steps=len(taken)),
    )
    said = env.instructions(start.tasks[0], "validation")[0]
    assert {seen.instruction for seen in actor.seen.values()} == {said}
    there = [dataclasses.replace(actor.seen[step], instruction="now") for step in range(len(actor.seen))]
    assert all(same(left, right) for left, right in zip(here[: len(there)], there, strict=True))
    assert there


def test_every_task_is_said_in_words_that_training_does_not_know(case: Case, env: Env) -> None:
    for task in case.config.tasks:
        train, validation = env.instructions(task, "train"), env.instructions(task, "validation")
        assert train
        assert validation
        assert all(isinstance(sentence, str) and sentence.strip() for sentence in (*train, *validation))
        assert not set(train) & set(validation), task
    with pytest.raises(ValueError, match=r"test|split"):
        env.instructions(case.config.tasks[0], "test")
    with pytest.raises(ValueError, match="hover"):
        env.instructions("hover", "train")


def test_the_demonstrator_does_what_it_is_known_to_do(case: Case, env: Env) -> None:
    if case.known is None:
        pytest.skip("it has no demonstrator")
    assert isinstance(env, RecordableEnv)
    assert env.spec == case.config.spec
    successes = 0
    for seed in range(case.starts):
        for task in case.shown:
            env.reset(Start(seed=seed, tasks=(task,), scene=case.config.scenes[seed % len(case.config.scenes)]))
            env.begin(task)
            if isinstance(env, Watcher):
                assert env.achieved() == frozenset()
            steps = zip(range(case.config.max_steps), env.demonstrate(task, np.random.default_rng(seed)))
            done = any(env.step(executed) for _, (executed, _) in steps)
            if isinstance(env, Watcher):
                assert (task in env.achieved()) == done
            successes += done
    assert successes == case.known


def test_labels_are_actions_of_the_declared_space(case: Case, env: Env) -> None:
    if not isinstance(env, RecordableEnv):
        pytest.skip("it has no demonstrator")
    space, start = case.config.spec.action_space, first_start(case)
    env.reset(start)
    env.begin(start.tasks[0])
    for _, (executed, label) in zip(range(8), env.demonstrate(start.tasks[0], np.random.default_rng(0))):
        for given in (executed, label):
            assert np.shape(given) == (space.dim,)
            assert all(d.low <= value <= d.high for d, value in zip(space.dimensions, given))
            assert all(given[i] in (space.dimensions[i].low, space.dimensions[i].high) for i in space.binary)
        env.step(executed)


def test_bad_actions_are_refused(case: Case, env: Env) -> None:
    env.reset(first_start(case))
    env.begin(case.shown[0])
    good = actions(case, 1)[0]
    for bad in (good[:-1], np.append(good, 0), good[None], np.where(np.arange(len(good)) == 0, np.nan, good)):
        with pytest.raises(ValueError, match="finite"):
            env.step(bad)
    env.step(good)


def test_steps_out_of_order_are_refused(case: Case, env: Env) -> None:
    start = first_start(case)
    env.reset(start)
    with pytest.raises(ValueError, match=r"begin|begun"):
        env.step(actions(case, 1)[0])
    with pytest.raises(ValueError, match="hover"):
        env.begin("hover")
    with pytest.raises(ValueError, match="hover"):
        env.reset(dataclasses.replace(start, tasks=("hover",)))
    with pytest.raises(ValueError, match="task"):
        env.reset(dataclasses.replace(start, tasks=()))
    with pytest.raises(ValueError, match="nowhere"):
        env.reset(dataclasses.replace(start, scene="nowhere"))


def test_a_resting_robot_stays_where_it_is(case: Case, env: Env) -> None:
    if not isinstance(env, Resting):
        pytest.skip("it does not say how its robot waits")
    env.reset(first_start(case))
    env.begin(case.shown[0])
    for action in actions(case, 3):
        env.step(action)
    space, before = case.config.spec.action_space, env.rest()
    for _ in range(20):  # what moves on by itself comes to rest
        env.step(env.rest())
    settled = env.observe("").state
    assert (before.shape, before.dtype) == ((space.dim,), np.float32)
    assert np.array_equal(env.rest(), before), "waiting changes what waiting means"
    assert what_is_wrong(before[None], space) == ""
    for _ in range(10):
        env.step(env.rest())
    np.testing.assert_allclose(env.observe("").state, settled, atol=case.still)


def test_measures_begin_anew_with_every_command_and_are_numbers(case: Case, env: Env) -> None:
    if not isinstance(env, Measuring):
        pytest.skip("it reports nothing but success")
    found = []
    for number in range(len(case.shown)):
        env.reset(first_start(case, number=number))
        env.begin(case.shown[number])
        begun = env.measures()
        for action in actions(case, 4):
            env.step(action)
        found.append(env.measures())
        assert all(isinstance(value, bool | float) and np.isfinite(value) for value in found[-1].values())
        assert found[-1] != begun, "nothing that was done is measured"
        env.begin(case.shown[number])
        assert {n: type(v) for n, v in env.measures().items()} == {n: type(v) for n, v in begun.items()}
        assert env.measures() != found[-1]
    assert len({tuple(measures) for measures in found}) == 1, "tasks are measured by different names"


def test_it_fits_robots_that_differ_in_nothing_but_cameras(case: Case) -> None:
    config, spec = case.config, case.config.spec
    assert config.fit(spec) == config
    for changed in (
        dataclasses.replace(spec, control_hz=spec.control_hz + 1),
        dataclasses.replace(spec, action_space=dataclasses.replace(spec.action_space, frame="of another robot")),
        dataclasses.replace(spec, state=(*spec.state, "mood")),
        dataclasses.replace(spec, cameras=(*spec.cameras, Camera(name="ceiling", height=9, width=9))),
    ):
        with pytest.raises(ValueError, match=r"control_hz|of another robot|mood|ceiling"):
            config.fit(changed)


def test_chains_are_a_list_that_only_grows(case: Case) -> None:
    try:
        chains = case.config.chains(4)
    except ValueError:
        return  # its protocol has none
    for found in (chains, case.config.chains(4, seed=11)):
        assert len(found) == 4
        for start in found:
            require_tasks(case.config, start.tasks)
            assert len(start.tasks) > 1
            assert not start.scene or start.scene in case.config.scenes
    assert case.config.chains(2) == chains[:2]
    assert case.config.chains(4) == chains
    assert case.config.chains(4, seed=11) != chains
    assert case.config.chains(2, seed=11) == case.config.chains(4, seed=11)[:2]


def test_the_first_chain_can_be_begun(case: Case, env: Env) -> None:
    try:
        start = case.config.chains(1)[0]
    except ValueError:
        return
    env.reset(start)
    env.begin(start.tasks[0])
    env.step(actions(case, 1)[0])


def test_what_a_start_admits_includes_what_it_was_made_for(case: Case) -> None:
    for number, task in enumerate(case.shown):
        admitted = case.config.feasible(first_start(case, number=number))
        assert task in admitted
        require_tasks(case.config, admitted)


def test_it_can_be_closed_twice(case: Case) -> None:
    if case.config.slots_per_worker == 1:
        pytest.skip("this process holds one already")
    made = case.config.make()
    made.reset(first_start(case))
    made.close()
    made.close()
