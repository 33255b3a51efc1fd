"""Questions in a JSON file, pictures beside it: one object a line, or a list of objects as LLaVA keeps it.

`image` (or `images`) is a name of a picture from its folder on, or a list of names. The words of all records are held
in memory, pictures are not.
"""

from __future__ import annotations

import json
from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np

from volition.data.files import read_json
from volition.data.pictures import decode_image
from volition.data.question_words import Losses, turns
from volition.data.remote import RemotePath
from volition.records import VisionLanguageSample


@dataclass(frozen=True)
class QuestionFile:
    """Implements `vision_language.QuestionSet`."""

    folder: Path
    lines: tuple[tuple[tuple[str, ...], str, str], ...]  # pictures, question, answer

    @property
    def num_images(self) -> np.ndarray:
        return np.array([len(images) for images, _, _ in self.lines], np.int64)

    def __len__(self) -> int:
        return len(self.lines)

    def __getitem__(self, index: int) -> VisionLanguageSample:
        images, question, answer = self.lines[index]
        return VisionLanguageSample(tuple(_read(self.folder / name) for name in images), question, answer)


def load_lines(path: Path, folder: Path, losses: Losses) -> QuestionFile:
    """A .jsonl file: an object a line, of any of the layouts."""

    def records() -> Iterator[tuple[str, Any]]:
        data = path.read_bytes()
        for number, line in enumerate(data.splitlines(), start=1):
            if line.strip():
                yield f"{path}:{number}", line

    return _loaded(records(), folder, losses)


def load_list(path: Path, folder: Path, losses: Losses) -> QuestionFile:
    """A .json file with a list of objects. Where the JSON itself is damaged, nothing of it can be read."""
    tree = read_json(path)
    if not isinstance(tree, list):
        raise ValueError(f"{path} must be a list of records as LLaVA keeps it, but is {type(tree).__name__}")
    return _loaded(((f"{path}, record {number}", record) for number, record in enumerate(tree)), folder, losses)


def _loaded(records: Iterator[tuple[str, Any]], folder: Path, losses: Losses) -> QuestionFile:
    found = []
    for name, given in records:
        try:
            record = json.loads(given) if isinstance(given, bytes) else given
            images = _images(record, folder)
            found += [(images, question, answer) for question, answer in turns(record, len(images))]
        except (ValueError, RecursionError) as error:  # bytes that are no text are ValueErrors too
            losses.reasons.append(f"{name}: {error}")
    return QuestionFile(folder, tuple(found))


def _images(record: Any, folder: Path) -> tuple[str, ...]:
    """Names of the pictures of a record; all must be there, as far as that is cheap to ask."""
    if not isinstance(record, dict):
        raise ValueError(f"it must be an object with image, question and answer, but is {str(record)[:60]!r}")
    given = record["images"] if record.get("images") is not None else record.get("image")
    names = [given] if isinstance(given, str) else given
    if not isinstance(names, list) or not names or not all(isinstance(name, str) and name for name in names):
        raise ValueError(f"image must name a picture, or several in a list, but is {str(given)[:60]!r}")
    outside = [name for name in names if Path(name).is_absolute() or ".." in Path(name).parts or "\0" in name]
    if outside:
        raise ValueError(f"pictures must lie in {folder}, but {outside[:3]} do not")
    missing = [] if isinstance(folder, RemotePath) else [name for name in names if not _is_file(folder / name)]
    if missing:
        raise ValueError(f"it names pictures that are not in {folder}: {missing[:3]}")
    return tuple(names)


def _is_file(path: Path) -> bool:
    try:
        return path.is_file()
    except OSError:  # a name that is too long for any file
        return False


def _read(path: Path) -> np.ndarray:
    """uint8[height, width, 3]"""
    return decode_image(path.read_bytes(), str(path))
