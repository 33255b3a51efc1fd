"""Files of other machines on this disk: as many as the limit allows, each whole or not at all, shared by processes.

    FOLDER/ab/KEY.json   whose file it is, how long it will be; with its SHA-256 once it is whole
    FOLDER/ab/KEY.part   being brought           FOLDER/ab/KEY    whole: appears under this name only then
    FOLDER/locks/ab      held by whoever brings one of these; the system ends that when a process dies
    FOLDER/locks/room    held while room is made; it contains how many bytes are spoken for

What was used longest ago goes first. A file's length is checked before it counts, its SHA-256 when a process uses it
first. A name that was handed out stays good for some seconds at least, so that there is time to open the file; what is
open stays readable anyway.
"""

from __future__ import annotations

import fcntl
import hashlib
import logging
import os
import time
from collections.abc import Callable, Iterator
from contextlib import contextmanager, suppress
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from volition.data.files import alone, read_json, sha256, sync, understood, write_json

GRACE = 10.0  # seconds for which a name that was handed out is good
PAUSE = 0.2  # seconds between two looks for room, while all that is there is in use
KEEP = 0.9  # of the limit, once room has to be made: so that it is not made for every small file again

logger = logging.getLogger(__name__)


class TornError(Exception):
    """What came is not what was announced."""


@dataclass(frozen=True, kw_only=True)
class Wanted:
    """A file in the state in which the server has it."""

    url: str
    size: int
    version: str  # whatever the server tells states of a file apart by
    md5: str = ""  # hexadecimal, where the server says it

    @property
    def key(self) -> str:
        return hashlib.sha256(f"{self.url}\0{self.size}\0{self.version}".encode()).hexdigest()[:40]

    @property
    def about(self) -> dict[str, Any]:
        return {"url": self.url, "version": self.version, "size": self.size}


class RemoteCache:
    """A folder of them, as one process uses it."""

    def __init__(self, folder: Path, limit: int) -> None:
        """`limit` in bytes, of all files together."""
        self.folder, self.limit = folder, limit
        self._used: dict[Path, float] = {}  # file -> when this process said last that it uses it; it is checked then

    def file(self, wanted: Wanted, bring: Callable[[Path], None]) -> Path:
        """Where the file is; `bring` writes it to the path that it is given, if it has to come.

        TornError when what was written is not what is wanted, ValueError when no limit would allow it; what `bring`
        raises, and OSError when the disk does not take it.
        """
        place = self.folder / wanted.key[:2] / wanted.key
        if time.time() - self._used.get(place, 0.0) < GRACE / 2 and place.is_file():
            return place
        place.parent.mkdir(parents=True, exist_ok=True)
        with alone(self._lock(place)):
            if not self._is_whole(place, wanted):
                self._make_room(place, wanted)
                self._bring(place, wanted, bring)
            os.utime(place)
        self._used[place] = time.time()
        return place

    def _is_whole(self, place: Path, wanted: Wanted) -> bool:
        if not place.is_file():
            return False
        if place.stat().st_size == wanted.size and (place in self._used or _about(place)[1] == sha256(place)):
            return True
        logger.warning("%s: the copy in %s has changed since it was brought; it is brought again", wanted.url, place)
        self._drop(place)
        return False

    def _bring(self, place: Path, wanted: Wanted, bring: Callable[[Path], None]) -> None:
        part = place.with_suffix(".part")
        try:
            bring(part)
            size = part.stat().st_size
            if size != wanted.size:
                raise TornError(f"{size} bytes came of {wanted.size}")
            if wanted.md5 and _md5(part) != wanted.md5:
                raise TornError("the bytes that came have another MD5 than the server says")
            sync(part)
            write_json(place.with_suffix(".json"), wanted.about | {"sha256": sha256(part)})
            part.replace(place)
        except BaseException:
            part.unlink(missing_ok=True)
            self._drop(place)
            raise

    def _make_room(self, place: Path, wanted: Wanted) -> None:
        """Speak for its bytes, removing others while there is no room; waits for those that are in use just now."""
        if wanted.size > self.limit:
            raise ValueError(
                f"{wanted.url} has {wanted.size / 1e9:.3f} GB, more than the cache for remote files may hold, "
                f"{self.limit / 1e9:.3f} GB; raise the limit"
            )
        while True:
            with self._room() as room:
                taken = int(room.read_text() or 0)
                if taken + wanted.size > self.limit:
                    taken = self._remove(place, max(0, int(self.limit * KEEP) - wanted.size))
                if taken + wanted.size <= self.limit:
                    write_json(place.with_suffix(".json"), wanted.about)
                    room.write_text(str(taken + wanted.size))
                    return
                room.write_text(str(taken))
            time.sleep(PAUSE)

    def _remove(self, place: Path, most: int) -> int:
        """Remove what was used longest ago until at most `most` bytes are spoken for by others; how many then are."""
        sizes, ages = {}, {}
        for path in self.folder.glob("??/[!.]*.json"):
            file = path.with_suffix("")
            sizes[file] = 0 if file == place else _about(file)[0]
            with suppress(FileNotFoundError):
                ages[file] = file.stat().st_mtime
        taken = sum(sizes.values())
        for file in sorted(sizes, key=lambda file: ages.get(file, 0.0)):
            if taken <= most:
                break
            if file != place and self._removed(file):
                taken -= sizes[file]
        return taken

    def _removed(self, file: Path) -> bool:
        """Whether it is gone now: not while it may be in use, nor while a living process brings it."""
        with self._lock(file).open("wb") as lock:
            try:
                fcntl.flock(lock, fcntl.LOCK_EX | fcntl.LOCK_NB)
            except BlockingIOError:
                return False
            if file.is_file() and time.time() - file.stat().st_mtime < GRACE:
                return False
            self._drop(file)
            return True

    def _drop(self, file: Path) -> None:
        for path in (file, file.with_suffix(".part"), file.with_suffix(".json")):
            path.unlink(missing_ok=True)
        self._used.pop(file, None)

    @contextmanager
    def _room(self) -> Iterator[Path]:
        with alone(self.folder / "locks" / "room"):
            count = self.folder / "locks" / "taken"
            if not count.is_file():
                count.write_text("0")
            yield count

    def _lock(self, place: Path) -> Path:
        lock = self.folder / "locks" / place.parent.name
        lock.parent.mkdir(parents=True, exist_ok=True)
        return lock


def _about(file: Path) -> tuple[int, str]:
    """Size and SHA-256 of a file; 0 and "" where that is not known, so that it counts as damaged."""
    path = file.with_suffix(".json")
    try:
        with understood(path, "say size and sha256 of a file of the cache"):
            tree = read_json(path)
            return int(tree["size"]), str(tree.get("sha256", ""))
    except (ValueError, FileNotFoundError):
        return 0, ""


def _md5(path: Path) -> str:
    with path.open("rb") as file:
        return hashlib.file_digest(file, lambda: hashlib.md5(usedforsecurity=False)).hexdigest()
