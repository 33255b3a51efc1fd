"""Every request and what became of it in files, for a look back and for a comparison with another policy.

    DIR/requests-000000.log ...   [length, 4 bytes little-endian][message of `volition_client.codec`] ...

A record holds the session, when the request came, the observation as it came and the answer, or why there is none.
What could not be read as an observation is not recorded. A thread of its own writes; a full disk is an error of the
request, not a silent gap. A torn end (the machine went down) costs the record that was being written.
"""

from __future__ import annotations

import asyncio
import logging
import struct
from collections.abc import Iterator
from concurrent.futures import ThreadPoolExecutor
from dataclasses import dataclass
from io import FileIO
from pathlib import Path
from typing import Any

from volition_client.codec import DecodeError, DecodeLimits, pack, unpack

logger = logging.getLogger(__name__)
FILE_BYTES = 256 << 20  # a file that is longer is followed by another
ANSWERED = "answered"
HELD = "held"  # repeated too late: it was answered before, and now with the hold; the memory took no second step
_LENGTH = struct.Struct("<I")


@dataclass(frozen=True, kw_only=True)
class Record:
    session: str
    fresh: bool  # the policy began anew with this request
    message: dict[str, Any]
    answer: dict[str, Any]  # empty where there was none
    at: float | None = None  # seconds since 1970 by this machine's clock; None: recorded before that was kept
    outcome: str = ANSWERED  # or HELD, or the type of the error, or "abandoned": the client left


class Recorder:
    """Goes on after the files that a folder has already."""

    def __init__(self, folder: Path):
        folder.mkdir(parents=True, exist_ok=True)
        self._folder, self._file = folder, _create(folder)
        self._thread = ThreadPoolExecutor(1, thread_name_prefix="volition-recorder")

    async def write(self, record: Record) -> None:
        written = asyncio.get_running_loop().run_in_executor(self._thread, self._append, record)
        try:
            await asyncio.shield(written)
        except asyncio.CancelledError:  # the client left: what it was answered is recorded all the same
            await written
            raise

    def close(self) -> None:
        self._thread.shutdown()
        self._file.close()

    def _append(self, record: Record) -> None:
        if self._file.tell() > FILE_BYTES:
            following = _create(self._folder)
            self._file.close()
            self._file = following
        data = pack(vars(record))
        left, start = memoryview(_LENGTH.pack(len(data)) + data), self._file.tell()
        try:
            while left:
                left = left[self._file.write(left) :]
        except OSError:  # a full disk: what follows must not come after half a record
            self._file.truncate(start)
            self._file.seek(start)
            raise


def _create(folder: Path) -> FileIO:
    number = max((int(path.stem.rpartition("-")[2]) for path in recorded_files(folder)), default=-1) + 1
    return (folder / f"requests-{number:06d}.log").open("xb", buffering=0)


def recorded_files(folder: Path) -> list[Path]:
    return sorted(folder.glob("requests-[0-9][0-9][0-9][0-9][0-9][0-9].log"))


def read_records(folder: Path) -> Iterator[Record]:
    """All records in the order in which they were answered; ValueError for a folder without, or a damaged file."""
    files = recorded_files(folder)
    if not files:
        raise ValueError(f"{folder} must be a folder that `volition serve --record` wrote, and has no requests-*.log")
    limits = DecodeLimits(max_bytes=1 << 30, max_depth=8)
    for path in files:
        with path.open("rb") as file:
            while head := file.read(_LENGTH.size):
                data = file.read(_LENGTH.unpack(head)[0]) if len(head) == _LENGTH.size else b""
                if len(head) < _LENGTH.size or len(data) < _LENGTH.unpack(head)[0]:
                    logger.warning("%s ends within a record, which is left out", path)
                    break
                try:
                    yield Record(**unpack(data, limits))
                except (DecodeError, TypeError) as error:
                    raise ValueError(f"{path} is damaged after {file.tell() - len(data)} bytes: {error}") from error
