"""Pictures of the rooms: that they show what stands where, that films tell the way, that the self-test notices."""

from __future__ import annotations

import math

import numpy as np
import pytest

from tests.envs.mobile_tools import box, drive, room
from volition.envs.mobile import layout as at
from volition.envs.mobile import selftest
from volition.envs.mobile.environment import MobileConfig
from volition.envs.mobile.film import INSET
from volition.envs.mobile.mobile import Mobile
from volition.envs.mobile.state import SCENES, Pose, Thing
from volition.records import Start


@pytest.fixture(scope="module")
def mobile() -> Mobile:
    return Mobile(image_sizes={"front": (72, 128), "rear": (72, 128)})


def shares(picture: np.ndarray, colour: str) -> np.ndarray:
    """bool[height, width]: where a thing's colour is."""
    wanted, other = (0, 2) if colour == "red" else (2, 0)
    values = picture.astype(int)
    return (values[..., wanted] > values[..., other] + 60) & (values[..., wanted] > values[..., 1] + 50)


def seen_at(camera_yaw: float, robot: Pose, thing: Thing, height: int, width: int) -> tuple[float, float]:
    """Row and column where a thing's middle must be, by the camera's own numbers."""
    yaw = robot.yaw + camera_yaw
    eye = robot.place - at.CAMERA_BACK * np.array([math.cos(robot.yaw), math.sin(robot.yaw)])
    offset = thing.place - eye
    ahead = math.cos(yaw) * offset[0] + math.sin(yaw) * offset[1]
    left = math.cos(yaw) * offset[1] - math.sin(yaw) * offset[0]
    low = at.CAMERA_HEIGHT - 0.12
    c, s = math.cos(at.CAMERA_PITCH), math.sin(at.CAMERA_PITCH)
    depth, down = c * ahead + s * low, c * low - s * ahead
    slope = math.tan(at.CAMERA_WIDTH / 2)
    return height / 2 + down / depth / slope * width / 2, width / 2 - left / depth / slope * width / 2


@pytest.mark.parametrize("size", [(72, 128), (96, 96)])
@pytest.mark.parametrize(("camera", "turned"), [("front", 0.0), ("rear", math.pi)])
def test_things_are_seen_where_they_stand(mobile: Mobile, camera: str, turned: float, size: tuple[int, int]) -> None:
    for scene, robot in zip(
        SCENES, (Pose(2.0, 0.0, 0.0), Pose(2.2, 0.5, 0.3), Pose(1.9, -0.3, -0.4), Pose(2.0, 0.0, 0.1))
    ):
        way = robot.yaw + turned
        ahead, aside = np.array([math.cos(way), math.sin(way)]), np.array([-math.sin(way), math.cos(way)])
        cup, cone = robot.place + 0.9 * ahead + 0.4 * aside, robot.place + 1.1 * ahead - 0.4 * aside
        things = (Thing("red_cup", *cup.tolist()), Thing("blue_cone", *cone.tolist()))
        mobile.reset(room(box(4.0, 1.2), robot=robot, things=things, scene=scene))
        picture = mobile.render_at(camera, *size)
        for thing in things:
            found = shares(picture, thing.kind.split("_")[0])
            assert found.sum() > 20, (scene, thing)
            row, column = seen_at(turned, robot, thing, *size)
            rows, columns = np.nonzero(found)
            assert columns.mean() == pytest.approx(column, abs=3.5), (scene, thing)
            assert rows.min() - 2 <= row <= rows.max() + 2, (scene, thing)


def test_a_box_hides_what_is_behind_it_if_it_is_high(mobile: Mobile) -> None:
    things = (Thing("red_cup", 2.4, 0.0),)
    for height, hidden in ((0.5, True), (0.1, False)):
        mobile.reset(room(box(0.9, size=(0.3, 0.5, height)), things=things))
        assert (not shares(mobile.render("front"), "red").any()) == hidden


def test_the_robot_sees_its_own_rim_and_no_sky(mobile: Mobile) -> None:
    for scene in SCENES:
        mobile.reset(room(scene=scene, robot=Pose(0.0, 0.2, 0.3)))
        picture = mobile.render("front")
        bow = picture[-12:, 50:78].astype(int)
        assert ((bow[..., 0] > 180) & (bow[..., 2] < 90)).any()  # the yellow bow
        assert picture.max(axis=-1).min() > 20  # black would be where nothing is


def test_looking_from_where_another_robot_looked_shows_the_same(mobile: Mobile) -> None:
    mobile.reset(room())
    before = mobile.render("front")
    mobile.reset(room(box(1.0, 0.3), robot=Pose(0.3, 0.1, 0.5), scene="C"))
    assert not np.array_equal(mobile.render("front"), before)
    mobile.film(200, 200, lambda scene: None)
    mobile.reset(room())
    np.testing.assert_array_equal(mobile.render("front"), before)
    with pytest.raises(ValueError, match="above"):
        mobile.render("above")


def test_a_film_shows_the_way_and_what_the_robot_sees() -> None:
    env = MobileConfig().make()
    env.reset(Start(5, ("left_to_red_cup",), "B"))
    env.begin("left_to_red_cup")
    first = env.frame()
    assert drive(env, "left_to_red_cup")
    last = env.frame()
    high, wide = INSET
    above = np.ones((200, 200), bool)
    above[-high - 4 :, -wide - 4 :] = False

    def orange(frame: np.ndarray) -> int:
        values = frame.astype(int)
        dots = (values[..., 0] > values[..., 1] + 60) & (values[..., 1] > values[..., 2] + 30) & above
        return int(dots.sum())

    def green(frame: np.ndarray) -> int:
        values = frame.astype(int)
        return int(((values[..., 1] > values[..., 0] + 60) & (values[..., 1] > values[..., 2] + 60) & above).sum())

    assert orange(last) > orange(first) + 40
    assert min(green(first), green(last)) > 40
    assert (first.shape, first.dtype) == ((200, 200, 3), np.uint8)
    inset = last[-high - 2 : -2, -wide - 2 : -2]
    assert shares(inset, "red").sum() > 30  # it stands before the red cup


def test_the_self_test_passes_here_and_notices_what_it_should() -> None:
    assert selftest.check() == []
    drawn = selftest.draw()
    assert len(selftest.SHEET.differences(drawn[..., ::-1], drawn)) == 12
    missing = drawn.copy()
    missing[:48, :96] = 128
    found = selftest.SHEET.differences(missing, drawn)
    assert len(found) == 1
    assert found[0].startswith("mobile, room A, front camera")
