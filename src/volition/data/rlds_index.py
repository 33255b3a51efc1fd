"""What was found in a TFRecord file, kept so that the next opening need not read all of it again.

    FOLDER/SHARD.npz    numbers of its whole episodes, where their pictures lie, and what is wrong with the others

It counts while the file has the same size and time (a remote one: what its server tells its states apart by) and is
read for the same features. Checksums were tested when it was made; those of episodes taken from here are tested again
when their first picture is read.
"""

from __future__ import annotations

import json
import logging
import zipfile
import zlib
from collections.abc import Callable
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np

from volition.data.files import alone, replacing
from volition.data.fingerprint import state_of
from volition.data.tfrecord import DamagedRecordError, read_record

VERSION = 1
ABOUT = "about"  # the array that holds the JSON text

logger = logging.getLogger(__name__)


@dataclass(frozen=True, kw_only=True)
class Found:
    """One episode of a shard."""

    number: int  # of its record
    record: tuple[int, int]  # first byte and end of the record's data in the file
    instructions: tuple[str, ...]
    states: np.ndarray  # float32[n, S]
    actions: np.ndarray  # float32[n, A]
    pictures: dict[str, np.ndarray]  # camera -> int64[n, 2], first byte and end in the file


@dataclass(frozen=True, kw_only=True)
class Contents:
    episodes: tuple[Found, ...]
    problems: tuple[str, ...]


class Checked:
    """The records whose checksums this process has tested."""

    def __init__(self) -> None:
        self._records: set[tuple[str, int]] = set()

    def add(self, path: Path, record: tuple[int, int]) -> None:
        self._records.add((str(path), record[0]))

    def require(self, path: Path, found: Found) -> None:
        """ValueError where the checksum of its record is wrong."""
        if (str(path), found.record[0]) in self._records:
            return
        try:
            read_record(path, np.array(found.record))
        except DamagedRecordError as error:
            raise ValueError(f"{path}, episode {found.number}: {error}; download it again") from error
        self.add(path, found.record)


def remembered(folder: Path, path: Path, features: str, scan: Callable[[], Contents]) -> tuple[Contents, bool]:
    """What `scan` finds in the file `path`, and whether it was known: only otherwise is it called.

    `features` says in words what is read of it. Where nothing can be kept, nothing is.
    """
    key = {"version": VERSION, "state": state_of(path), "features": features}
    place = folder / f"{path.name}.npz"
    try:
        with alone(folder / "lock"):
            known = _read(place, key)
            if known is not None:
                return known, True
            found = scan()
            _write(place, key, found)
            return found, False
    except OSError as error:
        if isinstance(error, FileNotFoundError):
            raise
        logger.info("%s: no index can be kept in %s: %s", path, folder, error)
        return scan(), False


def _write(place: Path, key: dict[str, Any], contents: Contents) -> None:
    episodes = contents.episodes
    cameras = list(episodes[0].pictures) if episodes else []
    about = {
        "key": key,
        "problems": contents.problems,
        "numbers": [found.number for found in episodes],
        "records": [found.record for found in episodes],
        "instructions": [found.instructions for found in episodes],
        "lengths": [len(found.actions) for found in episodes],
        "cameras": cameras,
    }
    arrays = {ABOUT: np.frombuffer(json.dumps(about).encode(), np.uint8)}
    if episodes:
        arrays |= {
            "states": np.concatenate([found.states for found in episodes]),
            "actions": np.concatenate([found.actions for found in episodes]),
            **{
                f"pictures_{i}": np.concatenate([found.pictures[camera] for found in episodes])
                for i, camera in enumerate(cameras)
            },
        }
    with replacing(place) as temporary, temporary.open("wb") as file:
        np.savez(file, **arrays)  # type: ignore[arg-type]  # numpy's stub takes the names for options


def _read(place: Path, key: dict[str, Any]) -> Contents | None:
    """None where there is none, it is of another state of the file, or damaged: then it is made anew."""
    if not place.is_file():
        return None
    try:
        with place.open("rb") as opened, np.load(opened, allow_pickle=False) as file:
            about = json.loads(file[ABOUT].tobytes())
            if about["key"] != key:
                return None
            return _contents(about, {name: file[name] for name in file.files})
    except (ValueError, KeyError, TypeError, IndexError, EOFError, OSError, zipfile.BadZipFile, zlib.error) as error:
        logger.warning("%s is damaged (%r) and made anew", place, error)
        return None


def _contents(about: dict[str, Any], arrays: dict[str, np.ndarray]) -> Contents:
    ends = np.cumsum(about["lengths"], dtype=np.int64)
    episodes = []
    for i, (length, end) in enumerate(zip(about["lengths"], ends.tolist())):
        own = slice(end - length, end)
        episodes.append(
            Found(
                number=int(about["numbers"][i]),
                record=(int(about["records"][i][0]), int(about["records"][i][1])),
                instructions=tuple(about["instructions"][i]),
                states=arrays["states"][own],
                actions=arrays["actions"][own],
                pictures={camera: arrays[f"pictures_{k}"][own] for k, camera in enumerate(about["cameras"])},
            )
        )
    if episodes and len(arrays["actions"]) != ends[-1]:
        raise ValueError(f"it holds {len(arrays['actions'])} actions, not {ends[-1]}")
    return Contents(episodes=tuple(episodes), problems=tuple(about["problems"]))
