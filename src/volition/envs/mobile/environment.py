"""The room as an environment with tasks: what recording, evaluation and recipes step.

    env = MobileConfig(space="3d").make()
    env.reset(Start(seed=0, tasks=("left_to_red_cup",), scene="A"))
    env.begin("left_to_red_cup")                       # the judge remembers this moment
    while not env.step(policy(env.observe("go around the box on the left to the red cup"))): ...

A start is a function of the Start and the config alone, and the same scene in both action spaces. In "2d" an action is
(linear_x, linear_y) and the robot keeps looking the way it stood; in "3d" it also turns.
"""

from __future__ import annotations

import os
from collections.abc import Iterator
from dataclasses import dataclass, field, replace
from typing import Literal

import numpy as np

from volition.contract import ActionSpace, Camera, Dimension, RobotSpec, require_equal
from volition.envs.base import OF_RECORDING
from volition.envs.gl import mujoco
from volition.envs.mobile import drive, expert, language, starts
from volition.envs.mobile.expert import DemonstrationConfig
from volition.envs.mobile.film import draw_film
from volition.envs.mobile.mobile import DEFAULT_IMAGE_SIZES, Mobile
from volition.envs.mobile.scene import CAMERAS, CONTROL_HZ
from volition.envs.mobile.state import SCENES, MobileState, Snapshot
from volition.envs.mobile.tasks import REACHED, TASKS, Course, Order, order_of, wanted
from volition.envs.mobile.ways import gates, length, taut
from volition.records import Observation, Start

WHEEL_NAMES = ("wheel_left", "wheel_rear", "wheel_right")
LINEAR_NAMES, TURN_NAME = ("linear_x", "linear_y"), "angular_z"
ASKEW = {"2d": 0.12, "3d": 0.35}  # radians either way that the robot may stand at the start
MAX_STEPS = 20 * CONTROL_HZ  # of a task; the expert takes seven or eight seconds
SLOTS_PER_WORKER = 16
Space = Literal["2d", "3d"]


def action_space(space: Space) -> ActionSpace:
    """Velocities in the robot's own frame, held for a control step; named as the dimensions of Mobile-VLA's data."""
    limit = drive.LINEAR_LIMIT
    dimensions = [Dimension(name=name, unit="m/s", low=-limit, high=limit) for name in LINEAR_NAMES]
    if space == "3d":
        limit = drive.ANGULAR_LIMIT
        dimensions.append(Dimension(name=TURN_NAME, unit="rad/s", low=-limit, high=limit))
    return ActionSpace(dimensions=tuple(dimensions), frame="base", rotation="yaw", relative=False)


@dataclass(frozen=True, kw_only=True)
class MobileConfig:
    """What a `MobileEnv` draws, where it starts, what an action is and how its demonstrations vary.

    Implements `envs.base.EnvConfig`.
    """

    # 2d: linear_x and linear_y; 3d: angular_z as well. An evaluation takes it from its checkpoint.
    space: Space = "2d"
    # Height and width of each camera's pictures, of front and rear. An evaluation takes them from its checkpoint.
    image_sizes: dict[str, tuple[int, int]] = field(default_factory=lambda: dict(DEFAULT_IMAGE_SIZES))
    # Rooms that episodes are dealt to, and drawn from where a start names none.
    scenes: tuple[str, ...] = SCENES
    # How demonstrations vary.
    demonstration: DemonstrationConfig = field(default_factory=DemonstrationConfig, metadata=OF_RECORDING)

    def __post_init__(self) -> None:
        if self.space not in ASKEW:
            raise ValueError(f"space must be '2d' or '3d', got {self.space!r}")
        if not self.scenes or not set(self.scenes) <= set(SCENES):
            raise ValueError(f"scenes must be some of {', '.join(SCENES)}, got {self.scenes}")
        if not self.image_sizes or not set(self.image_sizes) <= set(CAMERAS):
            raise ValueError(f"image_sizes must name some of the cameras {', '.join(CAMERAS)}, got {self.image_sizes}")

    @property
    def spec(self) -> RobotSpec:
        """What actions and observations mean."""
        space = action_space(self.space)
        return RobotSpec(
            action_space=space,
            cameras=tuple(Camera(name=name, height=h, width=w) for name, (h, w) in self.image_sizes.items()),
            state=(*WHEEL_NAMES, *(f"previous_{dimension.name}" for dimension in space.dimensions)),
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

    def make(self) -> MobileEnv:
        return MobileEnv(self)

    def fit(self, robot: RobotSpec) -> MobileConfig:
        """The base with this robot's cameras, driven in its action space; everything else must be equal."""
        cameras = {name: size for name, size in robot.image_sizes.items() if name in CAMERAS}
        turns = TURN_NAME in [dimension.name for dimension in robot.action_space.dimensions]
        fitted = replace(self, image_sizes=cameras or self.image_sizes, space="3d" if turns else "2d")
        require_equal(robot, fitted.spec, left_name="the checkpoint's robot", right_name="the mobile base")
        return fitted

    def chains(self, count: int, seed: int | None = None) -> list[Start]:
        raise ValueError("the mobile base has no chains, for where a task ends no other can begin: use --starts")

    def feasible(self, start: Start) -> tuple[str, ...]:
        return starts.admits(draw(start, self))

    def about(self) -> dict[str, str]:
        return {"simulator": f"MuJoCo {mujoco.__version__}", "renderer": os.environ.get("MUJOCO_GL", "its default")}


def draw(start: Start, config: MobileConfig) -> MobileState:
    """The room that (seed, first task, scene) stand for."""
    if not start.tasks:
        raise ValueError("start.tasks must name the task to begin with, got none")
    orders = [order_of(task) for task in start.tasks]
    if start.scene and start.scene not in SCENES:
        raise ValueError(f"start.scene must be one of {', '.join(SCENES)} or empty, got {start.scene!r}")
    code = SCENES.index(start.scene) if start.scene else len(SCENES)
    rng = np.random.default_rng([start.seed, TASKS.index(start.tasks[0]), code])
    scene = start.scene or str(rng.choice(config.scenes))
    return starts.sample(orders[0], scene, rng, ASKEW[config.space])


def shortest_way(order: Order, moment: Snapshot) -> float | None:
    """Metres that a robot two centimetres clear of the boxes must drive to be at its thing.

    None where the order cannot be carried out, or the robot is there.
    """
    thing = wanted(order, moment.things)
    if thing is None or len(order.sides) != len(moment.boxes):
        return None
    way = taut(moment.robot.place, thing.place, gates(moment.boxes, order.sides, expert.LEAST))
    shortest = length(way) - REACHED
    return shortest if shortest > 0 else None


class MobileEnv:
    """Implements `records.Demonstrator`, and `Watcher`, `Measuring` and `Resting` of `evaluation.episodes`."""

    def __init__(self, config: MobileConfig | None = None) -> None:
        self.config = config or MobileConfig()
        self.mobile = Mobile(image_sizes=self.config.image_sizes)
        self._dim = self.spec.action_space.dim
        self._task: str | None = None
        self._course: Course | None = None
        self._achieved: set[str] = set()
        self._trail: list[tuple[float, float]] = []
        self._shortest: float | None = None

    @property
    def spec(self) -> RobotSpec:
        return self.config.spec

    @property
    def tasks(self) -> tuple[str, ...]:
        return TASKS

    def reset(self, start: Start) -> None:
        """Bit-exact, whatever ran before. Raises ValueError for unknown tasks and scenes."""
        self.mobile.reset(draw(start, self.config))
        robot = self.mobile.state.robot
        self._task, self._course, self._trail = None, None, [(robot.x, robot.y)]
        self._previous = np.zeros(self._dim)

    def begin(self, task: str) -> None:
        """The judge counts from this moment on: sides, collisions and the way."""
        order = order_of(task)
        moment = self.mobile.snapshot()
        self._task, self._course, self._achieved = task, Course(moment), set()
        self._shortest = shortest_way(order, moment)

    def observe(self, instruction: str) -> Observation:
        """Cameras now, uint8[1, height, width, 3]; state float32[1, S]: wheel speeds (rad/s) and the last action."""
        images = {camera: self.mobile.render(camera)[None] for camera in self.config.image_sizes}
        state = np.concatenate((self.mobile.wheels, self._previous)).astype(np.float32)[None]
        return Observation(images=images, state=state, instruction=instruction)

    def step(self, action: np.ndarray) -> bool:
        """Drive for 1/10 s, float[2] or float[3]; whether the begun task is done now. ValueError for a bad action."""
        course, task = self._begun()
        action = np.asarray(action, dtype=np.float64)
        if action.shape != (self._dim,) or not np.isfinite(action).all():
            names = ", ".join(dimension.name for dimension in self.spec.action_space.dimensions)
            raise ValueError(f"an action must be {self._dim} finite numbers, {names}; got {action.tolist()}")
        self.mobile.step(np.concatenate((action, np.zeros(3 - self._dim))))
        self._previous = action
        course.follow(self.mobile.snapshot())
        self._trail.append((course.now.robot.x, course.now.robot.y))
        done_now = course.done()
        self._achieved |= done_now
        return task in done_now

    def achieved(self) -> frozenset[str]:
        """All tasks that were done at some step since `begin`, the begun one or not."""
        return frozenset(self._achieved)

    def rest(self) -> np.ndarray:
        """float32[A]: to stand still."""
        return np.zeros(self._dim, np.float32)

    def measures(self) -> dict[str, float | bool]:
        """Of the begun task so far: whether it ran into something, metres driven, metres between robot and thing.

        `path_ratio`: of the way driven to the shortest one, where there is one.
        """
        course, task = self._begun()
        found: dict[str, float | bool] = {"collided": course.collided, "path_length": course.length}
        if self._shortest is not None:
            found["path_ratio"] = course.length / self._shortest
        thing = wanted(order_of(task), course.now.things)
        if thing is not None:
            found["distance"] = float(np.linalg.norm(thing.place - course.now.robot.place))
        return found

    def instructions(self, task: str, split: str) -> tuple[str, ...]:
        return language.instructions(task, split)

    def frame(self) -> np.ndarray:
        """uint8[200, 200, 3]: the room from above with the way so far, and what the robot sees."""
        return draw_film(self.mobile, self._trail, self._task, camera=next(iter(self.config.image_sizes)))

    def demonstrate(self, task: str, rng: np.random.Generator) -> Iterator[tuple[np.ndarray, np.ndarray]]:
        """(executed, label), float64[A] each, without end; step with `executed` between two items."""
        pairs = expert.demonstrate(lambda: self._twist(task), rng, self.config.demonstration)
        limits = np.array([dimension.high for dimension in self.spec.action_space.dimensions])
        for executed, clean in pairs:
            yield np.clip(executed[: self._dim], -limits, limits), clean[: self._dim]

    def label(self, task: str) -> np.ndarray:
        """What the expert would do now: float64[A], from any state."""
        return self._twist(task)[: self._dim]

    def close(self) -> None:
        """Nothing is held that Python does not free."""

    def _twist(self, task: str) -> np.ndarray:
        order = order_of(task)
        course = self._course or Course(self.mobile.snapshot())
        return expert.label(course, order, turns=self._dim == 3)

    def _begun(self) -> tuple[Course, str]:
        if self._course is None or self._task is None:
            raise ValueError("a task must have begun before a step is judged: call begin(task) after reset(start)")
        return self._course, self._task
