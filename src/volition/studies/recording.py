"""Recording demonstrations of the desk: what `volition record` and recipes that bring their own data do."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from functools import partial
from pathlib import Path

from volition.config import DataConfig, Recording, dump, suggest
from volition.data.record import RecordProgress, record
from volition.envs.desk.chains import chains
from volition.envs.desk.environment import DeskConfig, DeskEnv
from volition.envs.desk.tasks import TASKS


def make_desk(config: DeskConfig) -> DeskEnv:
    return DeskEnv(config)


def record_desk(
    recording: Recording, out: Path, *, progress: Callable[[RecordProgress], None] | None = None
) -> RecordProgress:
    """Record, or finish what was interrupted: finished episodes are never done again."""
    require_tasks(recording.record.tasks)
    return record(
        partial(make_desk, recording.env),
        recording.record,
        out,
        chain_tasks=chain_tasks,
        about_env=dump(recording.env),
        progress=progress,
    )


def require_tasks(tasks: Sequence[str]) -> None:
    """ValueError that names the nearest for the first one that the desk does not have."""
    for task in tasks:
        if task not in TASKS:
            raise ValueError(f"the desk has no task {task!r}{suggest(task, TASKS)}")


def chain_tasks(seed: int) -> tuple[str, ...]:
    (chain,) = chains(1, seed)
    return chain.tasks


def ensure_data(data: DataConfig, *, progress: Callable[[RecordProgress], None] | None = None) -> Path:
    """The dataset folder of a recipe, recorded now if the recipe says how and it is not complete yet."""
    path = Path(data.path)
    if data.recording is not None:
        record_desk(data.recording, path, progress=progress)
    return path
