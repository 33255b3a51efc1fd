"""Recording demonstrations: what `volition record` and recipes that bring their own data do, in any environment."""

from __future__ import annotations

from collections.abc import Callable
from pathlib import Path
from typing import Any

import numpy as np

from volition.config import DataConfig, Recording, dump, load, packages_of
from volition.data import lerobot_layout as layout
from volition.data.files import read_json
from volition.data.perform import RecordableEnv
from volition.data.record import RecordProgress, record
from volition.envs.base import EnvConfig, require_tasks

_DRAWS = 1000  # of a chain, until it passes through a task that is to be recorded


def record_env(
    recording: Recording, out: Path, *, progress: Callable[[RecordProgress], None] | None = None
) -> RecordProgress:
    """Record, or finish what was interrupted: finished episodes are never done again."""
    env = recording.env
    require_tasks(env, recording.record.tasks)
    return record(
        Recordable(env),
        recording.record,
        out,
        chain_tasks=_ChainsThrough(env, recording.record.tasks),
        about_env=_as_noted(env, out),
        progress=progress,
    )


class _ChainsThrough:
    """The tasks of the environment's chain with a seed, drawn again until one of these is among them."""

    def __init__(self, env: EnvConfig, tasks: tuple[str, ...]):
        self._env, self._wanted = env, frozenset(tasks)

    def __call__(self, seed: int) -> tuple[str, ...]:
        for attempt in range(_DRAWS):
            again = int(np.random.SeedSequence((seed, attempt)).generate_state(1)[0]) if attempt else seed
            tasks = self._env.chains(1, again)[0].tasks
            if self._wanted.intersection(tasks):
                return tasks
        raise ValueError(
            f"chains must pass through the tasks that are recorded, and of {_DRAWS} none did through "
            f"{', '.join(sorted(self._wanted))}: record them without --chains"
        )


class Recordable:
    """Makes the environment in the process that records; ValueError where it cannot show how a task is done."""

    def __init__(self, config: EnvConfig):
        self._config = config

    def __call__(self) -> RecordableEnv:
        env = self._config.make()
        if not isinstance(env, RecordableEnv):
            raise ValueError(
                f"to be recorded, an environment must have `demonstrate` and `spec`; {type(env).__name__} has not"
            )
        return env


def noted(path: Path) -> Any:
    """The note that the recorder left with the dataset in this folder, None where there is none."""
    ours = path / layout.OURS
    return read_json(ours).get("note") if ours.is_file() else None


def recorded(path: Path) -> Any:
    """The note, where it says both in which environment and how; None for data that `volition record` did not make."""
    note = noted(path)
    return note if note and note.get("environment") and "record" in note else None


def _as_noted(env: EnvConfig, out: Path) -> Any:
    """The environment as JSON: as the dataset in `out` has it, where that is the same one.

    Written by an earlier version, it may lack fields that have come since and have their default.
    """
    now, before = dump(env), (noted(out) or {}).get("environment") or {}
    if before.get("type") == now["type"]:
        return before if load(before, allow=packages_of(env)) == env else now
    return now


def ensure_data(data: DataConfig, *, progress: Callable[[RecordProgress], None] | None = None) -> Path:
    """The dataset folder of a recipe, recorded now if the recipe says how and it is not complete yet."""
    path = Path(data.path)
    if data.recording is not None:
        record_env(data.recording, path, progress=progress)
    return path
