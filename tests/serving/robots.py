"""A small policy with a memory and a robot to go with it, so that a server can be tested without torch."""

from __future__ import annotations

import time
from collections.abc import Sequence
from dataclasses import dataclass, field, replace
from typing import Any

import numpy as np

from volition.contract import Camera, Dimension, RobotSpec, relative_arm_7d
from volition.records import Observation
from volition.serving.served import Served

HORIZON, HEIGHT, WIDTH = 4, 6, 8
ROBOT = RobotSpec(
    action_space=relative_arm_7d(),
    cameras=(Camera(name="static", height=HEIGHT, width=WIDTH), Camera(name="gripper", height=HEIGHT, width=WIDTH)),
    state=("x", "y", "z"),
    control_hz=30.0,
)
BASE = replace(
    ROBOT,
    action_space=replace(
        ROBOT.action_space,
        dimensions=(Dimension(name="linear_x", unit="m/s"), Dimension(name="angular_z", unit="rad/s")),
        frame="base",
        rotation="yaw",
    ),
)


@dataclass(frozen=True)
class Remembered:
    """Everything that the policy has seen, as one number, and how often it was asked."""

    seen: float = 0.0
    steps: int = 0
    confidence: np.ndarray | None = None


@dataclass
class Recalling:
    """Acts on a decaying sum of all that it saw since it began: any mix-up of states shows at once.

    Its row is computed alone, so that an answer is equal to the bit in any batch.
    """

    robot: RobotSpec = ROBOT
    seconds: float = 0.0  # that a call takes
    gain: float = 1.0
    sure: bool = False  # whether it tells a confidence
    calls: list[int] = field(default_factory=list)  # rows of every call

    def start(self, n: int) -> list[Remembered]:
        return [Remembered() for _ in range(n)]

    def act(
        self, observations: Sequence[Observation], states: Sequence[Remembered]
    ) -> tuple[np.ndarray, list[Remembered]]:
        self.calls.append(len(observations))
        time.sleep(self.seconds)
        answers = [self._one(o, s) for o, s in zip(observations, states)]
        return np.stack([chunk for chunk, _ in answers]), [state for _, state in answers]

    def _one(self, observation: Observation, state: Remembered) -> tuple[np.ndarray, Remembered]:
        if observation.instruction == "fail":
            raise RuntimeError("this policy cannot do that")
        pictures = sum(float(image.mean()) / 255 for image in observation.images.values())
        seen = 0.7 * state.seen + pictures + float(observation.state.sum()) + len(observation.instruction) / 100
        chunk = np.sin(seen + np.arange(HORIZON)[:, None] + np.arange(self.robot.action_space.dim)) * self.gain
        if observation.instruction == "break":
            chunk[1] = np.nan
        sure = np.linspace(1, 0, HORIZON).astype(np.float32) if self.sure else None
        return chunk.astype(np.float32), Remembered(seen, state.steps + 1, sure)


def served(actor: Any = None, **changes: Any) -> Served:
    actor = actor or Recalling()
    fields = {
        "actor": actor,
        "robot": actor.robot,
        "action_horizon": HORIZON,
        "replan_steps": 2,
        "contract": actor.robot,
    }
    return Served(**{**fields, "memory": "recalling", "name": "test/step_1", **changes})


def look(seed: int, prompt: str = "open the drawer") -> dict[str, Any]:
    """A message of the websocket protocol."""
    rng = np.random.default_rng(seed)
    shape = (HEIGHT, WIDTH, 3)
    return {
        "observation/static": rng.integers(0, 256, shape, dtype=np.uint8),
        "observation/gripper": rng.integers(0, 256, shape, dtype=np.uint8),
        "observation/state": rng.uniform(-1, 1, 3).astype(np.float32),
        "prompt": prompt,
    }


def expected(messages: Sequence[dict[str, Any]], actor: Recalling | None = None) -> list[np.ndarray]:
    """What a robot that sends these, alone, is answered."""
    actor = actor or Recalling()
    (state,) = actor.start(1)
    answers = []
    for message in messages:
        images = {name: message[f"observation/{name}"][None] for name in ("static", "gripper")}
        observation = Observation(images, message["observation/state"][None], message["prompt"])
        chunks, (state,) = actor.act([observation], [state])
        answers.append(chunks[0])
    return answers
