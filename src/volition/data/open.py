"""Open a dataset folder without saying what it is. `remote.located` makes the path of one on another machine.

detect(path)           one of FORMATS
load_episodes(path)    episodes; from the frame cache where the folder has a valid one
load_cached(path)      the same, making the cache first: what training wants
load_spec(path)        what its actions and observations mean
"""

from __future__ import annotations

import logging
from collections.abc import Callable, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Protocol, runtime_checkable

from volition.contract import RobotSpec
from volition.data import calvin, hdf5, lerobot_spec, lerobot_v2, rlds, rlds_layout
from volition.data import lerobot_layout as layout
from volition.data.cache import cached, cached_if_made
from volition.data.codecs import PackConfig
from volition.data.frames import INDEX
from volition.data.lerobot import load_lerobot
from volition.data.packed_write import packed
from volition.data.places import cache_home, is_read_only
from volition.data.remote import RemotePath
from volition.records import Episode

RAW = PackConfig()  # the flat map, which a recorder leaves behind

logger = logging.getLogger(__name__)


@dataclass(frozen=True, kw_only=True)
class Format:
    """A way in which people keep demonstrations: to be listed is to be opened, and tested by the conformance suite."""

    name: str
    sign: str  # what a folder of it must hold, for people
    holds: Callable[[Path], bool]
    load: Callable[[Path], Sequence[Episode]]
    load_spec: Callable[[Path], RobotSpec]
    one_file: bool = False  # whether a single file may be a dataset


@runtime_checkable
class Reader(Protocol):
    """What a recipe may ask of a format beyond reading everything."""

    @property
    def format(self) -> str: ...
    def selection(self) -> str: ...  # tells apart the frame caches of different parts; "" for everything
    def load(self, root: Path) -> Sequence[Episode]: ...


FORMATS = (
    Format(
        name="lerobot_v2",
        sign=f"{layout.INFO} (LeRobot {' or '.join(layout.OLD_VERSIONS)})",
        holds=lerobot_v2.holds,
        load=lerobot_v2.load_lerobot_v2,
        load_spec=lerobot_v2.load_spec_v2,
    ),
    Format(
        name="lerobot",
        sign=f"{layout.INFO} (LeRobot v3.0)",
        holds=lambda path: (path / layout.INFO).is_file(),
        load=load_lerobot,
        load_spec=lerobot_spec.load_spec,
    ),
    Format(
        name="calvin",
        sign=f"{calvin.ANNOTATIONS} or {calvin.RANGES} (a CALVIN split)",
        holds=lambda path: (path / calvin.ANNOTATIONS).is_file() or (path / calvin.RANGES).is_file(),
        load=calvin.load_calvin,
        load_spec=lambda path: calvin.SPEC,
    ),
    Format(
        name="hdf5",
        sign=f"files *{' or *'.join(hdf5.SUFFIXES)} (HDF5)",
        holds=hdf5.holds,
        load=hdf5.load_hdf5,
        load_spec=hdf5.load_spec,
        one_file=True,
    ),
    Format(
        name="rlds",
        sign=f"{rlds_layout.FEATURES} and {rlds_layout.INFO} (RLDS)",
        holds=rlds_layout.holds,
        load=rlds.load_rlds,
        load_spec=rlds.load_spec,
    ),
)


def detect(path: Path) -> Format:
    """The format of a dataset folder; ValueError that says what was looked for."""
    if not path.exists():
        raise FileNotFoundError(f"{path} must be a dataset folder, but there is none")
    for candidate in FORMATS:
        if (path.is_dir() or candidate.one_file) and candidate.holds(path):
            return candidate
    if (path / layout.STAGED).is_dir():
        raise ValueError(
            f"{path} is a recording that was interrupted before its first save; run the same recording again"
        )
    folders = [child for child in sorted(path.iterdir()) if child.is_dir()] if path.is_dir() else []
    inside = next(((child.name, f.name) for child in folders for f in FORMATS if f.holds(child)), None)
    hint = f"; there is one inside, {inside[0]!r} ({inside[1]}): open that" if inside else ""
    raise ValueError(f"{path} must hold {' or '.join(f.sign for f in FORMATS)}{hint}")


def load_episodes(path: Path) -> Sequence[Episode]:
    """All episodes. Pictures are decoded when asked for, unless the folder holds its frame cache."""
    episodes = detect(path).load(path)
    if isinstance(path, RemotePath):  # whose frame cache is larger than the dataset
        return episodes
    made = cached_if_made(episodes, path) if (layout.frames_folder(path) / INDEX).is_file() else None
    return episodes if made is None else made


def load_cached(
    path: Path,
    *,
    reader: Reader | None = None,
    folder: Path | None = None,
    pictures: PackConfig = RAW,
    progress: Callable[[int, int], None] | None = None,
) -> Sequence[Episode]:
    """All episodes, or those that `reader` wants, with every frame in a memory map: decoded, or as `pictures` says.

    It lies in `path` itself, or in a subfolder of `folder`, which for a read-only dataset is the user's cache folder.
    """
    if folder is None and is_read_only(path):
        folder = cache_home() / "frames"
        logger.info("%s is read-only: its frame cache is in %s", path, folder)
    kind = detect(path)
    if reader is not None and reader.format != kind.name:
        raise ValueError(f"{path} is of the format {kind.name!r}, but the recipe's reader is for {reader.format!r}")
    episodes = (reader or kind).load(path)
    selection = "" if reader is None else reader.selection()
    if pictures.encoding != "raw":
        return packed(episodes, path, pictures, folder=folder, selection=selection, progress=progress)
    return cached(episodes, path, folder=folder, selection=selection, progress=progress)


def load_spec(path: Path) -> RobotSpec:
    """What the dataset says of itself. Where it does not say what its units are, they are "unknown".

    An unknown unit equals no robot's, so a policy trained on it is not taken for one that fits.
    """
    return detect(path).load_spec(path)
