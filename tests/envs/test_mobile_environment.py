"""What is particular to the mobile base as an environment; what all environments share is tests/conformance."""

from __future__ import annotations

from dataclasses import replace
from pathlib import Path

import numpy as np
import pytest

from tests.data.formats import mobile
from tests.envs.mobile_tools import drive
from volition.config import Recording
from volition.data.hdf5_layouts import MOBILE
from volition.data.open import load_episodes, load_spec
from volition.data.perform import PerformConfig
from volition.data.record import RecordConfig
from volition.envs.mobile.environment import ASKEW, MobileConfig, MobileEnv, draw
from volition.envs.mobile.tasks import REACHED, TASKS
from volition.records import Start
from volition.studies.recording import record_env


@pytest.fixture(scope="module")
def env() -> MobileEnv:
    return MobileConfig().make()


def test_both_spaces_have_the_same_rooms_and_differ_in_how_askew_the_robot_stands() -> None:
    for seed in range(4):
        start = Start(seed, (TASKS[3 * seed],), "")
        two, three = (draw(start, MobileConfig(space=space)) for space in ("2d", "3d"))
        assert (two.scene, two.boxes, two.things) == (three.scene, three.boxes, three.things)
        assert (two.robot.x, two.robot.y) == (three.robot.x, three.robot.y)
        assert three.robot.yaw == pytest.approx(two.robot.yaw * ASKEW["3d"] / ASKEW["2d"])


def test_dimensions_are_those_of_mobile_vlas_recordings() -> None:
    space = MobileConfig(space="3d").spec.action_space
    assert [(d.name, d.unit) for d in space.dimensions] == [(d.name, d.unit) for d in MOBILE.dimensions]
    assert (space.frame, space.rotation, space.relative) == (MOBILE.frame, MOBILE.rotation, MOBILE.relative)
    assert [d.name for d in MobileConfig().spec.action_space.dimensions] == ["linear_x", "linear_y"]


def test_a_checkpoint_says_in_which_space_it_drives() -> None:
    three = MobileConfig(space="3d", image_sizes={"front": (40, 60), "rear": (20, 30)})
    assert MobileConfig(scenes=("B",)).fit(three.spec) == replace(three, scenes=("B",))
    ahead, *others = three.spec.action_space.dimensions
    narrow = replace(three.spec.action_space, dimensions=(replace(ahead, low=-0.1), *others))
    with pytest.raises(ValueError, match="low"):
        three.fit(replace(three.spec, action_space=narrow))


def test_the_state_is_what_wheels_and_commands_say(env: MobileEnv) -> None:
    task = "left_to_red_cup"
    env.reset(Start(0, (task,), "A"))
    env.begin(task)
    assert not env.observe("").state.any()
    for _ in range(15):
        env.step(np.array([0.3, 0.1]))
    state = dict(zip(env.spec.state, env.observe("").state[0].tolist()))
    assert (state["previous_linear_x"], state["previous_linear_y"]) == pytest.approx((0.3, 0.1))
    assert abs(state["wheel_left"]) > 1.0


def test_a_start_admits_what_can_be_done_there(env: MobileEnv) -> None:
    for seed, task in enumerate(("right_to_blue_cup", "left_then_right")):
        start = Start(seed, (task,), "C")
        admitted = env.config.feasible(start)
        assert len(admitted) == 4
        for other in admitted:
            env.reset(start)
            env.begin(other)
            assert drive(env, other), other
            assert env.achieved() == {other}


def test_measures_tell_the_way_and_what_was_hit(env: MobileEnv) -> None:
    task = "right_then_right"
    env.reset(Start(0, (task,), "A"))
    env.begin(task)
    assert drive(env, task)
    good = env.measures()
    assert not good["collided"]
    assert 1.0 < good["path_ratio"] < 1.3
    assert 0.28 < good["distance"] < REACHED
    env.reset(Start(0, (task,), "A"))
    env.begin(task)
    done = [env.step(np.array([0.5, 0.0])) for _ in range(60)]  # straight on, whatever stands there
    assert not any(done)
    bad = env.measures()
    assert bad["collided"]
    assert bad["distance"] > REACHED
    assert bad["path_length"] / bad["path_ratio"] == pytest.approx(good["path_length"] / good["path_ratio"])


def test_where_nothing_can_be_measured_nothing_is_told(env: MobileEnv) -> None:
    env.reset(Start(0, ("right_then_right",), "A"))
    (kind,) = [thing.kind for thing in env.mobile.state.things]
    env.begin(f"left_to_{kind}")  # two boxes stand there, so it cannot be done
    assert set(env.measures()) == {"collided", "path_length", "distance"}
    env.begin(f"left_to_{'red_cup' if kind != 'red_cup' else 'red_cone'}")
    assert set(env.measures()) == {"collided", "path_length"}


def test_neither_another_starts_actions_nor_another_order_does_it(env: MobileEnv) -> None:
    """Blind, one could repeat what was right once; deaf, guess one of four orders (benchmarks/mobile_expert.py)."""
    repeated = guessed = total = 0
    for seed, task in enumerate(TASKS[::2]):
        way = []
        env.reset(Start(700 + seed, (task,), "A"))
        env.begin(task)
        for _ in range(200):
            way.append(env.label(task))
            if env.step(way[-1]):
                break
        start = Start(800 + seed, (task,), "A")
        env.reset(start)
        env.begin(task)
        repeated += any(env.step(action) for action in way)
        other = next(name for name in env.config.feasible(start) if name != task)
        env.reset(start)
        env.begin(task)
        guessed += any(env.step(env.label(other)) for _ in range(110))
        total += 1
    assert guessed == 0
    assert repeated <= total // 3


def test_what_was_begun_is_judged_from_there(env: MobileEnv) -> None:
    task = "left_to_blue_cone"
    env.reset(Start(9, (task,), "A"))
    with pytest.raises(ValueError, match="begin"):
        env.measures()
    env.begin(task)
    assert drive(env, task)
    env.begin(task)  # behind the box: it has not been passed since
    assert not any(env.step(np.zeros(2)) for _ in range(3))
    with pytest.raises(ValueError, match="2 finite numbers, linear_x, linear_y"):
        env.step(np.zeros(3))


def test_misuse_is_refused_with_what_to_do() -> None:
    with pytest.raises(ValueError, match="scenes"):
        MobileConfig(scenes=("A", "X"))
    with pytest.raises(ValueError, match="front, rear"):
        MobileConfig(image_sizes={"top": (9, 9)})
    with pytest.raises(ValueError, match="--starts"):
        MobileConfig().chains(3)


def test_a_recording_of_mobile_vla_speaks_the_same_language_and_is_still_not_taken_for_this_robot(
    tmp_path: Path,
) -> None:
    """Names, units, frame and rotation agree; camera, rate, ranges and state do not: it says so, converts nothing."""
    theirs = load_spec(mobile.make(tmp_path))
    with pytest.raises(ValueError, match="control_hz") as caught:
        MobileConfig().fit(theirs)
    different = {line.strip().split(":")[0] for line in str(caught.value).splitlines()[1:]}
    assert {"control_hz", "state", "action_space.dimensions[0].low", "action_space.dimensions[2].high"} <= different
    assert any(place.startswith("cameras") for place in different)
    assert not any(place.endswith((".unit", "].kind", "space.frame", ".rotation", ".relative")) for place in different)
    assert not any(place.startswith("action_space") and place.endswith("name") for place in different)


def test_a_recording_is_of_the_robot_that_was_recorded(tmp_path: Path) -> None:
    config = MobileConfig(space="3d", image_sizes={"front": (24, 40)})
    record = RecordConfig(tasks=("right_to_red_cone",), episodes_per_task=1, perform=PerformConfig(max_steps=200))
    done = record_env(Recording(env=config, record=record), tmp_path / "data")
    assert done.episodes == 1
    assert load_spec(tmp_path / "data") == config.spec
    (episode,) = load_episodes(tmp_path / "data")
    assert episode.task == "right_to_red_cone"
    assert episode.actions(np.arange(3)).shape == (3, 3)
    assert config.fit(load_spec(tmp_path / "data")) == config
