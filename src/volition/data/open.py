"""Open a dataset folder without saying what it is.

detect(path) -> "lerobot" | "calvin"
load_episodes(path)    episodes; from the frame cache where the folder has a valid one
load_cached(path)      the same, making the cache first: what training wants
load_spec(path)        what its actions and observations mean
"""

from __future__ import annotations

import logging
import os
from collections.abc import Callable, Sequence
from pathlib import Path
from typing import Any

from volition.contract import ActionSpace, Camera, Dimension, RobotSpec
from volition.data import calvin
from volition.data import lerobot_layout as layout
from volition.data.cache import CachedEpisode, cached, cached_if_made
from volition.data.files import read_json
from volition.data.frames import INDEX
from volition.data.lerobot import load_lerobot, load_lerobot_spec
from volition.records import Episode

logger = logging.getLogger(__name__)

UNKNOWN = "unknown"  # the unit of an action in a dataset that does not say


def detect(path: Path) -> str:
    """The format of a dataset folder; ValueError that says what was looked for."""
    if not path.is_dir():
        raise FileNotFoundError(f"{path} must be a dataset folder, but there is none")
    if (path / layout.INFO).is_file():
        return "lerobot"
    if (path / calvin.ANNOTATIONS).is_file():
        return "calvin"
    if (path / layout.STAGED).is_dir():
        raise ValueError(
            f"{path} is a recording that was interrupted before its first save; run the same recording again"
        )
    inside = [split for split in ("training", "validation") if (path / split / calvin.ANNOTATIONS).is_file()]
    hint = f"; it has the CALVIN split {inside[0]!r} inside: open that" if inside else ""
    raise ValueError(f"{path} must hold {layout.INFO} (LeRobot v3.0) or {calvin.ANNOTATIONS} (a CALVIN split){hint}")


def load_episodes(path: Path) -> Sequence[Episode]:
    """All episodes. Pictures are decoded when asked for, unless the folder holds its frame cache."""
    episodes = _load(path)
    made = cached_if_made(episodes, path) if (path / layout.FRAMES / INDEX).is_file() else None
    return episodes if made is None else made


def load_cached(
    path: Path, *, folder: Path | None = None, progress: Callable[[int, int], None] | None = None
) -> list[CachedEpisode]:
    """All episodes, with every frame decoded beforehand into a memory map.

    It lies in `path` itself, or in a subfolder of `folder`, which for a read-only dataset is the user's cache folder.
    """
    if folder is None and _is_read_only(path):
        folder = Path(os.environ.get("XDG_CACHE_HOME", Path.home() / ".cache")) / "volition" / "frames"
        logger.info("%s is read-only: its frame cache is in %s", path, folder)
    return cached(_load(path), path, folder=folder, progress=progress)


def load_spec(path: Path) -> RobotSpec:
    """As recorded; for LeRobot datasets of others, names and ranges from their metadata, with units "unknown".

    An unknown unit equals no robot's, so a policy trained on it is not taken for one that fits.
    """
    if detect(path) == "calvin":
        return calvin.SPEC
    return load_lerobot_spec(path) or _foreign_spec(path)


def _is_read_only(path: Path) -> bool:
    """By its mode too: the administrator may write everywhere, and still should not write into such a folder."""
    return path.is_dir() and (not path.stat().st_mode & 0o222 or not os.access(path, os.W_OK))


def _load(path: Path) -> Sequence[Episode]:
    return load_lerobot(path) if detect(path) == "lerobot" else calvin.load_calvin(path)


def _foreign_spec(path: Path) -> RobotSpec:
    info, statistics = read_json(path / layout.INFO), read_json(path / layout.STATS)
    features: dict[str, Any] = info["features"]
    lows, highs = statistics[layout.ACTION]["min"], statistics[layout.ACTION]["max"]
    dimensions = tuple(
        Dimension(name=name, unit=UNKNOWN, low=float(low), high=max(float(high), float(low) + 1e-6))
        for name, low, high in zip(_names(features[layout.ACTION]), lows, highs)
    )
    cameras = tuple(_camera(name, f) for name, f in features.items() if f["dtype"] in ("image", "video"))
    return RobotSpec(
        action_space=ActionSpace(dimensions=dimensions, frame=UNKNOWN, rotation=UNKNOWN, relative=False),
        cameras=cameras,
        state=tuple(_names(features[layout.STATE])) if layout.STATE in features else (),
        control_hz=float(info["fps"]),
    )


def _names(feature: dict[str, Any]) -> list[str]:
    """One name a dimension. The format allows a list, a list in a dictionary, or none."""
    names = feature.get("names")
    if isinstance(names, dict):
        names = next(iter(names.values()), None)
    size = int(feature["shape"][0])
    return (
        [str(name) for name in names]
        if isinstance(names, list) and len(names) == size
        else [str(i) for i in range(size)]
    )


def _camera(key: str, feature: dict[str, Any]) -> Camera:
    first, second, third = feature["shape"]
    height, width = (second, third) if first == 3 and third != 3 else (first, second)
    return Camera(name=key.removeprefix(layout.IMAGES), height=int(height), width=int(width))
