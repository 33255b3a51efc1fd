"""The desk as an environment with tasks: what recording, evaluation and the demo step.

    env = DeskConfig(shift=True).make()
    env.reset(Start(seed=0, tasks=("open_drawer",), scene="A"))
    env.begin("open_drawer")                       # the judge remembers this moment
    while not env.step(policy(env.observe("pull out the drawer under the table"))): ...

A start is a function of the Start and the config alone; so is what else could be done there: `DeskConfig.feasible`.
"""

from __future__ import annotations

import os
from collections.abc import Iterator
from dataclasses import dataclass, field, replace
from itertools import islice
from typing import Any

import numpy as np

from volition.contract import Camera, RobotSpec, relative_arm_7d, require_equal
from volition.envs.base import OF_RECORDING, turned_camera
from volition.envs.desk import expert, language
from volition.envs.desk.chains import chains
from volition.envs.desk.desk import DEFAULT_IMAGE_SIZES, METRES_PER_UNIT, RADIANS_PER_UNIT, Desk
from volition.envs.desk.expert import DemonstrationConfig
from volition.envs.desk.scene import CONTROL_HZ
from volition.envs.desk.starts import DEMO, NONE, ShiftRange, StartState, sample
from volition.envs.desk.state import SCENES, Snapshot
from volition.envs.desk.tasks import TASKS, done, judge
from volition.envs.desk.world import CAMERAS
from volition.envs.gl import mujoco
from volition.records import Observation, Start

STATE_NAMES = (
    *("tcp_x", "tcp_y", "tcp_z", "tcp_roll", "tcp_pitch", "tcp_yaw", "gripper_width"),
    *(f"joint_{i}" for i in range(1, 8)),
    "gripper_action",
)
PREVIOUS_NAMES = tuple(f"previous_{name}" for name in ("x", "y", "z", "rx", "ry", "rz", "gripper"))
# What makes the desk's arm stand still: no displacement, the gripper as it was told last (a safety envelope's `hold`).
HOLD_ACTION: tuple[float | None, ...] = (0.0,) * 6 + (None,)
FILM_SIZE = (200, 200)
MAX_STEPS = 360  # of a task, as CALVIN's
SLOTS_PER_WORKER = 16  # more in a process do not make it faster
OFFICIAL_SEED = 500_000  # of the chains that all policies are compared on
_PREPARE_STEPS = 120  # a scripted lift takes some 20; one that takes longer has failed
_PREPARE_ATTEMPTS = 20


@dataclass(frozen=True, kw_only=True)
class DeskConfig:
    """What a `DeskEnv` draws, where it starts and how its demonstrations vary. Implements `envs.base.EnvConfig`."""

    # Height and width of each camera's pictures. An evaluation takes them from its checkpoint.
    image_sizes: dict[str, tuple[int, int]] = field(default_factory=lambda: dict(DEFAULT_IMAGE_SIZES))
    # Shift and turn furniture and camera a little at every reset, so that a policy has to look.
    shift: bool = False
    # How far, where `shift` asks for it.
    shift_range: ShiftRange = DEMO
    # By how much the static camera is moved besides, at every start: azimuth and elevation in radians, distance as a
    # share. For trying policies that learned without it.
    camera_offset: tuple[float, float, float] = (0.0, 0.0, 0.0)
    # Scenes that episodes are dealt to, and drawn from where a start names none.
    scenes: tuple[str, ...] = SCENES
    # How demonstrations vary.
    demonstration: DemonstrationConfig = field(default_factory=DemonstrationConfig, metadata=OF_RECORDING)

    def __post_init__(self) -> None:
        unknown = set(self.scenes) - set(SCENES)
        if unknown or not self.scenes:
            raise ValueError(f"scenes must be some of {', '.join(SCENES)}, got {self.scenes}")
        if foreign := set(self.image_sizes) - set(CAMERAS):
            raise ValueError(f"image_sizes may name the cameras {', '.join(CAMERAS)}, got also {sorted(foreign)}")

    @staticmethod
    def of_today(fields: dict[str, Any]) -> dict[str, Any]:
        """Config files of version 0.1 say how far under `shift` itself."""
        before = fields.get("shift")
        if not isinstance(before, ShiftRange):
            return fields
        if before == NONE:
            return fields | {"shift": False}
        return fields | {"shift": True, "shift_range": before}

    @property
    def spec(self) -> RobotSpec:
        return RobotSpec(
            action_space=relative_arm_7d(metres=METRES_PER_UNIT, radians=RADIANS_PER_UNIT),
            cameras=tuple(Camera(name=name, height=h, width=w) for name, (h, w) in self.image_sizes.items()),
            state=(*STATE_NAMES, *PREVIOUS_NAMES),
            control_hz=float(CONTROL_HZ),
        )

    @property
    def tasks(self) -> tuple[str, ...]:
        return TASKS

    @property
    def max_steps(self) -> int:
        return MAX_STEPS

    @property
    def slots_per_worker(self) -> int:
        return SLOTS_PER_WORKER

    def make(self) -> DeskEnv:
        return DeskEnv(self)

    def fit(self, robot: RobotSpec) -> DeskConfig:
        """The desk seen by this robot's cameras; everything else about the robot must be equal."""
        known = {name: size for name, size in robot.image_sizes.items() if name in CAMERAS}
        fitted = replace(self, image_sizes=known)
        require_equal(robot, fitted.spec, left_name="the checkpoint's robot", right_name="the desk")
        return fitted

    def chains(self, count: int, seed: int | None = None) -> list[Start]:
        """Five tasks each, dealt to the scenes in turn."""
        first = OFFICIAL_SEED if seed is None else seed
        return [
            Start(seed=first + i, tasks=chain.tasks, scene=self.scenes[i % len(self.scenes)])
            for i, chain in enumerate(chains(count, first))
        ]

    def camera_moved(self) -> tuple[str, DeskConfig]:
        """Three times as far round the desk as `shift` ever moves it."""
        told, there = turned_camera(self.camera_offset)
        return told, replace(self, camera_offset=there)

    def feasible(self, start: Start) -> tuple[str, ...]:
        return next(_draws(start, self)).admits

    def about(self) -> dict[str, str]:
        return {"simulator": f"MuJoCo {mujoco.__version__}", "renderer": os.environ.get("MUJOCO_GL", "its default")}


def _draws(start: Start, config: DeskConfig) -> Iterator[StartState]:
    """The start that (seed, first task, scene) stand for, and others in case its scripted lift fails."""
    if not start.tasks:
        raise ValueError("start.tasks must name the task or the chain of tasks to begin with, got none")
    unknown = [task for task in start.tasks if task not in TASKS]
    if unknown:
        raise ValueError(f"start.tasks must be among the desk's {len(TASKS)} tasks, got {unknown}")
    if start.scene and start.scene not in SCENES:
        raise ValueError(f"start.scene must be one of {', '.join(SCENES)} or empty, got {start.scene!r}")
    scene_code = SCENES.index(start.scene) if start.scene else len(SCENES)
    rng = np.random.default_rng([start.seed, TASKS.index(start.tasks[0]), scene_code])
    scene = start.scene or str(rng.choice(config.scenes))
    while True:
        yield _turned(
            sample(start.tasks, scene, rng, config.shift_range if config.shift else NONE), config.camera_offset
        )


def _turned(start: StartState, offset: tuple[float, float, float]) -> StartState:
    """With the camera moved by this as well."""
    azimuth, elevation, distance = (ours + more for ours, more in zip(start.state.shift.camera, offset))
    shift = replace(start.state.shift, camera=(azimuth, elevation, distance))
    return replace(start, state=replace(start.state, shift=shift))


class DeskEnv:
    """Implements `records.Env` and `records.Demonstrator`."""

    def __init__(self, config: DeskConfig | None = None) -> None:
        self.config = config or DeskConfig()
        self.desk = Desk(image_sizes=self.config.image_sizes)
        self._task: str | None = None
        self._start: Snapshot | None = None
        self._achieved: set[str] = set()
        self._previous = np.zeros(7)

    @property
    def spec(self) -> RobotSpec:
        return self.config.spec

    @property
    def tasks(self) -> tuple[str, ...]:
        return TASKS

    def reset(self, start: Start) -> None:
        """Bit-exact, whatever ran before. A start whose first task needs a block in the hand has one afterwards.

        Raises ValueError for unknown tasks and scenes, and for tasks that cannot be done one after the other.
        """
        for drawn in islice(_draws(start, self.config), _PREPARE_ATTEMPTS):
            self.desk.reset(drawn.state)
            if drawn.prepare is None or self._prepare(drawn.prepare):
                self._task, self._start = None, None
                self._previous = np.array([*np.zeros(6), self.desk.robot_obs()[-1]])
                return
        raise RuntimeError(f"the scripted lift before {start} failed {_PREPARE_ATTEMPTS} times")

    def begin(self, task: str) -> None:
        """The judge looks for what changes from this moment on."""
        if task not in TASKS:
            raise ValueError(f"task must be one of the desk's {len(TASKS)}, got {task!r}; known: {', '.join(TASKS)}")
        self._task, self._start = task, self.desk.snapshot()
        self._achieved = set()

    def observe(self, instruction: str) -> Observation:
        """Both cameras now, uint8[1, height, width, 3]; state float32[1, 22]: robot_obs and the last action."""
        images = {camera: self.desk.render(camera)[None] for camera in self.config.image_sizes}
        state = np.concatenate((self.desk.robot_obs(), self._previous)).astype(np.float32)[None]
        return Observation(images=images, state=state, instruction=instruction)

    def step(self, action: np.ndarray) -> bool:
        """Act for 1/30 s, float[7]; whether the begun task is done now. ValueError for a bad action."""
        if self._task is None or self._start is None:
            raise ValueError("a task must have begun before a step is judged: call begin(task) after reset(start)")
        self.desk.step(action)
        self._previous = np.array(action, dtype=np.float64)
        done_now = done(self._start, self.desk.snapshot())
        self._achieved |= done_now
        return self._task in done_now

    def rest(self) -> np.ndarray:
        """float32[7]: no motion, the gripper as it was told last."""
        return np.array([*np.zeros(6), self.desk.robot_obs()[-1]], np.float32)

    def achieved(self) -> frozenset[str]:
        """All tasks that were done at some step since `begin`, the begun one or not."""
        return frozenset(self._achieved)

    def instructions(self, task: str, split: str) -> tuple[str, ...]:
        return language.instructions(task, split)

    def frame(self) -> np.ndarray:
        """uint8[200, 200, 3] of the static camera, for films: drawn twice as large and averaged for smooth edges."""
        height, width = FILM_SIZE
        large = self.desk.render_at("static", 2 * height, 2 * width).astype(np.uint16)
        return (large.reshape(height, 2, width, 2, 3).sum((1, 3)) // 4).astype(np.uint8)

    def demonstrate(self, task: str, rng: np.random.Generator) -> Iterator[tuple[np.ndarray, np.ndarray]]:
        """(executed, label), float64[7] each, without end; step with `executed` between two items."""
        return expert.demonstrate(self.desk, task, rng, self.config.demonstration)

    def label(self, task: str) -> np.ndarray:
        """What the expert would do now: float64[7], from any state."""
        return expert.label(self.desk, task, self.config.demonstration.top_speed)

    def close(self) -> None:
        """Nothing is held that Python does not free."""

    def _prepare(self, task: str) -> bool:
        start = self.desk.snapshot()
        for _ in range(_PREPARE_STEPS):
            self.desk.step(expert.label(self.desk, task))
            if judge(task, start, self.desk.snapshot()):
                return True
        return False
