"""Environments in gymnasium's style, with a real one: what they become, and what is refused."""

from __future__ import annotations

import builtins
import dataclasses
import pickle
import sys
import types
from collections.abc import Sequence
from pathlib import Path
from typing import Any

import gymnasium
import numpy as np
import pytest
import torch

from tests.slide import CORNERS, LIMIT, SIDE, Slide, SlideConfig
from volition.envs.base import EnvConfig
from volition.envs.gymnasium.adapter import RestingEnv, resized
from volition.envs.gymnasium.generic import GymnasiumConfig, words
from volition.envs.gymnasium.libero import arrays_may_be_read
from volition.envs.gymnasium.metaworld import MetaworldEnv
from volition.envs.gymnasium.simpler import SimplerConfig
from volition.envs.table import find_env
from volition.evaluation.episodes import Resting
from volition.evaluation.rollout import RolloutConfig, evaluate
from volition.evaluation.suite import score_tasks, task_trials
from volition.records import Observation, Start

LEFT, RIGHT = SlideConfig().ids


class Pusher:
    """Pushes the disc to the corner that it is told, by the state that it is given."""

    def start(self, n: int) -> list[Any]:
        return [None] * n

    def act(self, observations: Sequence[Observation], states: Sequence[Any]) -> tuple[np.ndarray, list[Any]]:
        goals = [np.array(CORNERS["left" if "left" in o.instruction else "right"]) for o in observations]
        pushes = [np.clip(4 * (goal - o.state[0]), -2, 2) for goal, o in zip(goals, observations)]
        return np.stack(pushes)[:, None].astype(np.float32), list(states)


def test_what_it_takes_and_gives_is_read_from_its_spaces() -> None:
    config = SlideConfig(picture_size=(16, 18))
    spec = config.spec
    assert [(d.low, d.high) for d in spec.action_space.dimensions] == [(-2.0, 2.0)] * 2
    assert spec.state == ("place_0", "place_1")
    assert spec.image_sizes == {"above": (16, 18)}
    assert spec.control_hz == 10.0
    assert config.max_steps == LIMIT


def test_a_policy_is_evaluated_in_it() -> None:
    config = SlideConfig()
    trials = task_trials(config.tasks, num_starts=2, first_seed=0)
    rollout = RolloutConfig(max_steps=config.max_steps, space=config.spec.action_space, num_workers=1, batch=1)
    results = evaluate(Pusher(), config.make, trials, dataclasses.replace(rollout, slots_per_worker=1))
    assert score_tasks(results).success.value == 1.0
    assert {result.instruction for result in results} == {"please slide left", "please slide right"}
    assert all(result.num_steps < LIMIT for result in results)


def test_an_environment_that_shows_nothing_is_rendered() -> None:
    config = SlideConfig(ids=("tests/SlideHiddenRight-v0",), picture_size=(SIDE, SIDE))
    assert config.spec.image_sizes == {"render": (SIDE, SIDE)}
    env, plain = config.make(), Slide("right", render_mode="rgb_array")
    env.reset(Start(4, config.ids))
    plain.reset(seed=4)
    assert np.array_equal(env.observe("").images["render"][0], plain.render())


def test_what_ended_without_success_stays_so() -> None:
    env = SlideConfig().make()
    env.reset(Start(0, (LEFT,)))
    env.begin(LEFT)
    for _ in range(20):
        assert not env.step(np.array([2.0, 2.0]))  # off the tray, at the other side
    fallen = env.observe("").state
    assert np.abs(fallen).max() == 1.0
    assert not env.step(np.array([-2.0, -2.0]))
    assert np.array_equal(env.observe("").state, fallen)


def test_actions_beyond_their_bounds_are_bounded() -> None:
    places = []
    for push in (2.0, 9.0):
        env = SlideConfig().make()
        env.reset(Start(0, (RIGHT,)))
        env.begin(RIGHT)
        env.step(np.array([push, 0.0]))
        places.append(env.observe("").state)
    assert np.array_equal(*places)


def test_another_task_needs_another_start() -> None:
    env = SlideConfig().make()
    env.reset(Start(0, (LEFT,)))
    with pytest.raises(ValueError, match="only 'tests/SlideLeft-v0' can begin"):
        env.begin(RIGHT)
    with pytest.raises(ValueError, match="one task, for an episode has one here"):
        env.reset(Start(0, (LEFT, RIGHT)))
    with pytest.raises(ValueError, match="no chains: use --starts"):
        SlideConfig().chains(2)
    assert SlideConfig().feasible(Start(0, (LEFT,))) == (LEFT,)


@pytest.mark.parametrize(
    ("options", "message"),
    [
        ({}, "say which environments"),
        ({"ids": ("os:Slide-v0",)}, "must not name a module"),
        ({"ids": ("Slyde-v7",)}, "cannot make 'Slyde-v7'"),
        ({"ids": ("CartPole-v1",)}, "must act in a Box"),
        ({"ids": (LEFT, "tests/SlideHiddenRight-v0")}, "has others than the first"),
    ],
)
def test_what_cannot_be_evaluated_is_named(options: dict[str, Any], message: str) -> None:
    with pytest.raises(ValueError, match=message):
        _ = GymnasiumConfig(**options).spec


@pytest.mark.parametrize("name", ["metaworld", "libero", "simpler"])
def test_a_package_that_is_missing_is_named(name: str, monkeypatch: pytest.MonkeyPatch) -> None:
    there = builtins.__import__

    def without(module: str, *args: Any, **kwargs: Any) -> Any:
        if module.split(".")[0] in ("metaworld", "libero", "simpler_env"):
            raise ImportError(module)
        return there(module, *args, **kwargs)

    monkeypatch.setattr(builtins, "__import__", without)
    for module in ("metaworld", "libero", "simpler_env"):
        monkeypatch.delitem(sys.modules, module, raising=False)
    config = find_env(name)()
    assert issubclass(type(config), EnvConfig)
    assert config.spec.action_space.dim in (4, 7)
    assert config.max_steps > 0
    with pytest.raises(ValueError, match="needs the package"):
        _ = config.tasks


@pytest.mark.parametrize(
    ("name", "wanted"), [("lab/PushBlock-v0", "push block"), ("Reach-v3", "reach"), ("door_open-v1", "door open")]
)
def test_a_name_becomes_words(name: str, wanted: str) -> None:
    assert words(name) == wanted


def test_pictures_of_the_right_size_are_left_alone() -> None:
    picture = np.random.default_rng(0).integers(0, 256, (6, 8, 3), np.uint8)
    assert np.array_equal(resized(picture, 6, 8), picture)
    assert resized(picture, 3, 5).shape == (3, 5, 3)


@pytest.mark.parametrize("kind", [np.float64, np.float32])
def test_starts_that_libero_ships_can_be_read_and_nothing_else(kind: Any, tmp_path: Path) -> None:
    """As LIBERO's own code does it: `torch.load` of a pickled array, by today's torch."""
    states = np.arange(12, dtype=kind).reshape(3, 4)
    torch.save(states, tmp_path / "task.pruned_init")
    torch.save(Path("elsewhere"), tmp_path / "other")
    with pytest.raises(pickle.UnpicklingError):
        torch.load(tmp_path / "task.pruned_init")
    with arrays_may_be_read():
        assert np.array_equal(torch.load(tmp_path / "task.pruned_init"), states)
        with pytest.raises(pickle.UnpicklingError):
            torch.load(tmp_path / "other")


class Simpler:
    """What SimplerEnv's environments are to the adapter: a step shows success where `succeeds` says so."""

    unwrapped = property(lambda self: self)

    def __init__(self, name: str, succeeds: Sequence[bool]):
        self.name, self.succeeds, self.steps, self.asked = name, succeeds, 0, []

    def reset(self, **how: Any) -> tuple[None, dict[str, Any]]:
        self.how, self.steps = how, 0
        return None, {}

    def step(self, action: np.ndarray) -> tuple[None, float, bool, bool, dict[str, Any]]:
        self.asked.append(action.tolist())
        self.steps += 1
        return None, 0.0, self.succeeds[self.steps - 1], self.steps == len(self.succeeds), {}

    def get_language_instruction(self) -> str:
        return self.name

    def close(self) -> None:
        pass


@pytest.mark.parametrize(
    ("judged", "succeeds", "wanted"),
    [
        ("any_step", (False, True, False), [False, True]),
        ("last_step", (False, True, False), [False, False, False]),
        ("last_step", (False, True, True), [False, False, True]),
    ],
)
def test_simpler_is_stood_stepped_and_judged_by_its_own_rules(
    judged: Any, succeeds: Sequence[bool], wanted: list[bool], monkeypatch: pytest.MonkeyPatch
) -> None:
    task = "google_robot_move_near"
    simpler = types.SimpleNamespace(ENVIRONMENTS=[task], make=lambda name: Simpler(name, succeeds))
    monkeypatch.setitem(sys.modules, "simpler_env", simpler)
    config = SimplerConfig(robot_name="google_robot", judged=judged)
    env = config.make()
    env.reset(Start(500_000, (task,)))
    env.begin(task)
    world = env.world._env  # type: ignore[attr-defined]
    # The arrangements are numbered below 60: a seed as such is an error there.
    assert world.how == {"seed": 500_000, "options": {"obj_init_options": {"episode_id": 500_000 % 60}}}
    rests = env.rest()
    assert rests.tolist() == [0.0] * 6 + [1.0], "open, as it begins"
    assert [env.step(np.array([0.5] * 6 + [-1.0])) for _ in wanted] == wanted
    assert world.asked[0][6] == 1.0, "+1 closes there"
    assert env.rest().tolist() == [0.0] * 6 + [-1.0]
    assert config.max_steps == 200, "of its longest task; each is ended by its own limit"


def test_every_task_has_its_own_limit_of_steps() -> None:
    gymnasium.register("tests/SlideShort-v0", entry_point=Slide, max_episode_steps=3, kwargs={"corner": "left"})
    gymnasium.register("tests/SlideEndless-v0", entry_point=Slide, kwargs={"corner": "left"})
    config = GymnasiumConfig(ids=("tests/SlideShort-v0", LEFT))
    assert config.max_steps == LIMIT
    assert config.spec.action_space.dim == 2
    for given, alive in ((config, 3), (dataclasses.replace(config, steps=5), 5)):
        env = given.make()
        env.reset(Start(0, config.ids[:1]))
        env.begin(config.ids[0])
        seen = []
        for _ in range(7):
            env.step(np.array([0.1, 0.0]))
            seen.append(env.observe("").state.tolist())
        assert len({str(one) for one in seen}) == alive, "what is over stays as it is"
    with pytest.raises(ValueError, match=r"tests/SlideEndless-v0 must have a limit of steps"):
        _ = GymnasiumConfig(ids=(LEFT, "tests/SlideEndless-v0")).max_steps


def test_robots_that_are_told_motions_can_wait_and_others_do_not_pretend() -> None:
    assert not isinstance(SlideConfig().make(), Resting)
    assert issubclass(MetaworldEnv, RestingEnv)
    assert MetaworldEnv.open_hand == -1.0
