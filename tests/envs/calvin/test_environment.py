"""What is particular to CALVIN's environment; what every environment does is in the conformance suite."""

from __future__ import annotations

from collections.abc import Iterator
from pathlib import Path

import numpy as np
import pytest

from tests.envs.calvin.test_clones import make
from tests.envs.calvin.tools import require_clones
from volition.contract import require_equal
from volition.data.calvin import SPEC
from volition.envs.calvin.clones import CALVIN, CALVIN_ENV, CLONES
from volition.envs.calvin.config import CalvinSimConfig
from volition.envs.calvin.environment import CalvinEnv, _checked
from volition.envs.calvin.rendering import moved_camera
from volition.envs.calvin.situations import BLOCKS
from volition.records import Start

START = Start(3, ("lift_blue_block_table",), "D")


def test_it_means_the_same_as_the_published_datasets() -> None:
    assert CalvinSimConfig().spec.convention == SPEC.convention
    require_equal(CalvinSimConfig().fit(SPEC).spec, SPEC, left_name="ours", right_name="theirs")


def test_a_policy_for_another_robot_is_refused() -> None:
    from dataclasses import replace

    with pytest.raises(ValueError, match=r"control_hz: 10\.0 != 30\.0"):
        CalvinSimConfig().fit(replace(SPEC, control_hz=10.0))
    with pytest.raises(ValueError, match="ceiling"):
        CalvinSimConfig().fit(replace(SPEC, cameras=(replace(SPEC.cameras[0], name="ceiling"),)))
    one = CalvinSimConfig().fit(replace(SPEC, cameras=SPEC.cameras[:1]))
    assert list(one.image_sizes) == ["static"], "what the robot does not have is not drawn"


def test_the_gripper_is_made_exact_and_other_numbers_are_refused() -> None:
    action = np.array([0.5, 1.00001, -1, 0, 0, 0, 0.2], np.float32)
    assert _checked(action).tolist() == [0.5, 1.0, -1, 0, 0, 0, 1.0]
    assert _checked(-action)[6] == -1.0
    for wrong, said in (
        (np.zeros(6), "7 finite numbers"),
        (np.full(7, np.nan), "7 finite numbers"),
        (np.array([0, 0, 2.0, 0, 0, 0, 1]), r"must lie in -1\.\.1"),
    ):
        with pytest.raises(ValueError, match=said):
            _checked(wrong)


def test_a_missing_clone_is_said_before_a_simulator_is_made(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    for clone in CLONES:
        monkeypatch.delenv(clone.variable, raising=False)
    with pytest.raises(ValueError, match="set VOLITION_CALVIN_ENV"):
        CalvinEnv()
    env = make(tmp_path / "env", CALVIN_ENV)
    with pytest.raises(ValueError, match="set VOLITION_CALVIN to"):
        CalvinEnv(CalvinSimConfig(calvin_env=str(env)))
    made = CalvinEnv(CalvinSimConfig(calvin_env=str(env), calvin=str(make(tmp_path / "calvin", CALVIN))))
    assert made.spec == SPEC
    with pytest.raises(ValueError, match="must be reset before it is used"):
        made.observe("go")
    made.close()


def test_a_moved_camera_looks_at_the_same_start() -> None:
    """The hand's own camera sees the same throughout, and the static one again where it is not moved."""
    require_clones()
    config = CalvinSimConfig(image_sizes={"static": (60, 60), "gripper": (40, 40)})
    name, moved = config.camera_moved()
    assert name == "static camera turned by 5 degrees"
    assert config.feasible(START) == moved.feasible(START)
    seen = []
    for one in (config, moved, config):
        env = one.make()
        env.reset(START)
        seen.append(env.observe(""))
        env.close()
    before, turned, after = seen
    assert np.array_equal(before.images["gripper"], turned.images["gripper"])
    assert np.array_equal(before.state, turned.state)
    assert np.array_equal(before.images["static"], after.images["static"])
    assert np.abs(before.images["static"].astype(int) - turned.images["static"]).mean() > 3


@pytest.mark.parametrize("offset", [(0.0, 0.0, -1.0), (float("nan"), 0.0, 0.0)])
def test_a_camera_that_would_stand_nowhere_is_refused(offset: tuple[float, float, float]) -> None:
    with pytest.raises(ValueError, match="camera_offset"):
        CalvinSimConfig(camera_offset=offset)


def test_a_camera_moves_around_what_it_looks_at() -> None:
    at = [1.0, 2.0, 3.0]
    np.testing.assert_allclose(moved_camera([3.0, 2.0, 3.0], at, (np.pi / 2, 0.0, 0.5)), [1.0, 5.0, 3.0], atol=1e-12)
    np.testing.assert_allclose(moved_camera([1.0, 3.0, 3.0], at, (0.0, np.pi / 2, 0.0)), [1.0, 2.0, 4.0], atol=1e-12)


@pytest.fixture(scope="module")
def env() -> Iterator[CalvinEnv]:
    require_clones()
    made = CalvinEnv(CalvinSimConfig(image_sizes={"static": (48, 48), "gripper": (40, 40)}))
    yield made
    made.close()


def test_official_sequences_begin_as_the_protocol_says(env: CalvinEnv) -> None:
    start = env.config.chains(1)[0]
    env.reset(start)
    held = env.simulator.scene_obs()
    assert held[0] == pytest.approx(0.28, abs=1e-3)
    env.begin(start.tasks[0])
    assert not env.step(np.array([0, 0, 0, 0, 0, 0, 1.0]))
    assert env.achieved() == frozenset()


def test_it_says_what_must_come_first(env: CalvinEnv) -> None:
    env.reset(Start(1, ("open_drawer",)))
    with pytest.raises(ValueError, match="call begin"):
        env.step(np.zeros(7))
    with pytest.raises(ValueError, match="34, got 'fly'"):
        env.begin("fly")
    with pytest.raises(ValueError, match="34, got 'fly'"):
        env.instructions("fly", "train")


def test_the_official_sentence_is_the_only_one_for_validation(env: CalvinEnv) -> None:
    assert env.instructions("turn_on_led", "validation") == ("press the button to turn on the led light",)
    assert len(env.instructions("turn_on_led", "train")) > 5


@pytest.mark.parametrize("task", ["stack_block", "unstack_block", "place_in_drawer", "lift_pink_block_drawer"])
def test_starts_that_need_a_block_somewhere_have_it_there(env: CalvinEnv, task: str) -> None:
    env.reset(Start(7, (task,), "D"))
    env.begin(task)
    moment = env.simulator.moment(env._now)
    if task in ("stack_block", "place_in_drawer"):
        assert moment.held is not None
        assert moment.blocks[moment.held].touches == {"robot"}
    elif task == "unstack_block":
        assert any(moment.blocks[color].touches and moment.blocks[color].touches <= set(BLOCKS) for color in BLOCKS)
    else:
        assert "drawer" in moment.blocks["pink"].touches


def test_labels_do_not_know_the_pose_that_calvin_keeps(env: CalvinEnv) -> None:
    """Two histories that end in the same measured state are told the same, whatever the kept pose is."""
    env.reset(Start(3, ("open_drawer",)))
    env.begin("open_drawer")
    before = env.label("open_drawer")
    env.simulator._env.robot.target_pos += 0.05
    assert np.array_equal(before, env.label("open_drawer"))


def test_a_picture_is_drawn_once_a_step(env: CalvinEnv) -> None:
    env.reset(Start(3, ("open_drawer",)))
    env.begin("open_drawer")
    one = env.observe("a").images["static"]
    one[:] = 0
    assert env.observe("b").images["static"].any(), "who is shown a picture may write on it"
    env.step(np.array([0, 0, 1.0, 0, 0, 0, 1]))
    env.step(np.array([0, 0, 1.0, 0, 0, 0, 1]))
    assert not np.array_equal(env.observe("c").images["gripper"], one)


@pytest.mark.slow
def test_another_scene_can_follow_and_come_back(env: CalvinEnv) -> None:
    first = Start(11, ("turn_on_led",), "D")
    env.reset(first)
    seen = env.observe("x")
    env.reset(Start(11, ("turn_on_led",), "B"))
    other = env.observe("x")
    env.reset(first)
    again = env.observe("x")
    assert all(np.array_equal(seen.images[name], again.images[name]) for name in seen.images)
    assert not np.array_equal(seen.images["static"], other.images["static"])
    assert np.array_equal(seen.state, again.state)


@pytest.mark.slow
@pytest.mark.parametrize("task", ["move_slider_left", "rotate_blue_block_left", "push_into_drawer", "place_in_slider"])
def test_the_expert_succeeds_with_the_noise_of_demonstrations(env: CalvinEnv, task: str) -> None:
    won = 0
    for seed in range(2):
        env.reset(Start(100 + seed, (task,), "D"))
        env.begin(task)
        for _, (executed, _) in zip(range(150), env.demonstrate(task, np.random.default_rng(seed))):
            if env.step(executed):
                won += 1
                break
    assert won == 2
