"""Pictures: that they show the state, follow the shift, cost the physics nothing, and refuse clearly without GL."""

from __future__ import annotations

import os
import subprocess
import sys
import threading
from pathlib import Path

import numpy as np
import pytest

from tests.envs.desk_tools import CLOSED, OPEN, episode, grasp, scene_obs, servo, up
from volition.envs.desk import selftest
from volition.envs.desk.desk import Desk
from volition.envs.desk.layout import DOOR_TRAVEL, DRAWER_TRAVEL, SWITCH_TRAVEL
from volition.envs.desk.state import BLOCKS, SCENES, DeskState, Shift
from volition.envs.gl import DrawingError, process_context

# Which channels of a block's colour are high: red; blue; red and blue.
CHANNELS = {"red": (True, False, False), "blue": (False, False, True), "pink": (True, False, True)}


@pytest.fixture(scope="module")
def desk() -> Desk:
    return Desk()


def shows(picture: np.ndarray, place: tuple[float, float], block: str) -> bool:
    """Whether the colour of a block is at `place`, shares of the picture's width and height."""
    height, width = picture.shape[:2]
    pixel = picture[int(place[1] * height), int(place[0] * width)].astype(int)
    wanted = np.array(CHANNELS[block])
    return bool(pixel[wanted].min() > pixel[~wanted].max() + 30)


def test_pictures_have_the_sizes_that_were_asked_for() -> None:
    desk = Desk(image_sizes={"static": (96, 128)})
    desk.reset(DeskState("A", scene_obs()))
    picture = desk.render("static")
    assert (picture.shape, picture.dtype) == ((96, 128, 3), np.uint8)
    assert desk.render_at("gripper", 300, 260).shape == (300, 260, 3)  # larger than the buffer was
    np.testing.assert_array_equal(desk.render("static"), picture)
    with pytest.raises(ValueError, match="one of static, got 'gripper'"):
        desk.render("gripper")
    with pytest.raises(ValueError, match="static, gripper"):
        desk.render_at("front", 10, 10)
    with pytest.raises(ValueError, match="positive"):
        desk.render_at("static", 0, 10)
    with pytest.raises(ValueError, match="front"):
        Desk(image_sizes={"front": (10, 10)})


def test_both_cameras_show_every_block_where_projection_says(desk: Desk) -> None:
    for scene, shift in zip(SCENES, (Shift(), Shift(0.05, 0.04, 0.2), Shift(camera=(0.05, -0.05, 0.05)), Shift())):
        desk.reset(DeskState(scene, scene_obs(yaw=0.5), shift))
        tops = {name: desk.snapshot().blocks[name].position + up(0.02) for name in BLOCKS}
        for camera in ("static", "gripper"):
            picture = desk.render(camera)
            assert picture.std() > 20  # a second GL context would draw one colour
            for name, place in desk.project(camera, tops).items():
                assert 0 < min(place) <= max(place) < 1, (scene, camera, name)
                assert shows(picture, place, name), (scene, camera, name)


def test_projection_refuses_and_marks_what_it_cannot_place(desk: Desk) -> None:
    desk.reset(DeskState("A", scene_obs()))
    behind = desk.project("gripper", {"ceiling": np.array([0.0, 0.0, 3.0])})["ceiling"]
    assert np.isnan(behind).all()
    assert desk.project("static", {}) == {}
    with pytest.raises(ValueError, match="static, gripper"):
        desk.project("front", {})


def test_the_gripper_camera_sees_a_block_between_the_fingers_until_it_is_lifted(desk: Desk) -> None:
    for scene in SCENES:
        desk.reset(DeskState(scene, scene_obs(yaw=0.3)))
        grasp(desk, "blue", lift=0.05)
        top = desk.snapshot().blocks["blue"].position + up(0.01)
        place = desk.project("gripper", {"blue": top})["blue"]
        assert 0.3 < place[0] < 0.7
        assert 0.1 < place[1] < 0.7
        assert shows(desk.render("gripper"), place, "blue")


def test_every_change_of_the_scene_changes_the_static_picture(desk: Desk) -> None:
    changes = (
        scene_obs(door=DOOR_TRAVEL), scene_obs(drawer=DRAWER_TRAVEL), scene_obs(switch=SWITCH_TRAVEL),
        scene_obs(led=1.0), scene_obs(yaw=0.8), scene_obs(blocks=((-0.13, -0.12, 0.48),) * 1 + ((0, -2, 0),) * 2),
    )  # fmt: skip
    for scene in SCENES:
        desk.reset(DeskState(scene, scene_obs()))
        plain = desk.render_at("static", 96, 96).astype(int)
        for changed in changes:
            desk.reset(DeskState(scene, changed))
            difference = np.abs(desk.render_at("static", 96, 96).astype(int) - plain).max(axis=-1)
            assert (difference > 40).sum() >= 12, (scene, changed)


def test_lamps_glow_when_on(desk: Desk) -> None:
    for scene in SCENES:
        seen = {}
        for on in (0.0, 1.0):
            desk.reset(DeskState(scene, scene_obs(switch=on * SWITCH_TRAVEL, led=on)))
            places = desk.project("static", {name: desk.site(name)[0] for name in ("bulb", "led")})
            picture = desk.render_at("static", 96, 96)
            seen[on] = [picture[int(y * 96), int(x * 96)].astype(int) for x, y in places.values()]
        for dark, lit in zip(seen[0.0], seen[1.0]):
            assert dark.max() < 120
            assert lit.max() > 220
        assert seen[1.0][0][0] > 200  # the bulb is yellow: red and green
        assert seen[1.0][1][1] > seen[1.0][1][0] + 40  # the LED green


def test_the_picture_follows_a_lamp_through_save_and_restore(desk: Desk) -> None:
    desk.reset(DeskState("B", scene_obs(led=1.0)))
    lit, saved = desk.render("static"), desk.save()
    desk.reset(DeskState("B", scene_obs(led=0.0)))
    assert not np.array_equal(desk.render("static"), lit)
    desk.restore(saved)
    np.testing.assert_array_equal(desk.render("static"), lit)


def test_pictures_do_not_depend_on_what_was_drawn_before() -> None:
    def draw(desk: Desk, seed: int) -> bytes:
        state, actions = episode(seed)
        desk.reset(state)
        for action in actions[:20]:
            desk.step(action)
        return desk.render("static").tobytes() + desk.render("gripper").tobytes()

    fresh = [draw(Desk(), seed) for seed in range(4)]
    used = Desk()
    assert [draw(used, seed) for seed in (3, 1, 0, 2)] == [fresh[seed] for seed in (3, 1, 0, 2)]


def test_the_home_pose_hides_no_block_from_the_static_camera(desk: Desk) -> None:
    for scene in SCENES:
        for blocks in (((-0.16, -0.14, 0.48), (0.0, -0.14, 0.48), (0.16, -0.14, 0.48)),
                       ((-0.16, -0.07, 0.48), (0.04, -0.07, 0.48), (0.16, -0.01, 0.48))):  # fmt: skip
            desk.reset(DeskState(scene, scene_obs(blocks=blocks)))
            picture = desk.render("static")
            places = desk.project("static", {name: np.array(blocks[i]) for i, name in enumerate(BLOCKS)})
            assert [name for name in BLOCKS if not shows(picture, places[name], name)] == []


def test_the_self_test_passes_here_and_notices_what_it_should() -> None:
    assert selftest.check() == []
    drawn = selftest.draw()
    side = selftest.SHEET.side
    swapped = drawn[..., ::-1]
    assert len(selftest.SHEET.differences(swapped, drawn)) == 8
    missing = drawn.copy()
    missing[: side // 2, :side] = 128
    found = selftest.SHEET.differences(missing, drawn)
    assert len(found) == 1
    assert found[0].startswith("desk, scene A, static camera")


def test_one_context_serves_the_process_and_only_the_thread_that_made_it(desk: Desk) -> None:
    desk.reset(DeskState("A", scene_obs()))
    desk.render("static")
    assert process_context() is process_context()
    caught: list[Exception] = []

    def elsewhere() -> None:
        try:
            desk.render("static")
        except DrawingError as error:
            caught.append(error)

    thread = threading.Thread(target=elsewhere)
    thread.start()
    thread.join()
    assert len(caught) == 1
    assert "thread" in str(caught[0])
    assert desk.render("static").std() > 20


def run_python(code: str, **settings: str) -> subprocess.CompletedProcess[str]:
    environment = {k: v for k, v in os.environ.items() if k not in ("MUJOCO_GL", "DISPLAY", "WAYLAND_DISPLAY")}
    root = Path(__file__).parents[2]
    environment["PYTHONPATH"] = os.pathsep.join((str(root), str(root / "src")))  # this tree, wherever it is installed
    return subprocess.run(
        [sys.executable, "-c", code], capture_output=True, text=True, env=environment | settings, check=False
    )


def test_egl_is_chosen_where_nothing_is_set_and_no_screen_is_there() -> None:
    code = "import os, volition.envs.desk.desk; assert os.environ['MUJOCO_GL'] == 'egl'"
    assert run_python(code).returncode == 0


def test_physics_needs_no_gl_and_drawing_says_what_to_install() -> None:
    code = (
        "from tests.envs.desk_tools import *; desk = Desk(); desk.reset(DeskState('A', scene_obs()))\n"
        "hold(desk, 1.0, 3)\nprint('moved')\ndesk.render('static')"
    )
    done = run_python(code, MUJOCO_GL="disable")
    assert done.stdout == "moved\n"
    assert "DrawingError" in done.stderr
    assert "apt-get install libegl1" in done.stderr


@pytest.mark.parametrize("backend", ["disable", "nonsense"])
def test_the_check_for_gl_fails_with_a_message(backend: str) -> None:
    done = run_python("import runpy; runpy.run_module('volition.envs.gl', run_name='__main__')", MUJOCO_GL=backend)
    assert done.returncode == 1
    assert "apt-get install libegl1" in done.stderr


def test_the_check_for_gl_succeeds_here() -> None:
    done = run_python("import runpy; runpy.run_module('volition.envs.gl', run_name='__main__')")
    assert (done.returncode, done.stdout) == (0, "")


def test_the_hand_does_not_hide_what_it_presses(desk: Desk) -> None:
    desk.reset(DeskState("A", scene_obs()))
    top = desk.site("button_top")[0]
    servo(desk, top + up(0.06), CLOSED)
    place = desk.project("gripper", {"button": top - (0, 0.02, 0)})["button"]
    picture = desk.render("gripper")
    pixel = picture[int(place[1] * 84), int(place[0] * 84)].astype(int)
    assert pixel[1] > pixel[0] + 25  # the button is green
    assert OPEN > CLOSED
