"""Environments in gymnasium's style, with a real one: what they become, and what is refused."""

from __future__ import annotations

import builtins
import dataclasses
import pickle
import sys
from collections.abc import Sequence
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import torch

from tests.slide import CORNERS, LIMIT, SIDE, Slide, SlideConfig
from volition.envs.base import EnvConfig
from volition.envs.gymnasium.adapter import resized
from volition.envs.gymnasium.generic import GymnasiumConfig, words
from volition.envs.gymnasium.libero import arrays_may_be_read
from volition.envs.table import find_env
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
