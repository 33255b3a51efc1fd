"""What `volition data info PATH` reports."""

from __future__ import annotations

from collections import Counter
from pathlib import Path
from typing import Any

import numpy as np

from volition.data.cache import read_numbers, tell_losses
from volition.data.episodes import left_out
from volition.data.open import detect, load_episodes, load_spec
from volition.data.statistics import RunningStatistics


def info(path: Path) -> dict[str, Any]:
    """JSON: format, counts, tasks, cameras, rate, size on disk, and the range of every state and action dimension.

    Damaged are episodes that the reader left out, those whose numbers cannot be read and, once the frame cache is made,
    those that it had to leave out.
    """
    kind, spec = detect(path), load_spec(path)
    read, episodes, numbers = kind.load(path), [], []
    lost: dict[int, str] = {}
    for number, episode in enumerate(load_episodes(path)):
        try:
            numbers.append(read_numbers(episode))
            episodes.append(episode)
        except ValueError as error:
            lost[number] = str(error)
    tell_losses(lost, len(read), path)
    total = len(read) + left_out(read)
    if not episodes:
        raise ValueError(f"{path} must hold an episode that can be read, but all {total} are damaged: {lost[0]}")
    lengths = np.array([len(episode) for episode in episodes])
    return {
        "path": str(path),
        "format": kind.name,
        "episodes": len(episodes),
        "damaged_episodes": total - len(episodes),
        "frames": int(lengths.sum()),
        "hours": float(lengths.sum() / spec.control_hz / 3600),
        "episode_length": {"min": int(lengths.min()), "mean": float(lengths.mean()), "max": int(lengths.max())},
        "tasks": dict(sorted(Counter(episode.task for episode in episodes).items())),
        "instructions": len({sentence for episode in episodes for sentence in episode.instructions}),
        "cameras": {camera.name: [camera.height, camera.width] for camera in spec.cameras},
        "fps": spec.control_hz,
        "bytes": sum(file.stat().st_size for file in [path, *path.rglob("*")] if file.is_file()),
        "state": _ranges(spec.state, [states for states, _ in numbers]),
        "action": _ranges(
            tuple(dimension.name for dimension in spec.action_space.dimensions),
            [actions for _, actions in numbers],
        ),
    }


def _ranges(names: tuple[str, ...], blocks: list[np.ndarray]) -> dict[str, dict[str, float]]:
    running = RunningStatistics(len(names))
    for block in blocks:
        running.update(block)
    statistics = running.result()
    kinds = ("min", "q01", "mean", "std", "q99", "max")
    return {name: {kind: getattr(statistics, kind)[i] for kind in kinds} for i, name in enumerate(names)}
