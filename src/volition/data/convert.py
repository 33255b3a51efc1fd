"""What `volition data info PATH` reports."""

from __future__ import annotations

from collections import Counter
from pathlib import Path
from typing import Any

import numpy as np

from volition.data.open import detect, load_episodes, load_spec
from volition.data.statistics import RunningStatistics


def info(path: Path) -> dict[str, Any]:
    """JSON: format, counts, tasks, cameras, rate, size on disk, and the range of every state and action dimension."""
    episodes, spec = load_episodes(path), load_spec(path)
    lengths = np.array([len(episode) for episode in episodes])
    return {
        "path": str(path),
        "format": detect(path).name,
        "episodes": len(episodes),
        "frames": int(lengths.sum()),
        "hours": float(lengths.sum() / spec.control_hz / 3600),
        "episode_length": {"min": int(lengths.min()), "mean": float(lengths.mean()), "max": int(lengths.max())},
        "tasks": dict(sorted(Counter(episode.task for episode in episodes).items())),
        "instructions": len({sentence for episode in episodes for sentence in episode.instructions}),
        "cameras": {camera.name: [camera.height, camera.width] for camera in spec.cameras},
        "fps": spec.control_hz,
        "bytes": sum(file.stat().st_size for file in path.rglob("*") if file.is_file()),
        "state": _ranges(spec.state, [episode.states(np.arange(len(episode))) for episode in episodes]),
        "action": _ranges(
            tuple(dimension.name for dimension in spec.action_space.dimensions),
            [episode.actions(np.arange(len(episode))) for episode in episodes],
        ),
    }


def _ranges(names: tuple[str, ...], blocks: list[np.ndarray]) -> dict[str, dict[str, float]]:
    running = RunningStatistics(len(names))
    for block in blocks:
        running.update(block)
    statistics = running.result()
    kinds = ("min", "q01", "mean", "std", "q99", "max")
    return {name: {kind: getattr(statistics, kind)[i] for kind in kinds} for i, name in enumerate(names)}
