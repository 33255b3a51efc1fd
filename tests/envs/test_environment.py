import pickle

import numpy as np
import pytest

from volition.envs.desk.environment import DeskConfig, DeskEnv
from volition.envs.desk.tasks import TASKS
from volition.records import Demonstrator, Env, Start

SIZES = {"static": (48, 64), "gripper": (32, 32)}


@pytest.fixture(scope="module")
def env() -> DeskEnv:
    return DeskEnv(DeskConfig(image_sizes=SIZES, shift=True))


def test_it_is_an_environment_and_a_demonstrator(env: DeskEnv) -> None:
    assert isinstance(env, Env)
    assert isinstance(env, Demonstrator)
    assert pickle.loads(pickle.dumps(env.config)) == env.config


def test_the_spec_describes_what_is_observed(env: DeskEnv) -> None:
    env.reset(Start(0, ("open_drawer",), "A"))
    observed = env.observe("pull")
    assert {name: image.shape for name, image in observed.images.items()} == {
        name: (1, *size, 3) for name, size in env.spec.image_sizes.items()
    }
    assert all(image.dtype == np.uint8 and image.std() > 5 for image in observed.images.values())
    assert observed.state.shape == (1, len(env.spec.state))
    assert observed.state.dtype == np.float32
    assert observed.instruction == "pull"
    assert env.spec.action_space.dim == 7
    assert env.spec.action_space.binary == (6,)
    assert env.frame().shape == (200, 200, 3)


def test_a_start_is_the_same_whatever_ran_before(env: DeskEnv) -> None:
    def play(task: str, seed: int) -> np.ndarray:
        env.reset(Start(seed, (task,)))
        env.begin(task)
        states = []
        for _ in range(10):
            env.step(env.label(task))
            states.append(np.concatenate((env.desk.robot_obs(), env.desk.scene_obs())))
        return np.array(states)

    first = {(task, seed): play(task, seed) for task in ("stack_block", "turn_on_led") for seed in (0, 1)}
    for key in reversed(first):
        np.testing.assert_array_equal(play(*key), first[key])
    assert not np.array_equal(first["stack_block", 0], first["stack_block", 1])


def test_a_moved_camera_looks_at_the_same_start() -> None:
    config = DeskConfig(image_sizes=SIZES, shift=True)
    name, moved = config.camera_moved()
    assert name == "static camera turned by 5 degrees"
    start, seen, held = Start(3, ("stack_block",), "B"), [], []
    for one in (config, moved):
        env = one.make()
        env.reset(start)
        seen.append(env.observe(""))
        held.append(env.desk.scene_obs())
    assert np.array_equal(*held)
    assert np.array_equal(seen[0].state, seen[1].state)
    assert np.array_equal(seen[0].images["gripper"], seen[1].images["gripper"])
    assert not np.array_equal(seen[0].images["static"], seen[1].images["static"])
    assert config.feasible(start) == moved.feasible(start)


def test_scenes_are_drawn_from_those_allowed() -> None:
    env = DeskEnv(DeskConfig(scenes=("B", "D")))
    scenes = set()
    for seed in range(12):
        env.reset(Start(seed, ("open_drawer",)))
        scenes.add(env.desk.save().scene)
    assert scenes == {"B", "D"}


def test_the_judge_counts_from_begin_and_knows_what_else_was_achieved(env: DeskEnv) -> None:
    env.reset(Start(4, ("close_drawer", "turn_on_led"), "A"))
    env.begin("turn_on_led")  # told to do one thing, does another
    assert env.achieved() == frozenset()
    done = [env.step(env.label("close_drawer")) for _ in range(60)]
    assert not any(done)
    assert "close_drawer" in env.achieved()
    env.begin("turn_on_led")
    assert env.achieved() == frozenset()
    done = [env.step(env.label("turn_on_led")) for _ in range(80)]
    assert any(done)
    assert "turn_on_led" in env.achieved()


def test_what_else_could_be_done_at_a_start_can_be_done(env: DeskEnv) -> None:
    for seed in range(4):
        start = Start(seed, ("open_drawer",), "C")
        admitted = env.config.feasible(start)
        assert "open_drawer" in admitted
        assert "close_drawer" not in admitted
        assert "stack_block" not in admitted
        other = admitted[seed * 7 % len(admitted)]
        env.reset(start)
        env.begin(other)
        assert any(env.step(env.label(other)) for _ in range(150)), other


def test_instructions_come_by_split(env: DeskEnv) -> None:
    for task in TASKS:
        assert not set(env.instructions(task, "train")) & set(env.instructions(task, "validation"))


def test_misuse_is_refused_with_what_to_do(env: DeskEnv) -> None:
    with pytest.raises(ValueError, match="none"):
        env.reset(Start(0, ()))
    with pytest.raises(ValueError, match="hover"):
        env.reset(Start(0, ("hover",)))
    with pytest.raises(ValueError, match="'Z'"):
        env.reset(Start(0, ("open_drawer",), "Z"))
    with pytest.raises(ValueError, match="scenes"):
        DeskConfig(scenes=("A", "X"))
    env.reset(Start(0, ("open_drawer",), "A"))
    with pytest.raises(ValueError, match="begin"):
        env.step(np.zeros(7))
    with pytest.raises(ValueError, match="hover"):
        env.begin("hover")
    env.begin("open_drawer")
    for action in (np.full(7, np.nan), np.zeros(6), np.array([np.inf, 0, 0, 0, 0, 0, 1])):
        with pytest.raises(ValueError, match="7 finite"):
            env.step(action)
