"""What is said of CALVIN before it is made: clones, scenes, renderer, pictures, where chains begin."""

from __future__ import annotations

import math
from dataclasses import dataclass, field, replace
from importlib.metadata import PackageNotFoundError, version
from typing import get_args

import numpy as np

from volition.contract import Camera, RobotSpec, relative_arm_7d, require_equal
from volition.envs.base import OF_RECORDING, Finding, turned_camera
from volition.envs.calvin.annotations import digest
from volition.envs.calvin.clones import CALVIN, CALVIN_ENV, commit
from volition.envs.calvin.places import Placement, draws
from volition.envs.calvin.sequences import NUM_OFFICIAL, fresh, official
from volition.envs.calvin.simulator import RENDERERS, Renderer
from volition.envs.calvin.situations import SCENES, TASKS
from volition.envs.demonstration import DemonstrationConfig
from volition.records import Env, Start

CONTROL_HZ = 30.0
MAX_STEPS = 360  # a task has by CALVIN's protocol
IMAGE_SIZES = {"static": (200, 200), "gripper": (84, 84)}
STATE_NAMES = (
    *("tcp_x", "tcp_y", "tcp_z", "tcp_roll", "tcp_pitch", "tcp_yaw", "gripper_width"),
    *(f"joint_{i}" for i in range(1, 8)),
    "gripper_action",
)


@dataclass(frozen=True, kw_only=True)
class CalvinSimConfig:
    """The real CALVIN simulator, around your own clones of mees/calvin_env and mees/calvin."""

    calvin_env: str = ""
    """Folder of your clone of mees/calvin_env; by default what VOLITION_CALVIN_ENV says."""
    calvin: str = ""
    """Folder of your clone of mees/calvin, for its sentences; by default what VOLITION_CALVIN says."""
    scenes: tuple[str, ...] = ("D",)
    """Of A, B, C, D; drawn from where a start names none. The protocol's sequences belong to D."""
    renderer: Renderer = "tiny"
    """tiny: pybullet's own, needs nothing. egl: with shadows, as the published data were drawn."""
    image_sizes: dict[str, tuple[int, int]] = field(default_factory=lambda: dict(IMAGE_SIZES))
    """Height and width of each camera's pictures, of static and gripper; one that is not named is not drawn."""
    camera_offset: tuple[float, float, float] = (0.0, 0.0, 0.0)
    """By how much the static camera is moved around what it looks at: azimuth and elevation in radians, distance as a
    share. For trying policies that learned without it."""
    placement: Placement = "official"
    """Where blocks of chains stand: at the protocol's places, or scattered, as for single tasks (for recording)."""
    more_sentences: int = field(default=0, metadata=OF_RECORDING)
    """For training: beside CALVIN's own (about eleven a task), so many of the desk's, whose tasks are the same."""
    demonstration: DemonstrationConfig = field(default_factory=DemonstrationConfig, metadata=OF_RECORDING)

    def __post_init__(self) -> None:
        unknown = set(self.scenes) - set(SCENES)
        if unknown or not self.scenes:
            raise ValueError(f"scenes must be some of {', '.join(SCENES)}, got {self.scenes}")
        for name, known in (("renderer", RENDERERS), ("placement", get_args(Placement))):
            if getattr(self, name) not in known:
                raise ValueError(f"{name} must be one of {', '.join(known)}, got {getattr(self, name)!r}")
        if not all(map(math.isfinite, self.camera_offset)) or self.camera_offset[2] <= -1.0:
            raise ValueError(f"camera_offset must be finite, its distance above -1, got {self.camera_offset}")
        if self.more_sentences < 0:
            raise ValueError(f"more_sentences must be at least 0, got {self.more_sentences}")
        sizes = [side for size in self.image_sizes.values() for side in size]
        if not sizes or not set(self.image_sizes) <= set(IMAGE_SIZES) or min(sizes) < 1:
            raise ValueError(
                f"image_sizes must give height and width of some of {list(IMAGE_SIZES)}, got {self.image_sizes}"
            )

    @property
    def spec(self) -> RobotSpec:
        return RobotSpec(
            action_space=relative_arm_7d(),
            cameras=tuple(Camera(name=name, height=h, width=w) for name, (h, w) in self.image_sizes.items()),
            state=STATE_NAMES,
            control_hz=CONTROL_HZ,
        )

    @property
    def tasks(self) -> tuple[str, ...]:
        return TASKS

    @property
    def max_steps(self) -> int:
        return MAX_STEPS

    @property
    def slots_per_worker(self) -> int:
        """calvin_env calls pybullet in part without saying which of its worlds is meant."""
        return 1

    def make(self) -> Env:
        from volition.envs.calvin.environment import CalvinEnv

        return CalvinEnv(self)

    def fit(self, robot: RobotSpec) -> CalvinSimConfig:
        """With the robot's cameras; ValueError prints every other difference."""
        known = {name: size for name, size in robot.image_sizes.items() if name in IMAGE_SIZES}
        fitted = replace(self, image_sizes=known or self.image_sizes)
        require_equal(robot, fitted.spec, left_name="the checkpoint's robot", right_name="CALVIN's")
        return fitted

    def chains(self, count: int, seed: int | None = None) -> list[Start]:
        """Five tasks in a row. None: the protocol's own, in its order; a seed: others, drawn by the same rules."""
        scene = self.scenes[0] if len(self.scenes) == 1 else ""
        if seed is None:
            return [Start(seed=i, tasks=found.tasks, scene=scene) for i, found in enumerate(official(count))]
        # Numbers below NUM_OFFICIAL stand for the protocol's own sequences.
        numbers = [int(np.random.SeedSequence((seed, i)).generate_state(1)[0]) + NUM_OFFICIAL for i in range(count)]
        return [Start(seed=n, tasks=found.tasks, scene=scene) for n, found in zip(numbers, fresh(count, seed))]

    def camera_moved(self) -> tuple[str, CalvinSimConfig]:
        told, there = turned_camera(self.camera_offset)
        return told, replace(self, camera_offset=there)

    def feasible(self, start: Start) -> tuple[str, ...]:
        """Every task that could be begun at this start."""
        return next(draws(start, self.scenes, self.placement)).admits

    def examine(self) -> list[Finding]:
        """Clones, packages, sentences and renderers: what `volition doctor calvin` says."""
        from volition.envs.calvin.examine import examine

        return examine(self.calvin_env, self.calvin, self.renderer)

    def about(self) -> dict[str, str]:
        """What a result depends on besides this config."""
        try:
            pybullet = version("pybullet")
        except PackageNotFoundError:
            pybullet = "not installed"
        found = commit(CALVIN_ENV.find(self.calvin_env)) or "of an unknown commit"
        simulator = f"CALVIN, {CALVIN_ENV.repository} {found[:12]}"
        told = digest(CALVIN.find(self.calvin))
        return {"simulator": simulator, "renderer": self.renderer, "pybullet": pybullet, "sentences": told}
