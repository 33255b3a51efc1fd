"""A ROS 2 node between a robot's topics and a policy server: pictures and state in, guarded velocities out.

    volition serve runs/demo --port 8000
    python examples/03_ros2_bridge.py --url ws://127.0.0.1:8000 --limits arm.json --prompt "open the drawer"

The node needs `rclpy`, `sensor_msgs` and `geometry_msgs` of a ROS 2 installation and `volition-client`; Python 3.8 will
do. All that decides something is in `Bridge`, which knows no ROS: it is given messages and a function that publishes.
Cameras arrive on /cameras/NAME (sensor_msgs/Image, rgb8 or bgr8), the state on /state (sensor_msgs/JointState, entries
named as the policy names them), and velocities leave on /cmd_vel (geometry_msgs/Twist): along the robot's own axes, as
a base takes them, or along the world's, as an arm's servo node may (`--axes world`).
"""

from __future__ import annotations

import argparse
import logging
import threading
import time
from collections.abc import Callable, Mapping
from typing import Any

import numpy as np

from volition_client import (
    ActionLayout,
    ChunkBroker,
    Client,
    ConnectionLostError,
    Envelope,
    SafetyLimits,
    ServerError,
    Watchdog,
    load_limits,
)
from volition_client.motion import turn_vector

logger = logging.getLogger("volition_bridge")


def picture(message: Any) -> np.ndarray:
    """sensor_msgs/Image -> uint8[height, width, 3], RGB."""
    if message.encoding not in ("rgb8", "bgr8"):
        raise ValueError(f"cameras must send rgb8 or bgr8, got {message.encoding!r}")
    rows = np.frombuffer(bytes(message.data), np.uint8).reshape(message.height, message.step)
    pixels = rows[:, : 3 * message.width].reshape(message.height, message.width, 3)
    return pixels[..., ::-1] if message.encoding == "bgr8" else pixels


class Bridge:
    """Newest messages -> observation -> policy -> envelope -> twist, once a control step."""

    def __init__(
        self,
        policy: Any,
        metadata: Mapping[str, Any],
        limits: SafetyLimits,
        publish: Callable[[dict[str, dict[str, float]]], None],
        prompt: str,
        axes: str = "body",
        clock: Callable[[], float] = time.monotonic,
    ) -> None:
        """`axes` of the twists: "body" or "world"."""
        self._metadata, self._publish, self._prompt, self._clock = metadata, publish, prompt, clock
        self._layout = ActionLayout.of(metadata)
        if self._layout.kind == "position":
            raise ValueError(
                "this policy's actions are positions, and a twist is a velocity: send them to a controller"
            )
        if self._layout.frame == "body" and axes == "world":
            raise ValueError("this policy's actions are along the robot's own axes: use --axes body")
        self._turned = self._layout.frame == "world" and axes == "body"
        if self._turned and len(limits.pose) != 6:
            raise ValueError(
                "this policy's actions are along the world's axes, and the twist along the robot's own: the limits' "
                "pose must name x y z rx ry rz of the state, or an arm is driven with --axes world"
            )
        self._hz = float(metadata["control_hz"])
        self._broker = ChunkBroker(policy, int(metadata["replan_steps"]))
        self.envelope = Envelope(self._layout, limits, self._hz, clock)
        self._lock = threading.Lock()
        self._images: dict[str, np.ndarray] = {}
        self._state: dict[str, float] = {}
        self._seen: dict[str, float] = {}  # topic -> when its newest message came

    def on_image(self, camera: str, message: Any) -> None:
        with self._lock:
            self._images[camera] = picture(message)
            self._seen[camera] = self._clock()

    def on_state(self, message: Any) -> None:
        with self._lock:
            self._state.update(zip(message.name, message.position))
            self._seen["state"] = self._clock()

    def step(self) -> dict[str, dict[str, float]] | None:
        """One control step: {"linear": {"x": ...}, "angular": ...}, m/s and rad/s; None before all topics spoke."""
        observation = self._observation()
        if observation is None:
            return None
        try:
            action = self._broker.act(observation)
            guarded = self.envelope.guard(action, self._pose(), observed_at=self._broker.observed_at)
        except (ConnectionLostError, ServerError, OSError) as error:
            if not self.envelope.can_hold:  # nothing was sent yet that the hold could keep
                logger.warning("the policy does not answer: %s", error)
                return None
            guarded = self.envelope.hold("watchdog", f"the policy does not answer: {error}")
        twist = self.twist(guarded.action)
        self._publish(twist)
        return twist

    def send(self, action: np.ndarray) -> None:
        """For a `Watchdog`."""
        self._publish(self.twist(action))

    def twist(self, action: np.ndarray) -> dict[str, dict[str, float]]:
        found = dict(zip(self._layout.names, np.asarray(action) * np.array(self._layout.units)))
        linear = np.array([found.get(axis, 0.0) for axis in "xyz"])
        angular = np.array([found.get(f"r{axis}", 0.0) for axis in "xyz"])
        if self._layout.kind == "step":
            linear, angular = linear * self._hz, turn_vector(angular) * self._hz
        if self._turned:
            linear, angular = self._own(linear), self._own(angular)
        return {"linear": dict(zip("xyz", linear.tolist())), "angular": dict(zip("xyz", angular.tolist()))}

    def _own(self, vector: np.ndarray) -> np.ndarray:
        """Of the world -> along the axes of a robot that is turned by the pose's rz."""
        with self._lock:
            rz = self._state.get(self.envelope.limits.pose[5], 0.0)  # before the first state only a hold is sent
        x, y, z = vector
        return np.array([np.cos(rz) * x + np.sin(rz) * y, np.cos(rz) * y - np.sin(rz) * x, z])

    def _observation(self) -> Any:
        with self._lock:
            wanted = [*self._metadata["cameras"], *(["state"] if self._metadata["state"] else [])]
            needed = {*self._metadata["state"], *self.envelope.limits.pose}
            if any(name not in self._seen for name in wanted) or needed - self._state.keys():
                return None
            observation: dict[str, Any] = {
                f"observation/{name}": self._images[name] for name in self._metadata["cameras"]
            }
            observation["observation/state"] = np.array(
                [self._state[name] for name in self._metadata["state"]], np.float32
            )
            observation["prompt"] = self._prompt
            now = self._clock()
            return {**observation, "time": now, "age": now - min(self._seen[name] for name in wanted)}

    def _pose(self) -> Any:
        names = self.envelope.limits.pose
        with self._lock:
            return [self._state[name] for name in names] if names else None


def main() -> None:
    import rclpy
    from geometry_msgs.msg import Twist as TwistMessage
    from sensor_msgs.msg import Image, JointState

    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--url", default="ws://127.0.0.1:8000")
    parser.add_argument("--token", default="")
    parser.add_argument("--limits", required=True, help="JSON file with the robot's limits and its hold action")
    parser.add_argument("--prompt", required=True)
    parser.add_argument("--axes", choices=("body", "world"), default="body", help="that the twists are along")
    options = parser.parse_args()
    rclpy.init()
    node = rclpy.create_node("volition_bridge")
    publisher = node.create_publisher(TwistMessage, "/cmd_vel", 1)

    def publish(twist: dict[str, dict[str, float]]) -> None:
        message = TwistMessage()
        for part, values in twist.items():
            for axis, value in values.items():
                setattr(getattr(message, part), axis, value)
        publisher.publish(message)

    with Client(options.url, token=options.token, patience=1.0) as client:
        bridge = Bridge(client, client.metadata, load_limits(options.limits), publish, options.prompt, options.axes)
        for camera in client.metadata["cameras"]:
            node.create_subscription(Image, f"/cameras/{camera}", lambda m, name=camera: bridge.on_image(name, m), 1)
        node.create_subscription(JointState, "/state", bridge.on_state, 1)
        threading.Thread(target=rclpy.spin, args=(node,), daemon=True).start()
        hz = float(client.metadata["control_hz"])
        with Watchdog(bridge.envelope, bridge.send, hz):
            rate = node.create_rate(hz)
            while rclpy.ok():
                bridge.step()
                rate.sleep()


if __name__ == "__main__":
    main()
