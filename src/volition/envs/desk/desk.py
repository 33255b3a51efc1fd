"""The embedded simulator: an arm before a desk with a drawer, a sliding door, a switch, a button and three blocks.

    desk = Desk()
    desk.reset(state)                   # bit-exact, whatever ran before
    desk.step(action)                   # 1/30 s: action -> kept target pose -> joint targets -> 8 physics steps
    desk.render("static"), desk.robot_obs(), desk.scene_obs(), desk.snapshot()

An action moves a target pose that the desk keeps. Position: metres/0.02 along the world's axes. Rotation: radians/0.05,
Euler XYZ about the world's axes, applied after the target's own rotation. Entries are clipped to [-1, 1]; gripper above
0 opens, else closes. Unlike CALVIN's, the kept target cannot run away: it stays within 6 cm and 0.4 rad of the arm.
"""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass
from typing import Final

import numpy as np

from volition.envs.desk import layout as at
from volition.envs.desk.controller import METRES_PER_UNIT, RADIANS_PER_UNIT, Command, Controller
from volition.envs.desk.kinematics import (
    FINGER_OPEN,
    HOME,
    JOINT_HIGH,
    JOINT_LOW,
    euler_from_rotation,
    rotation_from_euler,
)
from volition.envs.desk.layout import Box
from volition.envs.desk.state import BLOCKS, DeskState, Shift, Snapshot
from volition.envs.desk.world import CAMERAS, FURNITURE_JOINTS, World
from volition.envs.gl import mujoco
from volition.envs.render import Renderer

__all__ = ["DEFAULT_IMAGE_SIZES", "METRES_PER_UNIT", "RADIANS_PER_UNIT", "Desk", "Saved"]

_STATE: Final = mujoco.mjtState.mjSTATE_INTEGRATION
DEFAULT_IMAGE_SIZES: Mapping[str, tuple[int, int]] = {"static": (200, 200), "gripper": (84, 84)}


@dataclass(frozen=True, kw_only=True)
class Saved:
    """A moment of a desk, made by `Desk.save`; opaque to everyone else."""

    scene: str
    shift: Shift
    physics: np.ndarray
    command: Command
    led: bool
    pressed: bool


class Desk:
    """Four scenes, one of them active. Not thread-safe; one per process draws (see `gl`)."""

    def __init__(self, *, image_sizes: Mapping[str, tuple[int, int]] = DEFAULT_IMAGE_SIZES) -> None:
        unknown = set(image_sizes) - set(CAMERAS)
        if unknown:
            raise ValueError(f"image_sizes may name the cameras {', '.join(CAMERAS)}, got also {sorted(unknown)}")
        self.image_sizes = dict(image_sizes)
        self._controller = Controller()
        self._worlds: dict[str, World] = {}
        self._renderers: dict[str, Renderer] = {}
        self._active: World | None = None
        self._shift = Shift()
        self._command = self._controller.at_rest(HOME, 1.0)
        self._led, self._pressed = False, False

    @property
    def world(self) -> World:
        """The active scene; ValueError before the first reset."""
        if self._active is None:
            raise ValueError("a desk must be reset before it is used: call reset(DeskState(...)) first")
        return self._active

    def reset(self, state: DeskState) -> None:
        """Put everything at `state`; equal states give equal futures, to the bit. ValueError names what is wrong."""
        world = self._world(state.scene)
        observed, joints = _checked(state, world)
        mujoco.mj_resetData(world.model, world.data)
        world.place(state.shift)
        self._active, self._shift = world, state.shift
        self._command = self._controller.at_rest(joints, state.gripper)
        data = world.data
        data.qpos[world.arm] = joints
        data.qpos[world.fingers] = _finger_positions(self._command, observed, world)
        data.qpos[world.furniture] = observed[:4]
        for index, name in enumerate(BLOCKS):
            world.set_block(name, observed[6 + 6 * index : 12 + 6 * index])
        self._led = bool(observed[5] > 0.5)
        self._pressed = bool(observed[2] > at.BUTTON_TRAVEL / 2)
        data.ctrl[:] = self._command.control
        mujoco.mj_step1(world.model, data)

    def step(self, action: np.ndarray) -> None:
        """Follow `action` float[7] for 1/30 s. ValueError when it has another shape or is not finite."""
        action = np.asarray(action, dtype=np.float64)
        if action.shape != (7,) or not np.isfinite(action).all():
            raise ValueError(f"an action must be 7 finite numbers, got {action.tolist()}")
        world = self.world
        self._command = self._controller.follow(self._command, action, self.tcp_position, self.tcp_rotation)
        world.data.ctrl[:] = self._command.control
        world.advance()
        pressed = bool(world.data.qpos[world.furniture[2]] > at.BUTTON_TRAVEL / 2)
        if pressed and not self._pressed:
            self._led = not self._led
        self._pressed = pressed

    def render(self, camera: str) -> np.ndarray:
        """uint8[height, width, 3] at `image_sizes[camera]`, RGB."""
        if camera not in self.image_sizes:
            raise ValueError(f"camera must be one of {', '.join(self.image_sizes)}, got {camera!r}")
        return self.render_at(camera, *self.image_sizes[camera])

    def render_at(self, camera: str, height: int, width: int) -> np.ndarray:
        """uint8[height, width, 3], RGB."""
        world = self.world
        if world.scene not in self._renderers:
            self._renderers[world.scene] = Renderer(world.model, world.data)
        world.light("bulb", self._bulb)
        world.light("led", self._led)
        return self._renderers[world.scene].draw(camera, height, width)

    def project(self, camera: str, points: Mapping[str, np.ndarray]) -> dict[str, tuple[float, float]]:
        """World points float64[3] -> places in the camera's picture now: (0, 0) is left top, (1, 1) right bottom.

        Points behind the camera give (nan, nan). Pictures are taken to be square.
        """
        if camera not in CAMERAS:
            raise ValueError(f"camera must be one of {', '.join(CAMERAS)}, got {camera!r}")
        if not points:
            return {}
        places = self.world.project(camera, np.array(list(points.values()), dtype=np.float64))
        return {name: (float(x), float(y)) for name, (x, y) in zip(points, places)}

    def robot_obs(self) -> np.ndarray:
        """float64[15]: tcp position (m) and Euler XYZ (rad), gripper width (m), 7 joints (rad), last gripper action.

        The first Euler angle lies in [0, 2 pi): a hand that points down reads pi, not now pi, now -pi.
        """
        world = self.world
        angles = euler_from_rotation(self.tcp_rotation)
        angles[0] %= 2 * np.pi
        qpos = world.data.qpos
        return np.concatenate(
            (self.tcp_position, angles, [qpos[world.fingers].sum()], qpos[world.arm], [self._command.gripper])
        )

    def scene_obs(self) -> np.ndarray:
        """float64[24], as `DeskState.scene_obs`."""
        world = self.world
        joints = world.data.qpos[world.furniture]
        poses = [world.block_pose(name) for name in BLOCKS]
        return np.concatenate((joints, [float(self._bulb), float(self._led)], *poses))

    def snapshot(self) -> Snapshot:
        """The moment as the judge sees it."""
        world = self.world
        door, drawer, button, switch = world.data.qpos[world.furniture].tolist()
        touches = world.touches()
        return Snapshot(
            door=door, drawer=drawer, button=button, switch=switch, bulb=self._bulb, led=self._led,
            blocks={name: world.block_state(name, touches[name]) for name in BLOCKS},
            robot_touches=frozenset(touches["robot"] - {"robot"}),
        )  # fmt: skip

    def save(self) -> Saved:
        """This moment; `restore` continues from it to the bit, in this desk or another."""
        world = self.world
        physics = np.empty(mujoco.mj_stateSize(world.model, _STATE))
        mujoco.mj_getState(world.model, world.data, physics, _STATE)
        return Saved(
            scene=world.scene, shift=self._shift, physics=physics, command=self._command, led=self._led,
            pressed=self._pressed,
        )  # fmt: skip

    def restore(self, saved: Saved) -> None:
        """Go back to a saved moment."""
        world = self._world(saved.scene)
        mujoco.mj_resetData(world.model, world.data)
        world.place(saved.shift)
        mujoco.mj_setState(world.model, world.data, saved.physics, _STATE)
        self._active, self._shift = world, saved.shift
        self._command, self._led, self._pressed = saved.command, saved.led, saved.pressed
        mujoco.mj_step1(world.model, world.data)

    @property
    def tcp_position(self) -> np.ndarray:
        """float64[3]: the measured point between the finger tips, world frame."""
        return self.world.data.site_xpos[self.world.tcp].copy()

    @property
    def tcp_rotation(self) -> np.ndarray:
        """float64[3, 3]: measured; columns are the hand's axes, z towards the tips, y along the fingers' travel."""
        return self.world.data.site_xmat[self.world.tcp].reshape(3, 3).copy()

    @property
    def target_position(self) -> np.ndarray:
        """float64[3]: of the kept target."""
        return self._command.position.copy()

    @property
    def target_rotation(self) -> np.ndarray:
        """float64[3, 3]: of the kept target."""
        return self._command.rotation.copy()

    @property
    def shift(self) -> Shift:
        return self._shift

    def site(self, name: str) -> tuple[np.ndarray, np.ndarray]:
        """World position float64[3] and rotation float64[3, 3], now, of: table_centre, door_handle, drawer_handle,
        drawer_inside, shelf_left, shelf_right, switch_knob, button_top, bulb, led, tcp."""
        return self.world.site(name)

    def furniture_pose(self) -> tuple[np.ndarray, np.ndarray]:
        """Position float64[3] and rotation float64[3, 3] of the furniture frame in the world."""
        return self.world.furniture_pose()

    @property
    def joint_ranges(self) -> dict[str, tuple[float, float]]:
        """Metres, for door, drawer, button and switch."""
        return dict(self.world.limits)

    @property
    def block_lengths(self) -> dict[str, float]:
        """Metres along a block's own x; width and height are 0.04."""
        return dict(self.world.layout.lengths)

    @property
    def table_bounds(self) -> Box:
        """Where a block's centre can lie on the table, free of button, switch and door handle (furniture frame)."""
        return at.table_bounds()

    @property
    def shelf_bounds(self) -> Box:
        """The shelf's inside, both halves, its floor at low[2] (furniture frame)."""
        return at.shelf_bounds(self.world.layout)

    @property
    def drawer_bounds(self) -> Box:
        """The part of the drawer's inside that shows when it is fully open, in that place (furniture frame)."""
        return at.drawer_bounds(self.world.layout)

    @property
    def _bulb(self) -> bool:
        return bool(self.world.data.qpos[self.world.furniture[3]] > at.SWITCH_TRAVEL / 2)

    def _world(self, scene: str) -> World:
        if scene not in self._worlds:
            if scene not in at.LAYOUTS:
                raise ValueError(f"scene must be one of {', '.join(at.LAYOUTS)}, got {scene!r}")
            self._worlds[scene] = World(scene)
        return self._worlds[scene]


def _finger_positions(command: Command, observed: np.ndarray, world: World) -> np.ndarray:
    """Metres of each finger: open, or closed on the block that lies between them, or shut."""
    if command.gripper > 0:
        return np.full(2, FINGER_OPEN)
    axis = command.rotation[:, 1]
    for index, name in enumerate(BLOCKS):
        pose = observed[6 + 6 * index : 12 + 6 * index]
        turned = rotation_from_euler(pose[3:])
        half = np.array([world.layout.lengths[name] / 2, at.BLOCK_HALF, at.BLOCK_HALF])
        offset = pose[:3] - command.position
        if np.all(np.abs(turned.T @ offset) < half):
            extent, along = float(np.abs(turned.T @ axis) @ half), float(axis @ offset)
            return np.clip([extent + along, extent - along], 0.0, FINGER_OPEN)
    return np.zeros(2)


def _checked(state: DeskState, world: World) -> tuple[np.ndarray, np.ndarray]:
    """`scene_obs` and joints as float64, or ValueError."""
    observed = np.array(state.scene_obs, dtype=np.float64)
    if observed.shape != (24,) or not np.isfinite(observed).all():
        raise ValueError(f"scene_obs must be 24 finite numbers, got shape {observed.shape}: {observed.tolist()}")
    for value, name in zip(observed, FURNITURE_JOINTS):
        low, high = world.limits[name]
        if not low - 1e-3 <= value <= high + 1e-3:
            raise ValueError(f"{name} must lie in {low}..{high} metres, got {value}")
    bulb = observed[3] > at.SWITCH_TRAVEL / 2
    if bulb != (observed[4] > 0.5):
        raise ValueError(
            f"the light bulb must be on exactly when the switch is past its middle ({at.SWITCH_TRAVEL / 2} m): "
            f"got switch {observed[3]} and bulb {observed[4]}"
        )
    joints = HOME.copy() if state.joints is None else np.array(state.joints, dtype=np.float64)
    if joints.shape != (7,) or np.any(joints < JOINT_LOW) or np.any(joints > JOINT_HIGH):
        raise ValueError(f"joints must be 7 angles within the arm's limits, got {joints.tolist()}")
    return observed, joints
