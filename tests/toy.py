"""A world for tests: a point on a plane must reach the square whose colour the instruction names.

The image (camera "base", 28x28) is the only place where the squares can be seen; the state is the point's own position.
Coordinates run from -1 to 1, x to the right and y upwards. Numpy only; a reset takes microseconds.
"""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import dataclass

import numpy as np

from volition.contract import ActionSpace, Camera, Dimension, RobotSpec, require_equal
from volition.records import Observation, Start

SIZE = 28
STEP = 0.2  # the largest move in one step, per axis: action 1.0
REACHED = 0.15  # how near the point must come to the square's centre
COLOURS = {"red": (220, 40, 40), "blue": (40, 60, 220)}
TASKS = tuple(f"reach_{colour}" for colour in COLOURS)
WORDINGS = {
    "train": ("go to the {} square", "move to {}", "reach the {} one"),
    "validation": ("please touch the {} square",),
}
SPEC = RobotSpec(
    action_space=ActionSpace(dimensions=(Dimension(name="x", unit=f"{STEP}"), Dimension(name="y", unit=f"{STEP}"))),
    cameras=(Camera(name="base", height=SIZE, width=SIZE),),
    state=("x", "y"),
    control_hz=10.0,
)


@dataclass(frozen=True, kw_only=True)
class ToyConfig:
    """Implements `envs.base.EnvConfig`.

    `noise`: standard deviation of what the demonstrator adds to the executed action, as a share of a full step.
    """

    noise: float = 0.2
    clumsiness: float = 0.0  # how often the demonstrator gives up: its attempt then ends without success
    scenes: tuple[str, ...] = ("",)

    @property
    def spec(self) -> RobotSpec:
        return SPEC

    @property
    def tasks(self) -> tuple[str, ...]:
        return TASKS

    @property
    def max_steps(self) -> int:
        return 60

    @property
    def slots_per_worker(self) -> int:
        return 8

    def make(self) -> Toy:
        return Toy(self)

    def __call__(self) -> Toy:
        return self.make()

    def fit(self, robot: RobotSpec) -> ToyConfig:
        require_equal(robot, SPEC, left_name="the checkpoint's robot", right_name="the toy")
        return self

    def chains(self, count: int, seed: int | None = None) -> list[Start]:
        first = 0 if seed is None else seed
        return [Start(seed=first + i, tasks=TASKS if (first + i) % 2 else TASKS[::-1]) for i in range(count)]

    def feasible(self, start: Start) -> tuple[str, ...]:
        return TASKS

    def about(self) -> dict[str, str]:
        return {"simulator": "none", "renderer": "numpy"}


class Toy:
    """Implements `records.Demonstrator`."""

    def __init__(self, config: ToyConfig | None = None) -> None:
        self.config = config or ToyConfig()
        self.position = np.zeros(2)
        self.squares: dict[str, np.ndarray] = {}
        self.task = ""

    @property
    def spec(self) -> RobotSpec:
        return SPEC

    @property
    def tasks(self) -> tuple[str, ...]:
        return TASKS

    def reset(self, start: Start) -> None:
        if not start.tasks or not set(start.tasks) <= set(TASKS) or start.scene:
            raise ValueError(f"a start must name some of the tasks {TASKS} and no scene, got {start}")
        rng = np.random.default_rng(start.seed)
        self.task = ""
        self.position = rng.uniform(-0.3, 0.3, 2)
        sides = rng.permutation([-1.0, 1.0])
        self.squares = {
            colour: np.array([side * rng.uniform(0.55, 0.8), rng.uniform(-0.8, 0.8)])
            for colour, side in zip(COLOURS, sides)
        }

    def begin(self, task: str) -> None:
        if task not in TASKS:
            raise ValueError(f"task must be one of {TASKS}, got {task!r}")
        self.task = task

    def observe(self, instruction: str) -> Observation:
        state = self.position.astype(np.float32)[None]
        return Observation(images={"base": self._draw(1)[None]}, state=state, instruction=instruction)

    def step(self, action: np.ndarray) -> bool:
        if not self.task or np.shape(action) != (2,) or not np.isfinite(action).all():
            raise ValueError(f"a task must have begun, and an action must be 2 finite numbers, got {action}")
        self.position = np.clip(self.position + STEP * np.clip(action, -1, 1), -1, 1)
        return bool(np.linalg.norm(self.position - self._goal()) < REACHED)

    def rest(self) -> np.ndarray:
        return np.zeros(2, np.float32)

    def instructions(self, task: str, split: str) -> tuple[str, ...]:
        if task not in TASKS or split not in WORDINGS:
            raise ValueError(f"the toy has the tasks {TASKS} and the splits {tuple(WORDINGS)}, got {task} and {split}")
        return tuple(wording.format(task.removeprefix("reach_")) for wording in WORDINGS[split])

    def frame(self) -> np.ndarray:
        nearest = np.arange(200) * (8 * SIZE) // 200
        return self._draw(8)[nearest][:, nearest]

    def close(self) -> None:
        self.squares = {}

    def demonstrate(self, task: str, rng: np.random.Generator) -> Iterator[tuple[np.ndarray, np.ndarray]]:
        gives_up = rng.random() < self.config.clumsiness
        for _ in range(2 if gives_up else 60):
            label = self.label(task)
            yield np.clip(label + rng.normal(0, self.config.noise, 2), -1, 1), label

    def label(self, task: str) -> np.ndarray:
        assert task == self.task, f"{task} was not begun"
        return np.clip((self._goal() - self.position) / STEP, -1, 1)

    def _goal(self) -> np.ndarray:
        return self.squares[self.task.removeprefix("reach_")]

    def _draw(self, scale: int) -> np.ndarray:
        """uint8[28 * scale, 28 * scale, 3]"""
        image = np.full((SIZE * scale, SIZE * scale, 3), 200, np.uint8)
        for colour, centre in self.squares.items():
            self._paint(image, centre, 3 * scale, COLOURS[colour])
        self._paint(image, self.position, 2 * scale, (20, 20, 20))
        return image

    @staticmethod
    def _paint(image: np.ndarray, centre: np.ndarray, half: int, colour: tuple[int, int, int]) -> None:
        size = len(image)
        column, row = ((np.array([centre[0], -centre[1]]) + 1) / 2 * (size - 1)).round().astype(int)
        image[max(row - half, 0) : row + half, max(column - half, 0) : column + half] = colour
