"""The expert: it succeeds, comes back from where a policy may have led the robot, and depends on the state alone."""

from __future__ import annotations

import math
from itertools import islice

import numpy as np
import pytest

from tests.envs.mobile_tools import box, course, drive, room
from volition.envs.mobile import expert
from volition.envs.mobile.environment import MobileConfig, MobileEnv, Space
from volition.envs.mobile.expert import DemonstrationConfig
from volition.envs.mobile.state import SCENES, MobileState
from volition.envs.mobile.tasks import TASKS, Course, order_of
from volition.records import Start

SPACES: tuple[Space, ...] = ("2d", "3d")


@pytest.fixture(scope="module", params=SPACES)
def env(request: pytest.FixtureRequest) -> MobileEnv:
    return MobileConfig(space=request.param).make()


def begin(env: MobileEnv, state: MobileState, task: str) -> None:
    """At a state made by hand."""
    env.mobile.reset(state)
    env.begin(task)


@pytest.mark.parametrize("task", TASKS)
def test_it_does_every_task_without_touching_anything(env: MobileEnv, task: str) -> None:
    # The full count is benchmarks/mobile_expert.py.
    for seed in range(2):
        env.reset(Start(300 + seed, (task,), SCENES[seed % 4]))
        env.begin(task)
        assert 30 < drive(env, task) < 130
        measures = env.measures()
        assert not measures["collided"]
        assert 0.99 < measures["path_ratio"] < 1.35


@pytest.mark.parametrize("task", ["left_to_red_cup", "right_then_left"])
def test_it_goes_back_from_the_wrong_side(env: MobileEnv, task: str) -> None:
    """A policy that took the wrong side of the last box, and is beside or behind it when the expert takes over."""
    wrong = task.replace("left", "RIGHT").replace("right", "left").lower() if "then" not in task else "right_then_right"
    for seed, until in enumerate((0.0, 0.45)):
        env.reset(Start(40 + seed, (task,), "A"))
        env.begin(task)
        last = env.mobile.state.boxes[-1].pose.x
        for _ in range(150):
            if env.mobile.snapshot().robot.x > last + until:
                break
            env.step(env.label(wrong))
        assert drive(env, task), until
        assert not env.measures()["collided"]


def test_it_recovers_from_wherever_a_policy_may_have_taken_the_robot(env: MobileEnv) -> None:
    rng = np.random.default_rng(3)
    done = 0
    for seed in range(8):
        task = TASKS[seed]
        env.reset(Start(60 + seed, (task,), "B"))
        env.begin(task)
        drift = rng.uniform(-0.25, 0.25, env.spec.action_space.dim)
        for step in range(200):
            if env.step(drift if 10 <= step < 16 else env.label(task)):
                done += 1
                break
    assert done >= 7


def test_a_label_depends_on_the_state_alone(env: MobileEnv) -> None:
    task = "left_then_right"
    state = room(box(1.0), box(2.3), things=room().things[:1])
    begin(env, state, task)
    first = env.label(task)
    env.label("right_then_right")
    for _ in range(5):
        env.step(env.label("right_then_left"))
    begin(env, state, task)
    np.testing.assert_array_equal(env.label(task), first)


def test_it_drives_to_the_told_side_and_looks_where_it_goes() -> None:
    walked = course([(0.0, 0.0)], room())
    for side, sign in (("left", 1.0), ("right", -1.0)):
        ahead, aside, turn = expert.label(walked, order_of(f"{side}_to_red_cup"), turns=True)
        assert sign * aside > 0.1
        assert ahead > 0.2
        assert sign * turn > 0.1
        assert expert.label(walked, order_of(f"{side}_to_red_cup"), turns=False)[2] == 0.0


def test_it_slows_down_before_its_thing_and_keeps_its_distance() -> None:
    speeds = []
    for gap in (1.0, 0.6, 0.5, expert.STOP):
        walked = course([(0.0, 0.0), (0.5, 0.8), (1.9, 0.8), (2.6 - gap, 0.6)], room())
        speeds.append(float(np.linalg.norm(expert.label(walked, order_of("left_to_red_cup"), turns=False))))
    assert speeds[0] == pytest.approx(expert.TOP_SPEED)
    assert speeds == sorted(speeds, reverse=True)
    assert speeds[-1] == pytest.approx(0.0, abs=1e-9)
    near = course([(0.0, 0.0), (0.5, 0.8), (1.9, 0.8), (2.3, 0.6)], room())
    assert expert.label(near, order_of("left_to_red_cup"), turns=False)[0] < 0  # too near: back


def test_it_keeps_away_from_a_box_that_is_too_near() -> None:
    beside = course([(0.0, 0.0), (0.5, 0.8), (1.2, 0.4)], room())  # 20 cm from the box's side
    assert expert.label(beside, order_of("left_to_red_cup"), turns=False)[1] > 0.15


def test_where_the_thing_is_not_there_it_stands() -> None:
    walked = course([(0.0, 0.0)], room())
    assert not expert.label(walked, order_of("left_to_red_cone"), turns=True).any()
    assert not expert.label(walked, order_of("left_then_left"), turns=True).any()


def test_labels_are_clean_and_what_is_executed_is_not(env: MobileEnv) -> None:
    task = "right_to_blue_cup"
    env.reset(Start(1, (task,), "D"))
    env.begin(task)
    pairs = []
    for executed, clean in islice(env.demonstrate(task, np.random.default_rng(0)), 25):
        np.testing.assert_array_equal(clean, env.label(task))
        pairs.append((executed, clean))
        env.step(executed)
    executed, clean = np.array(pairs).transpose(1, 0, 2)
    assert np.abs(executed - clean).mean() > 0.02
    assert np.linalg.norm(clean[:, :2], axis=1).max() <= expert.TOP_SPEED + 1e-9


def test_demonstrations_repeat_from_their_seed_and_vary_between_seeds(env: MobileEnv) -> None:
    def film(seed: int) -> np.ndarray:
        env.reset(Start(2, ("left_then_left",), "B"))
        env.begin("left_then_left")
        rows = []
        for executed, _ in islice(env.demonstrate("left_then_left", np.random.default_rng(seed)), 12):
            env.step(executed)
            rows.append(executed)
        return np.array(rows)

    np.testing.assert_array_equal(film(3), film(3))
    assert np.abs(film(3) - film(4)).max() > 0.02


def test_bad_values_are_refused() -> None:
    with pytest.raises(ValueError, match="slowest"):
        DemonstrationConfig(slowest=0.0)
    with pytest.raises(ValueError, match="correlation"):
        DemonstrationConfig(correlation=1.0)
    assert expert.wrapped(math.pi + 0.1) == pytest.approx(-math.pi + 0.1)
    assert isinstance(course([(0.0, 0.0)], room()), Course)
