"""Writing so that a crash leaves either the old file or the new one, and reading so that errors name the file."""

from __future__ import annotations

import fcntl
import glob
import hashlib
import json
import os
import time
import uuid
from collections.abc import Iterator
from contextlib import contextmanager, suppress
from pathlib import Path
from typing import Any

ABANDONED = 86_400.0  # seconds after which half a file is taken for one whose writer was killed


@contextmanager
def replacing(path: Path) -> Iterator[Path]:
    """A temporary name to write to; becomes `path` when the block ends well, disappears when it does not.

    The name is this block's alone: two processes that end one evaluation write the same file at the same time.
    """
    path.parent.mkdir(parents=True, exist_ok=True)
    for left in path.parent.glob(f".{glob.escape(path.name)}.*.part{glob.escape(path.suffix)}"):
        with suppress(FileNotFoundError):
            if time.time() - left.stat().st_mtime > ABANDONED:
                left.unlink()
    temporary = path.with_name(f".{path.name}.{uuid.uuid4().hex[:8]}.part{path.suffix}")
    try:
        yield temporary
        sync(temporary)
        temporary.replace(path)
    except BaseException:
        temporary.unlink(missing_ok=True)
        raise


def sync(path: Path) -> None:
    """Have the file or folder on the disk, not only in the memory of the system."""
    descriptor = os.open(path, os.O_RDONLY)
    try:
        os.fsync(descriptor)
    finally:
        os.close(descriptor)


@contextmanager
def alone(path: Path) -> Iterator[None]:
    """Waits until no other process is within; the system ends that when a process dies. `path` is made for it."""
    path.parent.mkdir(parents=True, exist_ok=True)
    with path.open("wb") as file:
        fcntl.flock(file, fcntl.LOCK_EX)
        yield


def sha256(path: Path) -> str:
    """Of a file's content; some 2 GB/s where the processor has instructions for it."""
    with path.open("rb") as file:
        return hashlib.file_digest(file, "sha256").hexdigest()


def write_json(path: Path, tree: Any) -> None:
    with replacing(path) as temporary:
        temporary.write_text(json.dumps(tree, indent=2) + "\n", encoding="utf-8")


def read_json(path: Path) -> Any:
    """The content of a JSON file; FileNotFoundError or ValueError that names the file."""
    if not path.is_file():
        raise FileNotFoundError(f"{path} must exist but is missing; is {path.parent} the right folder, and complete?")
    try:
        return json.loads(path.read_text(encoding="utf-8"))
    except ValueError as error:
        raise ValueError(f"{path} must be JSON, but {error}; restore it from a copy") from error


@contextmanager
def understood(path: Path, must: str) -> Iterator[None]:
    """What does not make sense in a file that is being taken apart becomes an error that names the file."""
    try:
        yield
    except (KeyError, TypeError, ValueError, AttributeError, IndexError, OverflowError) as error:
        raise ValueError(f"{path} must {must}, but {error!r}; restore it from a copy") from error


def json_differences(left: Any, right: Any, path: str = "") -> list[str]:
    """'record.perform.seed: 7 != 0' for every leaf in which two JSON values differ."""
    if isinstance(left, dict) and isinstance(right, dict):
        names = sorted({*left, *right})
        parts = [(f"{path}.{name}" if path else name, left.get(name), right.get(name)) for name in names]
        return [line for name, a, b in parts for line in json_differences(a, b, name)]
    return [] if left == right else [f"{path}: {left!r} != {right!r}"]
