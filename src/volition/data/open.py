"""Open a dataset folder without saying what it is.

detect(path)           one of FORMATS
load_episodes(path)    episodes; from the frame cache where the folder has a valid one
load_cached(path)      the same, making the cache first: what training wants
load_spec(path)        what its actions and observations mean
"""

from __future__ import annotations

import logging
import os
from collections.abc import Callable, Sequence
from dataclasses import dataclass
from pathlib import Path

from volition.contract import RobotSpec
from volition.data import calvin, lerobot_spec
from volition.data import lerobot_layout as layout
from volition.data.cache import CachedEpisode, cached, cached_if_made
from volition.data.frames import INDEX
from volition.data.lerobot import load_lerobot
from volition.records import Episode

logger = logging.getLogger(__name__)


@dataclass(frozen=True, kw_only=True)
class Format:
    """A way in which people keep demonstrations: to be listed is to be opened, and tested by the conformance suite."""

    name: str
    sign: str  # what a folder of it must hold, for people
    holds: Callable[[Path], bool]
    load: Callable[[Path], Sequence[Episode]]
    load_spec: Callable[[Path], RobotSpec]


FORMATS = (
    Format(
        name="lerobot",
        sign=f"{layout.INFO} (LeRobot v3.0)",
        holds=lambda path: (path / layout.INFO).is_file(),
        load=load_lerobot,
        load_spec=lerobot_spec.load_spec,
    ),
    Format(
        name="calvin",
        sign=f"{calvin.ANNOTATIONS} (a CALVIN split)",
        holds=lambda path: (path / calvin.ANNOTATIONS).is_file(),
        load=calvin.load_calvin,
        load_spec=lambda path: calvin.SPEC,
    ),
)


def detect(path: Path) -> Format:
    """The format of a dataset folder; ValueError that says what was looked for."""
    if not path.is_dir():
        raise FileNotFoundError(f"{path} must be a dataset folder, but there is none")
    for candidate in FORMATS:
        if candidate.holds(path):
            return candidate
    if (path / layout.STAGED).is_dir():
        raise ValueError(
            f"{path} is a recording that was interrupted before its first save; run the same recording again"
        )
    folders = [child for child in sorted(path.iterdir()) if child.is_dir()]
    inside = next(((child.name, f.name) for child in folders for f in FORMATS if f.holds(child)), None)
    hint = f"; there is one inside, {inside[0]!r} ({inside[1]}): open that" if inside else ""
    raise ValueError(f"{path} must hold {' or '.join(f.sign for f in FORMATS)}{hint}")


def load_episodes(path: Path) -> Sequence[Episode]:
    """All episodes. Pictures are decoded when asked for, unless the folder holds its frame cache."""
    episodes = detect(path).load(path)
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
    return cached(detect(path).load(path), path, folder=folder, progress=progress)


def load_spec(path: Path) -> RobotSpec:
    """What the dataset says of itself. Where it does not say what its units are, they are "unknown".

    An unknown unit equals no robot's, so a policy trained on it is not taken for one that fits.
    """
    return detect(path).load_spec(path)


def _is_read_only(path: Path) -> bool:
    """By its mode too: the administrator may write everywhere, and still should not write into such a folder."""
    return path.is_dir() and (not path.stat().st_mode & 0o222 or not os.access(path, os.W_OK))
