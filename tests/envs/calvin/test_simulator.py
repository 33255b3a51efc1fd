"""The real simulator: bit-exact, drawn as the clone draws, judged as the clone judges."""

from __future__ import annotations

import subprocess
import sys
from collections.abc import Iterator
from ctypes.util import find_library
from pathlib import Path

import numpy as np
import pytest

from tests.envs.calvin.tools import env_clone
from volition.envs.calvin import expert, selftest
from volition.envs.calvin.initial import ROBOT_OBS, block_slot, official_scene
from volition.envs.calvin.layouts import LAYOUTS, require_measures
from volition.envs.calvin.simulator import Simulator
from volition.envs.calvin.situations import BLOCKS, TASKS, initial_situations

CLOSING = np.array([0.3, 0.5, -0.9, 0.0, 0.1, 0.2, -1.0])


@pytest.fixture(scope="module")
def clone() -> Path:
    return env_clone()


@pytest.fixture(scope="module")
def simulator(clone: Path) -> Iterator[Simulator]:
    made = Simulator(clone, "A", renderer="tiny", largest=200)
    yield made
    made.close()


def wander(seed: int, count: int) -> np.ndarray:
    """Actions float64[count, 7] that go somewhere: each is held for some steps, mostly downwards."""
    random = np.random.default_rng(seed)
    held = random.uniform(-1, 1, (count // 10 + 1, 7)) * (1, 1, 1, 0.4, 0.4, 0.4, 1) - (0, 0, 0.3, 0, 0, 0, 0)
    actions = np.clip(np.repeat(held, 10, axis=0)[:count], -1, 1)
    actions[:, 6] = np.where(actions[:, 6] > 0, 1.0, -1.0)
    return actions


def play(simulator: Simulator, number: int, actions: np.ndarray, *, look: bool = False) -> list[np.ndarray]:
    """All that the robot and the scene say after every step."""
    simulator.reset(ROBOT_OBS, official_scene(initial_situations()[number]))
    seen = [np.concatenate((simulator.robot_obs(), simulator.scene_obs()))]
    for action in actions:
        info = simulator.step(action)
        if look:
            simulator.render("static", 40, 40), simulator.render("gripper", 40, 40)
            simulator.moment(info)
        seen.append(np.concatenate((simulator.robot_obs(), simulator.scene_obs())))
    return seen


def test_a_reset_forgets_everything_and_looking_changes_nothing(simulator: Simulator) -> None:
    actions = wander(0, 60)
    first = play(simulator, 5, actions)
    play(simulator, 90, wander(1, 40))
    again = play(simulator, 5, actions, look=True)
    assert np.array_equal(first, again)
    assert not np.array_equal(first[0], first[-1])


PROGRAM = """
import sys
import numpy as np
from pathlib import Path
from tests.envs.calvin.test_simulator import play, wander
from volition.envs.calvin.simulator import Simulator
simulator = Simulator(Path(sys.argv[1]), "A", renderer=sys.argv[2], largest=200)
draw = lambda: [simulator.render(camera, 60, 60) for camera in ("static", "gripper")]
first, drawn = play(simulator, 5, wander(0, 60)), draw()
play(simulator, 90, wander(1, 40), look=True)
again = play(simulator, 5, wander(0, 60), look=True)
assert np.array_equal(first, again), "it remembers what was before"
assert np.array_equal(drawn, draw()), "the same moment is drawn otherwise"
np.save(sys.argv[3], again)
simulator.close()
"""


@pytest.mark.parametrize("renderer", ["tiny", "egl"])
def test_another_process_does_the_same_to_the_bit(
    renderer: str, simulator: Simulator, clone: Path, tmp_path: Path
) -> None:
    """With either renderer, whatever was done and looked at before; `simulator` draws with `tiny`."""
    if renderer == "egl" and find_library("EGL") is None:
        pytest.skip("this machine has no EGL")
    there = tmp_path / "there.npy"
    command = [sys.executable, "-c", PROGRAM, str(clone), renderer, str(there)]
    done = subprocess.run(command, capture_output=True, text=True, timeout=240)
    assert done.returncode == 0, done.stderr
    assert done.stdout == "", "pybullet talked to stdout"
    assert np.array_equal(play(simulator, 5, wander(0, 60)), np.load(there))


def test_hiding_what_is_out_of_the_picture_changes_no_pixel(simulator: Simulator) -> None:
    simulator.reset(ROBOT_OBS, official_scene(initial_situations()[30]))
    hidden, painter = 0, simulator._painter
    assert painter is not None
    for step, action in enumerate(wander(3, 120)):
        simulator.step(action)
        if step % 15:
            continue
        for camera, side in (("static", 96), ("gripper", 84)):
            drawn = simulator.render(camera, side, side)
            theirs = simulator._cameras[camera]
            assert np.array_equal(drawn, theirs.render()[0]), f"{camera} at step {step}"
            hidden += len(painter._outside(painter._matrix(theirs)))
    assert hidden > 40, "nothing was hidden, so nothing was tested"


def test_blocks_are_told_by_colour_in_every_scene(simulator: Simulator) -> None:
    scene = official_scene(initial_situations()[5])
    simulator.reset(ROBOT_OBS, scene)
    seen = simulator.scene_obs()
    info = simulator.step(np.array([0, 0, 0, 0, 0, 0, 1.0]))
    moment = simulator.moment(info)
    for color in BLOCKS:
        slot = block_slot(color)
        assert np.allclose(seen[slot : slot + 3], scene[slot : slot + 3], atol=2e-3)
        assert np.allclose(moment.blocks[color].position, scene[slot : slot + 3], atol=2e-3)
        assert abs(moment.blocks[color].yaw - scene[slot + 5]) < 0.01
    assert np.allclose(simulator.robot_obs(), ROBOT_OBS, atol=1e-3)
    assert np.allclose(moment.tcp, simulator.robot_obs()[:3])


@pytest.mark.parametrize(
    ("verb", "ending"), [("rotate", "block_left"), ("push", "block_right"), ("lift", "block_table")]
)
def test_the_judge_is_the_clones_for_all_34_tasks_at_once(simulator: Simulator, verb: str, ending: str) -> None:
    situation = initial_situations()[5]
    task = f"{verb}_{situation.at('table')[0]}_{ending}"
    start = now = simulator.reset(ROBOT_OBS, official_scene(situation))
    for _ in range(120):
        now = simulator.step(expert.label(simulator.moment(now), task))
        found = simulator.judge.done(start, now)
        assert found == simulator.judge._theirs.get_task_info(start, now)
        if task in found:
            return
    pytest.fail(f"{task} was never done, so the comparison says little")


def test_a_turn_by_60_degrees_is_never_left_out(simulator: Simulator) -> None:
    start = simulator.reset(ROBOT_OBS, official_scene(initial_situations()[5]))
    color = initial_situations()[5].at("table")[0]
    for degrees in (-179.0, -61.0, 61.0, 179.0):
        scene = official_scene(initial_situations()[5])
        scene[block_slot(color) + 5] += np.radians(degrees)
        now = simulator.reset(ROBOT_OBS, scene)
        side = "left" if degrees > 0 else "right"
        assert f"rotate_{color}_block_{side}" in simulator.judge.done(start, now)


def test_a_process_holds_one_and_says_so(simulator: Simulator, clone: Path) -> None:
    with pytest.raises(ValueError, match="a process can hold one CALVIN environment"):
        Simulator(clone, "D", renderer="tiny", largest=84)


def test_no_stand_in_is_left_behind(simulator: Simulator) -> None:
    assert [name for name in ("gym", "git", "quaternion", "cv2", "tacto") if name in sys.modules] == []
    assert str(env_clone()) not in sys.path


def test_another_scene_than_was_measured_is_refused() -> None:
    with pytest.raises(ValueError, match="scene B of the clone must measure"):
        require_measures("B", LAYOUTS["C"])


def test_there_are_34_tasks_in_the_clones_order(simulator: Simulator) -> None:
    theirs = list(simulator.judge._theirs.tasks)
    assert set(theirs) == set(TASKS)


@pytest.mark.slow
def test_all_scenes_can_be_closed_and_opened_and_look_as_they_should(clone: Path) -> None:
    done = subprocess.run(
        [sys.executable, "-c", "from volition.envs.calvin.examine import *\n" + SELF_TEST_TWICE, str(clone)],
        capture_output=True, text=True, timeout=240,
    )  # fmt: skip
    assert done.returncode == 0, done.stderr
    assert done.stdout.split() == ["[]", "[]"]


SELF_TEST_TWICE = """
import sys
from volition.envs.calvin.selftest import check
for _ in range(2):
    sys.stdout.write(f"{check(Path(sys.argv[1]), 'tiny')}\\n")
"""


def test_a_picture_that_is_another_is_named() -> None:
    from PIL import Image

    with Image.open(selftest.reference("tiny")) as picture:
        expected = np.asarray(picture.convert("RGB"))
    assert selftest.SHEET.differences(expected, expected) == []
    side = selftest.SHEET.side
    black = expected.copy()
    black[side:, side : 2 * side] = 0
    (said,) = selftest.SHEET.differences(black, expected)
    assert said.startswith("scene B, gripper camera: the picture must be near ours")
    swapped = np.ascontiguousarray(expected[..., ::-1])
    assert len(selftest.SHEET.differences(swapped, expected)) == 8
