"""The ROS 2 example without ROS: messages of the same fields, a real server, and what leaves on /cmd_vel."""

from __future__ import annotations

import ast
import importlib
from collections.abc import Iterator
from dataclasses import dataclass, field
from typing import Any

import numpy as np
import pytest

from tests.serving.robots import BASE, HEIGHT, WIDTH, Recalling, served
from tests.source_tree import ROOT
from volition.robots import RoboAction
from volition.serving.config import ServeConfig
from volition.serving.server import background
from volition_client import Client, Hold, SafetyLimits


@dataclass
class Image:
    """The fields of sensor_msgs/Image that a camera driver fills; rows may be padded."""

    data: bytes
    encoding: str = "rgb8"
    height: int = HEIGHT
    width: int = WIDTH
    step: int = 3 * WIDTH


@dataclass
class JointState:
    name: list[str]
    position: list[float] = field(default_factory=list)


@pytest.fixture
def example(monkeypatch: pytest.MonkeyPatch) -> Any:
    monkeypatch.syspath_prepend(ROOT / "examples")
    return importlib.import_module("03_ros2_bridge")


@pytest.fixture
def client() -> Iterator[Client]:
    actor = Recalling(robot=BASE)
    with background(served(actor), ServeConfig(port=0)) as running, Client(running.addresses.websocket) as found:
        yield found


def pictures(seed: int) -> np.ndarray:
    return np.random.default_rng(seed).integers(0, 256, (HEIGHT, WIDTH, 3), dtype=np.uint8)


def test_the_bridge_drives_a_base_within_its_limits(example: Any, client: Client) -> None:
    sent: list[Any] = []
    limits = SafetyLimits(Hold((0.0, 0.0)), speed=0.4, turn_speed=0.5, stale_seconds=60.0)
    bridge = example.Bridge(client, client.metadata, limits, sent.append, "drive to the door")
    assert bridge.step() is None
    for camera in ("static", "gripper"):
        bridge.on_image(camera, Image(pictures(1).tobytes()))
    assert bridge.step() is None
    bridge.on_state(JointState(["z", "x", "y"], [0.3, 0.1, 0.2]))
    for _ in range(6):
        bridge.step()
    assert len(sent) == 6
    assert all(abs(twist["linear"]["x"]) <= 0.4 + 1e-9 for twist in sent)
    assert all(abs(twist["angular"]["z"]) <= 0.5 + 1e-9 for twist in sent)
    assert sum(bridge.envelope.counts.values()) > 0
    assert {twist["linear"]["y"] for twist in sent} == {0.0}


def test_pictures_that_no_longer_come_mean_hold(example: Any, client: Client) -> None:
    """Also while a chunk is executed whose look was new enough when it was taken."""
    now, sent = [100.0], list[Any]()
    limits = SafetyLimits(Hold((0.0, 0.0)), stale_seconds=0.3)
    bridge = example.Bridge(client, client.metadata, limits, sent.append, "go", clock=lambda: now[0])
    for camera in ("static", "gripper"):
        bridge.on_image(camera, Image(pictures(1).tobytes()))
    bridge.on_state(JointState(["x", "y", "z"], [0.0, 0.0, 0.0]))
    now[0] += 0.2
    bridge.step()
    assert bridge.envelope.counts["stale"] == 0
    now[0] += 0.2
    bridge.step()
    assert bridge.envelope.counts["stale"] == 1


def test_the_state_arrives_in_the_policys_order(example: Any, client: Client) -> None:
    bridge = example.Bridge(client, client.metadata, SafetyLimits(Hold((0.0, 0.0))), lambda twist: None, "go")
    for camera in ("static", "gripper"):
        bridge.on_image(camera, Image(pictures(2).tobytes()))
    bridge.on_state(JointState(["z", "x", "y"], [3.0, 1.0, 2.0]))
    observation = bridge._observation()
    assert observation["observation/state"].tolist() == [1.0, 2.0, 3.0]


def test_a_server_that_is_gone_means_hold(example: Any) -> None:
    class Gone:
        def infer(self, observation: Any) -> Any:
            raise ConnectionError("nobody there")

    actor = Recalling(robot=BASE)
    with background(served(actor), ServeConfig(port=0)) as running, Client(running.addresses.websocket) as client:
        metadata = client.metadata
    sent: list[Any] = []
    bridge = example.Bridge(Gone(), metadata, SafetyLimits(Hold((0.0, 0.0))), sent.append, "go")
    for camera in ("static", "gripper"):
        bridge.on_image(camera, Image(pictures(1).tobytes()))
    bridge.on_state(JointState(["x", "y", "z"], [0.0, 0.0, 0.0]))
    bridge.step()
    assert sent[0]["linear"]["x"] == sent[0]["angular"]["z"] == 0.0
    assert bridge.envelope.counts["watchdog"] == 1


def test_positions_are_not_sent_as_velocities(example: Any, client: Client) -> None:
    layout = {**client.metadata["layout"], "kind": "position", "frame": "world"}
    with pytest.raises(ValueError, match="positions, and a twist is a velocity"):
        example.Bridge(client, {**client.metadata, "layout": layout}, SafetyLimits(Hold((0.0, 0.0))), print, "go")


POSE = ("x", "y", "z", "rx", "ry", "rz")


def metadata(names: tuple[str, ...], **layout: Any) -> dict[str, Any]:
    """Of a policy without cameras."""
    about = {"cameras": {}, "state": list(POSE), "control_hz": 10.0, "replan_steps": 1}
    return {**about, "layout": {"names": list(names), "units": [1.0] * len(names), "frame": "world", **layout}}


class Eastward:
    def infer(self, observation: Any) -> dict[str, Any]:
        return {"actions": np.array([[0.3, 0.0, 0.1]], np.float32)}


def test_a_base_that_is_told_where_in_the_world_to_go_goes_there(example: Any) -> None:
    """It looks along the world's y, so the world's x is to its right."""
    sent: list[Any] = []
    about = metadata(("x", "y", "rz"), kind="velocity")
    bridge = example.Bridge(Eastward(), about, SafetyLimits(Hold((0.0,) * 3), pose=POSE), sent.append, "go")
    bridge.send(np.zeros(3))
    bridge.on_state(JointState(list(POSE), [0, 0, 0, 0, 0, np.pi / 2]))
    bridge.step()
    assert sent[0]["linear"] == {"x": 0.0, "y": 0.0, "z": 0.0}, "a watchdog may hold before anything is known"
    assert sent[1]["linear"] == pytest.approx({"x": 0.0, "y": -0.3, "z": 0.0})
    assert sent[1]["angular"] == pytest.approx({"x": 0.0, "y": 0.0, "z": 0.1})


def test_axes_that_the_twist_cannot_be_said_along_are_refused(example: Any) -> None:
    limits = SafetyLimits(Hold((0.0,) * 3), pose=POSE[:3])
    with pytest.raises(ValueError, match="must name x y z rx ry rz of the state"):
        example.Bridge(Eastward(), metadata(("x", "y", "rz"), kind="velocity"), limits, print, "go")
    own = metadata(("x", "y", "rz"), kind="velocity", frame="body")
    with pytest.raises(ValueError, match="use --axes body"):
        example.Bridge(Eastward(), own, limits, print, "go", "world")


def test_a_turn_about_three_axes_is_published_as_the_velocity_about_its_one(example: Any) -> None:
    names = (*POSE, "gripper")
    bridge = example.Bridge(None, metadata(names, kind="step"), SafetyLimits(Hold((0.0,) * 7)), print, "go", "world")
    step = RoboAction(translation=(0.01, 0.0, -0.02), rotation=(0.3, 0.3, 0.3))
    twist, expected = bridge.twist(np.array([*step.to_array(), 1.0])), step.to_twist(10.0)
    for part in ("linear", "angular"):
        assert twist[part] == pytest.approx(expected[part])


def test_half_a_state_is_waited_for(example: Any, client: Client) -> None:
    bridge = example.Bridge(client, client.metadata, SafetyLimits(Hold((0.0, 0.0))), lambda twist: None, "go")
    for camera in ("static", "gripper"):
        bridge.on_image(camera, Image(pictures(1).tobytes()))
    bridge.on_state(JointState(["x"], [0.1]))
    assert bridge.step() is None
    bridge.on_state(JointState(["y", "z"], [0.2, 0.3]))
    assert bridge.step() is not None


def test_a_hold_that_nothing_was_sent_for_sends_nothing(example: Any, client: Client) -> None:
    sent: list[Any] = []
    bridge = example.Bridge(client, client.metadata, SafetyLimits(Hold((0.0, None))), sent.append, "fail")
    for camera in ("static", "gripper"):
        bridge.on_image(camera, Image(pictures(1).tobytes()))
    bridge.on_state(JointState(["x", "y", "z"], [0.1, 0.2, 0.3]))
    assert bridge.step() is None
    assert not sent


def test_pictures_of_either_order_and_padded_rows_are_read(example: Any) -> None:
    image = pictures(3)
    assert np.array_equal(example.picture(Image(image.tobytes())), image)
    assert np.array_equal(example.picture(Image(image[..., ::-1].tobytes(), "bgr8")), image)
    padded = np.concatenate([image.reshape(HEIGHT, -1), np.zeros((HEIGHT, 5), np.uint8)], axis=1)
    assert np.array_equal(example.picture(Image(padded.tobytes(), step=3 * WIDTH + 5)), image)
    with pytest.raises(ValueError, match="rgb8 or bgr8"):
        example.picture(Image(b"", "mono8"))


def test_the_example_runs_where_ros_2_does() -> None:
    ast.parse((ROOT / "examples/03_ros2_bridge.py").read_text(), feature_version=(3, 8))
