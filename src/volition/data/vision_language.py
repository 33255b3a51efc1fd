"""Questions about pictures, or captions, in the three ways in which people keep them, for co-training.

    load_questions(path) -> QuestionSet      path: a .jsonl or .json file, a .parquet file, or a folder of these last

    a line of .jsonl   {"image": "cup.png", "question": "where is the cup", "answer": "on the table"}
    LLaVA's .json      [{"image": "cup.png", "conversations": [{"from": "human", "value": "<image>\\nwhere ..."}, ...]}]
    .parquet           a column of pictures, and columns of words or of conversations: see `question_parquet`

A record that makes no sense, or without a picture, is left out aloud; only when none is left it is an error. Pictures
are read when a question is taken.
"""

from __future__ import annotations

import logging
from collections.abc import Sequence
from pathlib import Path
from typing import Protocol, runtime_checkable

import numpy as np

from volition.data.question_files import load_lines, load_list
from volition.data.question_parquet import load_parquet
from volition.data.question_words import Losses
from volition.records import VisionLanguageSample

TOLD = 5  # of the reasons why records are left out

logger = logging.getLogger(__name__)


@runtime_checkable
class QuestionSet(Protocol):
    """A sequence of questions that knows without reading them how many pictures each has."""

    @property
    def num_images(self) -> np.ndarray: ...  # int[n]
    def __len__(self) -> int: ...
    def __getitem__(self, index: int) -> VisionLanguageSample: ...  # ValueError or OSError where it is damaged


def load_questions(path: Path, pictures: Path | None = None) -> QuestionSet:
    """`pictures` is the folder from which names of pictures count: that of the file by default."""
    losses = Losses()
    folder = path.parent if pictures is None else pictures
    found: QuestionSet
    if path.suffix == ".jsonl" and path.is_file():
        found = load_lines(path, folder, losses)
    elif path.suffix == ".json" and path.is_file():
        found = load_list(path, folder, losses)
    elif files := _parquet_files(path):
        found = load_parquet(files, pictures or files[0].parent, losses)
    else:
        raise ValueError(
            f"{str(path)!r} must be a .jsonl, .json or .parquet file of questions about pictures, or a folder of "
            ".parquet files; there is none"
        )
    for reason in losses.reasons[:TOLD]:
        logger.warning("left out: %s", reason)
    if losses.reasons:
        logger.warning("%s: %d records are left out, %d questions are there", path, len(losses.reasons), len(found))
    if not len(found):
        raise ValueError(f"{path} must hold a question about a picture, but holds none: {losses.first}")
    return found


def num_images(questions: Sequence[VisionLanguageSample] | QuestionSet) -> np.ndarray:
    """int[n]: of every question."""
    if isinstance(questions, QuestionSet):
        return questions.num_images
    return np.array([len(questions[i].images) for i in range(len(questions))], np.int64)


def _parquet_files(path: Path) -> list[Path]:
    if path.suffix == ".parquet" and path.is_file():
        return [path]
    return sorted(path.glob("*.parquet")) if path.is_dir() else []
