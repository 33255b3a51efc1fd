"""What is in HDF5 files, found out in a process of its own: the HDF5 library may hang or crash on a damaged file.

    inspect(paths, options, layout) -> the layout, facts about every whole episode, and why the others are lost

A block of zeros where the texts of attributes lie is enough for an endless loop inside the library, which nothing in
the same process can end. So files are opened elsewhere first; one that takes that process down costs that file only.
"""

from __future__ import annotations

import multiprocessing
import os
import re
from collections.abc import Sequence
from dataclasses import dataclass, field, replace
from multiprocessing.connection import Connection
from pathlib import Path
from typing import Any

from volition.contract import Camera
from volition.data import hdf5_contents as contents
from volition.data.hdf5_files import Hdf5Files, library, listed, lookup, matching, reading, texts
from volition.data.hdf5_layouts import LAYOUTS, Hdf5Layout, read_layout

PATIENCE = 30.0  # seconds without a word after which the process counts as hanging


@dataclass(frozen=True, kw_only=True)
class Facts:
    """Of one whole episode."""

    path: Path
    group: str  # "/" where the file is one episode
    length: int
    task: str
    instructions: tuple[str, ...]
    cameras: tuple[Camera, ...]
    state: tuple[str, ...]  # names
    action_dim: int
    control_hz: float  # 0 where the file does not say


@dataclass(kw_only=True)
class Findings:
    layout: Hdf5Layout | None
    whole: list[Facts] = field(default_factory=list)
    lost: list[str] = field(default_factory=list)  # one reason for every episode or file


def inspect(paths: Sequence[Path], options: Path, layout: Hdf5Layout | None) -> Findings:
    """Look at all files. Without a `layout` the first readable file shows it, and the file `options` changes it."""
    read_layout(options, LAYOUTS[0])  # a mistake in it is no damage to the files
    library()  # loaded here once, and not in every process
    findings, left = Findings(layout=layout), list(paths)
    while left:
        ended = _take_from_process(left, options, findings)
        if left:
            bad = left.pop(0)
            findings.lost.append(f"{bad}: the HDF5 library {ended}; it is damaged, restore it from a copy")
            findings.whole = [facts for facts in findings.whole if facts.path != bad]
    return findings


def _take_from_process(left: list[Path], options: Path, findings: Findings) -> str:
    """Give files to a process and take in what it finds out, removing from `left` what is done; then how it ended."""
    context = multiprocessing.get_context("fork")  # starting afresh would take longer than most datasets
    ours, theirs = context.Pipe()
    process = context.Process(target=_tell, args=(theirs, ours, options, findings.layout), daemon=True)
    process.start()
    theirs.close()
    try:
        if not ours.poll(PATIENCE):
            raise RuntimeError("another thread of this process is using HDF5; load datasets before starting threads")
        ours.recv()
        while left:
            os.fspath(left[0])  # a remote file comes here now: that may take long, and is no hanging
            ours.send(left[0])
            while (message := _heard(ours)) is not None:
                _take(message, left[0], findings)
            left.pop(0)
        return "is done"
    except TimeoutError:
        return f"hung for {PATIENCE:g} s"
    except (EOFError, ConnectionError):
        process.join()
        return f"crashed (exit status {process.exitcode})"
    finally:
        process.kill()
        process.join()
        ours.close()


def _heard(pipe: Connection) -> Facts | Hdf5Layout | str | None:
    """What the process says next about a file; None when it is done with it."""
    if not pipe.poll(PATIENCE):
        raise TimeoutError
    message: Facts | Hdf5Layout | str | None = pipe.recv()
    return message


def _take(message: Facts | Hdf5Layout | str, path: Path, findings: Findings) -> None:
    match message:
        case Facts():
            findings.whole.append(replace(message, path=path))  # the path that knows its server, not a copy
        case Hdf5Layout():
            findings.layout = message
        case str():
            findings.lost.append(message)


def _tell(pipe: Connection, others: Connection, options: Path, layout: Hdf5Layout | None) -> None:
    """The other process: says None once the library answers, then for every file what it finds out, and None."""
    others.close()  # so that the end of its owner is the end of this pipe
    library().h5.get_libversion()
    pipe.send(None)
    files = Hdf5Files()
    while True:
        try:
            path = pipe.recv()
        except EOFError:
            return
        try:
            top = files.open(path)
            with reading(str(path)):
                if layout is None:
                    layout = _recognised(top, options)
                    pipe.send(layout)
                groups = _episodes(top, layout)
            for group in groups:
                pipe.send(_facts_or_reason(files, path, group, layout))
        except (ValueError, FileNotFoundError) as error:
            pipe.send(str(error))
        pipe.send(None)


def _facts_or_reason(files: Hdf5Files, path: Path, group: str, layout: Hdf5Layout) -> Facts | str:
    try:
        with reading(f"{path}, {group}"):
            return _facts(files, path, group, layout)
    except ValueError as error:
        return str(error)


def _recognised(top: Any, options: Path) -> Hdf5Layout:
    found = next((layout for layout in LAYOUTS if all(_has(top, sign) for sign in layout.signs)), None)
    if found is None and not options.is_file():
        signs = "; ".join(f"{layout.name}: {' and '.join(layout.signs)}" for layout in LAYOUTS)
        raise ValueError(
            f"it shows the signs of no layout ({signs}), but holds {listed(top)}; describe it in {options}"
        )
    return read_layout(options, found)


def _has(top: Any, pattern: str) -> bool:
    return next(matching(top, pattern), None) is not None


def _episodes(top: Any, layout: Hdf5Layout) -> list[str]:
    groups = [group.name for group in matching(top, layout.episodes)] if layout.episodes else ["/"]
    if not groups:
        raise ValueError(f"it must hold episodes {layout.episodes!r}, but holds {listed(top)}")
    return groups


def _facts(files: Hdf5Files, path: Path, name: str, layout: Hdf5Layout) -> Facts:
    """Of an episode whose data are there, of the right kind, equally long and finite; ValueError for any other."""
    group = files.open(path)[name]
    actions, states = contents.actions(group, layout), contents.states(group, layout)
    pictures = contents.cameras(group, layout)
    lengths = {layout.actions: len(actions)} | {key: len(values) for key, values in states.items()}
    lengths |= {contents.name_of(dataset): len(dataset) for dataset in pictures}
    declared = lookup(group, layout.length) if layout.length else None
    lengths |= {} if declared is None else {layout.length: int(declared)}
    if len(set(lengths.values())) != 1 or not len(actions):
        raise ValueError(f"there must be one frame or more, and as many of everything, but there are {lengths}")
    state = tuple(f"{key}_{i}" for key, values in states.items() for i in range(values.shape[1]))
    for what, names, width in (
        ("actions", layout.dimensions, actions.shape[1]),
        ("states", layout.state_names, len(state)),
    ):
        if names and len(names) != width:
            raise ValueError(f"{what} of the layout {layout.name!r} have {len(names)} dimensions, but here {width}")
    return Facts(
        path=path,
        group=name,
        length=len(actions),
        task=_task(group, layout),
        instructions=_instructions(group, path, layout),
        cameras=tuple(contents.camera_of(dataset) for dataset in pictures),
        state=layout.state_names or state,
        action_dim=actions.shape[1],
        control_hz=_rate(group, layout, len(actions)),
    )


def _task(group: Any, layout: Hdf5Layout) -> str:
    value = lookup(group, layout.task) if layout.task else None
    match = re.match(layout.task_holds, " ".join(texts(value))) if value is not None else None
    return (match.group(1) or "") if match else ""


def _instructions(group: Any, path: Path, layout: Hdf5Layout) -> tuple[str, ...]:
    for address in layout.instruction:
        value = lookup(group, address)
        if value is not None and texts(value):
            return texts(value)
    match = re.match(layout.name_holds, path.stem) if layout.name_holds else None
    return (match.group(1).replace("_", " "),) if match else (layout.words,)


def _rate(group: Any, layout: Hdf5Layout, length: int) -> float:
    for address, frames in ((layout.rate, 1.0), (layout.seconds, float(length))):
        value = lookup(group, address) if address else None
        if value is not None:
            rate = float(value) if address == layout.rate else frames / float(value)
            if not 0 < rate < float("inf"):
                raise ValueError(f"{address} must make a rate above 0, but makes {rate}")
            return rate
    return 0.0
