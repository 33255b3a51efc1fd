"""Reading HDF5 demonstrations: robomimic, LIBERO, ALOHA, Mobile-VLA, or any layout that a record describes.

    load_hdf5(path) -> episodes; `path` is a file or a folder of files; everything is read when it is asked for

Every episode's structure and numbers are checked on loading. One that is damaged, or unlike most others, is left out
aloud; only when none is left it is an error. Pictures are given as stored unless the layout says how to turn them.
"""

from __future__ import annotations

import logging
from collections import Counter
from collections.abc import Iterator, Sequence
from contextlib import contextmanager
from dataclasses import dataclass, replace
from pathlib import Path
from typing import Any

import numpy as np

from volition.contract import ActionSpace, Camera, Dimension, RobotSpec
from volition.data import hdf5_contents as contents
from volition.data.episodes import Episodes
from volition.data.hdf5_files import Hdf5Files, natural, reading
from volition.data.hdf5_inspect import Facts, inspect
from volition.data.hdf5_layouts import Hdf5Layout, options_path
from volition.data.spec import UNKNOWN

logger = logging.getLogger(__name__)

SUFFIXES = (".hdf5", ".h5")


@dataclass(frozen=True, kw_only=True)
class Hdf5Episode:
    """Implements `records.Episode`."""

    files: Hdf5Files
    layout: Hdf5Layout
    facts: Facts

    @property
    def task(self) -> str:
        return self.facts.task or self.instructions[0]

    @property
    def instructions(self) -> tuple[str, ...]:
        return self.facts.instructions

    def __len__(self) -> int:
        return self.facts.length

    def images(self, steps: np.ndarray) -> dict[str, np.ndarray]:
        with self._reading() as group:
            found = {
                contents.name_of(dataset): contents.pictures(dataset, self.layout, steps)
                for dataset in contents.cameras(group, self.layout)
            }
            sizes = tuple(Camera(name=name, height=x.shape[1], width=x.shape[2]) for name, x in found.items())
            if sizes != self.facts.cameras:
                raise ValueError(f"pictures must be those of {self.facts.cameras}, but are of {sizes}")
        return found

    def states(self, steps: np.ndarray) -> np.ndarray:
        with self._reading() as group:
            parts = contents.states(group, self.layout, steps).values()
            return np.concatenate([np.zeros((len(steps), 0), np.float32), *parts], axis=1)

    def actions(self, steps: np.ndarray) -> np.ndarray:
        with self._reading() as group:
            return contents.actions(group, self.layout, steps)

    @contextmanager
    def _reading(self) -> Iterator[Any]:
        file = self.files.open(self.facts.path)
        with reading(f"{self.facts.path}, {self.facts.group}"):
            yield file[self.facts.group]


def holds(path: Path) -> bool:
    """Whether `path` is an HDF5 file or a folder with some, by their names."""
    return bool(_files(path))


def load_hdf5(path: Path, layout: Hdf5Layout | None = None) -> Episodes[Hdf5Episode]:
    """All episodes of a file or a folder of files that are whole and like most of the others, in natural order.

    Without `layout` it is recognised, and changed by the options beside the data (`hdf5_layouts.OPTIONS`).
    ValueError when no episode can be read.
    """
    findings = inspect(_files(path), options_path(path), layout)
    if findings.layout is None or not findings.whole:
        reason = findings.lost[0] if findings.lost else f"it holds no *{' or *'.join(SUFFIXES)}"
        raise ValueError(f"{path} must hold an episode that can be read, but holds none: {reason}")
    common, _ = Counter(map(_shape, findings.whole)).most_common(1)[0]
    whole = [facts for facts in findings.whole if _shape(facts) == common]
    odd = [facts for facts in findings.whole if _shape(facts) != common]
    lost = findings.lost + [f"{f.path}, {f.group}: it has {_shape(f)}, but most have {common}" for f in odd]
    for reason in lost:
        logger.warning("left out: %s", reason)
    if lost:
        logger.warning("%s: %d episodes are read, %d episodes or files are left out", path, len(whole), len(lost))
    _say_what_is_unsaid(path, findings.layout, whole)
    files = Hdf5Files()
    episodes = [Hdf5Episode(files=files, layout=findings.layout, facts=facts) for facts in whole]
    return Episodes(episodes, left_out=len(lost), reasons=lost)


def load_spec(path: Path, layout: Hdf5Layout | None = None) -> RobotSpec:
    """What the layout knows of actions and states, with the rate and the ranges that are in the data."""
    episodes = load_hdf5(path, layout)
    layout, facts = episodes[0].layout, episodes[0].facts
    actions = np.concatenate([episode.actions(np.arange(len(episode))) for episode in episodes])
    unknown = tuple(Dimension(name=str(i), unit=UNKNOWN) for i in range(facts.action_dim))
    as_found = layout.ranges_as_found or not layout.dimensions
    space = ActionSpace(
        dimensions=tuple(
            _dimension(dimension, values, as_found)
            for dimension, values in zip(layout.dimensions or unknown, actions.T)
        ),
        frame=layout.frame,
        rotation=layout.rotation,
        relative=layout.relative,
    )
    hz = _rate([episode.facts for episode in episodes], layout)
    return RobotSpec(action_space=space, cameras=facts.cameras, state=facts.state, control_hz=hz)


def _files(path: Path) -> list[Path]:
    inside = path.iterdir() if path.is_dir() else [path]
    found = [file for file in inside if file.suffix in SUFFIXES and not file.name.startswith(".") and file.is_file()]
    return sorted(found, key=lambda file: natural(file.name))


def _shape(facts: Facts) -> str:
    cameras = ", ".join(f"{camera.name} {camera.height}x{camera.width}" for camera in facts.cameras)
    return f"actions of {facts.action_dim} numbers, states {', '.join(facts.state) or 'none'}, cameras {cameras}"


def _dimension(dimension: Dimension, values: np.ndarray, as_found: bool) -> Dimension:
    if as_found:
        low, high = float(values.min()), float(values.max())
        return replace(dimension, low=low, high=max(high, low + 1e-6))
    if dimension.kind == "binary" and not np.isin(values, (dimension.low, dimension.high)).all():
        logger.warning("action %r is binary by its layout, but takes other values here", dimension.name)
        return replace(dimension, kind="continuous")
    return dimension


def _rate(whole: Sequence[Facts], layout: Hdf5Layout) -> float:
    """As the files say; the mean where they differ, as with recorders that are driven by events."""
    said = [facts for facts in whole if facts.control_hz]
    if len({facts.control_hz for facts in said}) <= 1:
        return said[0].control_hz if said else layout.control_hz
    return sum(facts.length for facts in said) / sum(facts.length / facts.control_hz for facts in said)


def _say_what_is_unsaid(path: Path, layout: Hdf5Layout, whole: Sequence[Facts]) -> None:
    wordless = sum(facts.instructions == ("",) for facts in whole)
    if wordless:
        logger.warning(
            "%s: %d episodes have no instruction; give one as `words` in %s", path, wordless, options_path(path)
        )
    if not any(facts.control_hz for facts in whole):
        logger.warning("%s does not say its rate: %g Hz is taken from the layout", path, layout.control_hz)
    if layout.known and (layout.turn, layout.channels) == ("none", "rgb"):
        logger.info("%s: pictures are given as stored. %s (in %s)", path, layout.known, options_path(path))
