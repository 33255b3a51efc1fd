"""Importing the user's clone of calvin_env on a current Python, with no file of it changed.

It imports packages that are dead, hard to build, or of no use without a screen: gym, git, quaternion, cv2, tacto. While
its modules are loaded, small stand-ins take their places; afterwards everyone else imports what is really installed.
"""

from __future__ import annotations

import ctypes
import os
import sys
import warnings
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass
from pathlib import Path
from types import ModuleType
from typing import Any

import numpy as np


@dataclass(frozen=True, kw_only=True)
class Theirs:
    """Of calvin_env: the environment, the judge of tasks; and what reads configuration as they do."""

    environment: Any  # class PlayTableSimEnv
    tasks: Any  # class Tasks
    omegaconf: Any
    pybullet: Any


def load(clone: Path) -> Theirs:
    """The clone's classes. ValueError names packages that are missing, and another calvin_env that is in the way."""
    with _standing_in(_stand_ins()), _first_on_path(clone), quiet(2), warnings.catch_warnings():
        warnings.simplefilter("ignore")  # of hydra, about the clone's way of calling it
        try:
            import calvin_env.camera.gripper_camera
            import calvin_env.camera.static_camera
            import calvin_env.envs.play_table_env as environment
            import calvin_env.envs.tasks as tasks
            import calvin_env.robot.robot
            import calvin_env.scene.play_table_scene
            import omegaconf
            import pybullet
        except ModuleNotFoundError as error:
            raise ValueError(
                f"CALVIN needs the package {error.name!r}, which is not installed: pip install 'volition[calvin]'"
            ) from error
    found = Path(calvin_env.__file__).resolve().parents[1]
    if found != clone.resolve():
        raise ValueError(
            f"calvin_env must be the clone {clone}, but this process has imported it from {found}: "
            "uninstall that one, or name its folder"
        )
    # It asks git for its commit while it starts, and fails where the clone is no git checkout.
    environment.get_git_commit_hash = lambda path: "unknown"
    return Theirs(
        environment=environment.PlayTableSimEnv, tasks=tasks.Tasks, omegaconf=omegaconf.OmegaConf, pybullet=pybullet
    )


@contextmanager
def quiet(descriptor: int = 1) -> Iterator[None]:
    """Nothing said reaches stdout, or stderr (2): pybullet talks past Python, and results are printed there."""
    sys.stdout.flush()
    kept, nowhere = os.dup(descriptor), os.open(os.devnull, os.O_WRONLY)
    os.dup2(nowhere, descriptor)
    try:
        yield
    finally:
        sys.stdout.flush()
        ctypes.CDLL(None).fflush(None)  # what C has written and not yet sent
        os.dup2(kept, descriptor)
        os.close(kept)
        os.close(nowhere)


def _stand_ins() -> dict[str, ModuleType]:
    found = {name: ModuleType(name) for name in ("gym", "gym.utils", "gym.utils.seeding", "git", "quaternion", "cv2")}
    found["tacto"] = ModuleType("tacto")
    found["gym"].Env = object  # type: ignore[attr-defined]
    found["gym"].utils = found["gym.utils"]  # type: ignore[attr-defined]
    found["gym.utils"].seeding = found["gym.utils.seeding"]  # type: ignore[attr-defined]
    found["gym.utils.seeding"].np_random = _np_random  # type: ignore[attr-defined]
    return found


def _np_random(seed: int | None = None) -> tuple[np.random.Generator, int | None]:
    return np.random.default_rng(seed), seed


@contextmanager
def _standing_in(stand_ins: dict[str, ModuleType]) -> Iterator[None]:
    before = {name: sys.modules.get(name) for name in stand_ins}
    sys.modules.update(stand_ins)
    try:
        yield
    finally:
        for name, module in before.items():
            if module is None:
                del sys.modules[name]
            else:
                sys.modules[name] = module


@contextmanager
def _first_on_path(folder: Path) -> Iterator[None]:
    sys.path.insert(0, str(folder))
    try:
        yield
    finally:
        sys.path.remove(str(folder))
