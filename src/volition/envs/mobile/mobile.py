"""The room: a robot on three omni wheels, driven by velocities in its own frame, among boxes that it can run into.

    mobile = Mobile()
    mobile.reset(state)                     # bit-exact, whatever ran before
    mobile.step(np.array([0.4, 0.0, 0.1]))  # 1/10 s: twist -> wheels, with their lag -> velocity servos -> physics
    mobile.render("front"), mobile.snapshot(), mobile.wheels

A twist is (linear_x, linear_y, angular_z): m/s ahead and to the left, rad/s to the left. What the wheels cannot do is
slowed down (see drive.py). Boxes and things are bodies: who runs into one moves it, and the contact is noted.
"""

from __future__ import annotations

import math
from collections.abc import Callable, Mapping
from dataclasses import replace

import numpy as np

from volition.envs.gl import mujoco
from volition.envs.mobile import drive
from volition.envs.mobile import layout as at
from volition.envs.mobile.scene import CAMERAS, CONTROL_HZ, FILM_CAMERA, SUBSTEPS, scene_model
from volition.envs.mobile.state import KINDS, SCENES, MobileState, Pose, Snapshot
from volition.envs.render import Renderer

_TIMES = np.arange(1, SUBSTEPS + 1) / (SUBSTEPS * CONTROL_HZ)  # seconds, of the physics steps in one control step
DEFAULT_IMAGE_SIZES: Mapping[str, tuple[int, int]] = {"front": (72, 128)}


class Mobile:
    """One room at a time. Not thread-safe; one per process draws (see `gl`)."""

    def __init__(self, *, image_sizes: Mapping[str, tuple[int, int]] = DEFAULT_IMAGE_SIZES) -> None:
        unknown = set(image_sizes) - set(CAMERAS)
        if unknown or not image_sizes:
            raise ValueError(
                f"image_sizes must name some of the cameras {', '.join(CAMERAS)}, got {sorted(image_sizes)}"
            )
        self.image_sizes = dict(image_sizes)
        self._state: MobileState | None = None
        self._renderer: Renderer | None = None

    def reset(self, state: MobileState) -> None:
        """Put everything at `state`, at rest; equal states give equal futures, to the bit. ValueError for a bad one."""
        _check(state)
        self._state, self._renderer = state, None
        self._model = scene_model(state)
        self._data = mujoco.MjData(self._model)
        self._data.qpos[:3] = state.robot.x, state.robot.y, state.robot.yaw
        model = self._model
        bodies = [f"box{i}" for i in range(len(state.boxes))] + [f"thing{i}" for i in range(len(state.things))]
        self._robot = model.body("robot").id
        self._movable = np.array([model.body(name).id for name in bodies])
        self._names = {0: "wall", **dict.fromkeys(self._movable[: len(state.boxes)].tolist(), "box")}
        self._names |= {body: t.kind for body, t in zip(self._movable[len(state.boxes) :].tolist(), state.things)}
        self._wheels, self._touches = np.zeros(3), frozenset[str]()
        mujoco.mj_forward(self._model, self._data)

    def step(self, twist: np.ndarray) -> None:
        """Drive for 1/10 s as `twist` float[3] asks. ValueError when it has another shape or is not finite."""
        twist = np.asarray(twist, dtype=np.float64)
        if twist.shape != (3,) or not np.isfinite(twist).all():
            raise ValueError(f"a twist must be 3 finite numbers, got {twist.tolist()}")
        model, data, touches = self._model, self._data, set[str]()
        position, control = data.qpos, data.ctrl
        wheels = drive.follow(self._wheels, drive.commanded_wheels(twist), _TIMES)
        for ahead, left, turn in drive.twist_of(wheels).tolist():
            yaw = position[2]
            c, s = math.cos(yaw), math.sin(yaw)
            control[:] = c * ahead - s * left, s * ahead + c * left, turn
            mujoco.mj_step(model, data)
            if data.ncon:
                touches |= self._touched()
        self._wheels = wheels[-1]
        mujoco.mj_kinematics(model, data)
        self._touches = frozenset(touches)

    def render(self, camera: str) -> np.ndarray:
        """uint8[height, width, 3] at `image_sizes[camera]`, RGB."""
        if camera not in self.image_sizes:
            raise ValueError(f"camera must be one of {', '.join(self.image_sizes)}, got {camera!r}")
        return self.render_at(camera, *self.image_sizes[camera])

    def render_at(
        self,
        camera: str,
        height: int,
        width: int,
        decorate: Callable[[mujoco.MjvScene], None] = lambda scene: None,
    ) -> np.ndarray:
        """uint8[height, width, 3], RGB. The robot's cameras show 110 degrees from left to right at any size."""
        if self._renderer is None:
            mujoco.mj_forward(self._model, self._data)
            self._renderer = Renderer(self._model, self._data)
        mujoco.mj_camlight(self._model, self._data)
        if camera in CAMERAS:
            slope = math.tan(at.CAMERA_WIDTH / 2) * height / max(1, width)
            self._model.cam_fovy[self._model.camera(camera).id] = math.degrees(2 * math.atan(slope))
        return self._renderer.draw(camera, height, width, decorate)

    def film(self, height: int, width: int, decorate: Callable[[mujoco.MjvScene], None]) -> np.ndarray:
        """uint8[height, width, 3]: the whole room from above, the way ahead pointing up."""
        return self.render_at(FILM_CAMERA, height, width, decorate)

    def snapshot(self) -> Snapshot:
        """The moment as judge and expert see it."""
        state, data = self.state, self._data
        count = len(state.boxes)
        places = data.xpos[self._movable, :2].tolist()
        turned = data.qpos[5::3].tolist()  # after the robot's three joints, three of each body
        boxes = tuple(
            replace(box, pose=Pose(x, y, box.pose.yaw + turn)) for box, (x, y), turn in zip(state.boxes, places, turned)
        )
        return Snapshot(
            robot=Pose(*data.qpos[:3].tolist()),
            speed=math.hypot(*data.qvel[:2].tolist()),
            boxes=boxes,
            things=tuple(replace(thing, x=x, y=y) for thing, (x, y) in zip(state.things, places[count:])),
            touches=self._touches,
        )

    @property
    def state(self) -> MobileState:
        """What was reset to; ValueError before the first reset."""
        if self._state is None:
            raise ValueError("a room must be reset before it is used: call reset(MobileState(...)) first")
        return self._state

    @property
    def wheels(self) -> np.ndarray:
        """float64[3], rad/s: what the wheels' encoders say."""
        return self._wheels.copy()

    def _touched(self) -> set[str]:
        """What the robot is in contact with now."""
        pairs = self._model.geom_bodyid[self._data.contact.geom[: self._data.ncon]].tolist()
        return {self._names[a if b == self._robot else b] for a, b in pairs if self._robot in (a, b)}


def _check(state: MobileState) -> None:
    if state.scene not in SCENES:
        raise ValueError(f"scene must be one of {', '.join(SCENES)}, got {state.scene!r}")
    kinds = [thing.kind for thing in state.things]
    if len(set(kinds)) < len(kinds) or not set(kinds) <= set(KINDS):
        raise ValueError(f"things must each be another of {', '.join(KINDS)}, got {kinds}")
    sizes = [side for box in state.boxes for side in box.size]
    if any(not 0.05 <= side <= 2.0 for side in sizes):
        raise ValueError(f"a box's sides must be 0.05 to 2 metres long, got {sizes}")
    poses = (state.robot, *(box.pose for box in state.boxes))
    places = [*((pose.x, pose.y) for pose in poses), *((thing.x, thing.y) for thing in state.things)]
    for x, y in places:
        if not (at.ROOM_X[0] < x < at.ROOM_X[1] and at.ROOM_Y[0] < y < at.ROOM_Y[1]):
            raise ValueError(f"everything must stand in the room, x in {at.ROOM_X} and y in {at.ROOM_Y}, got {(x, y)}")
    if not all(math.isfinite(pose.yaw) for pose in poses):
        raise ValueError(f"angles must be finite, got {[pose.yaw for pose in poses]}")
