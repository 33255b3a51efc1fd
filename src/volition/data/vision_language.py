"""Questions about pictures from a file: one JSON object a line, pictures beside it.

    {"image": "kitchen.png", "question": "where is the cup", "answer": "on the table"}

`image` is a path from the file's folder, or a list of them. A caption has an empty question.
"""

from __future__ import annotations

import json
from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path

import numpy as np
from PIL import Image

from volition.records import VisionLanguageSample

FIELDS = {"image": str | list, "question": str, "answer": str}


@dataclass(frozen=True)
class QuestionFile(Sequence[VisionLanguageSample]):
    """Pictures are read when a question is taken."""

    folder: Path
    lines: tuple[tuple[tuple[str, ...], str, str], ...]  # pictures, question, answer

    def __len__(self) -> int:
        return len(self.lines)

    def __getitem__(self, index: int) -> VisionLanguageSample:  # type: ignore[override]  # nobody needs slices
        images, question, answer = self.lines[index]
        return VisionLanguageSample(tuple(_read(self.folder / name) for name in images), question, answer)


def load_questions(path: Path) -> QuestionFile:
    """All lines are checked now, and that every picture is there."""
    if not path.is_file():
        raise ValueError(f"{str(path)!r} must be a JSONL file of questions about pictures; there is none")
    lines = []
    for number, text in enumerate(path.read_text().splitlines(), start=1):
        try:
            found = json.loads(text)
        except json.JSONDecodeError as error:
            raise ValueError(f"{path}:{number} must be a JSON object: {error}") from error
        if not (isinstance(found, dict) and all(isinstance(found.get(name), kind) for name, kind in FIELDS.items())):
            raise ValueError(f"{path}:{number} must be an object with {', '.join(FIELDS)}, got {text[:100]}")
        images = (found["image"],) if isinstance(found["image"], str) else tuple(found["image"])
        missing = [name for name in images if not (path.parent / name).is_file()]
        if missing:
            raise ValueError(f"{path}:{number} names pictures that are not in {path.parent}: {missing}")
        lines.append((images, found["question"], found["answer"]))
    return QuestionFile(path.parent, tuple(lines))


def _read(path: Path) -> np.ndarray:
    """uint8[height, width, 3]"""
    with Image.open(path) as picture:
        return np.array(picture.convert("RGB"))
