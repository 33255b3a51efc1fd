"""Questions in parquet files, pictures inside, as the library `datasets` of Hugging Face writes them.

    image | images                  bytes, {"bytes", "path"}, or a list of them; a path alone is a file beside the table
    question, answer | caption ...  as in `question_words`; columns of other names are in OTHER

A row group is read when a question of it is taken, and kept until one of another group is.
"""

from __future__ import annotations

from collections.abc import Sequence
from pathlib import Path
from typing import Any

import numpy as np
import pyarrow as pa
import pyarrow.parquet as pq

from volition.data.files import understood
from volition.data.lerobot import opened_parquet, parquet_complaints
from volition.data.pictures import decode_image
from volition.data.question_words import COLUMNS, Losses, Turn, turns
from volition.records import VisionLanguageSample

PICTURES = ("images", "image")
OTHER = {"text": "caption", "captions": "caption", "query": "question", "label": "answer", "conversation": "messages"}


class ParquetQuestions:
    """Implements `vision_language.QuestionSet`."""

    def __init__(self, folder: Path, files: Sequence[Path], places: np.ndarray, num_images: np.ndarray) -> None:
        """`places` int[n, 4]: file, row group, row of the group, and which of its questions."""
        self.folder, self.files, self.places, self.num_images = folder, tuple(files), places, num_images
        self._group: tuple[tuple[int, int], list[dict[str, Any]]] | None = None

    def __len__(self) -> int:
        return len(self.places)

    def __getitem__(self, index: int) -> VisionLanguageSample:
        number, group, row, turn = self.places[index].tolist()
        path = self.files[number]
        record = self._rows(number, group)[row]
        with understood(path, f"hold a question in row {row} of group {group}"):
            pictures = _pictures(record)
            question, answer = turns(_named(record), len(pictures))[turn]
        where = f"{path}, row {row} of group {group}"
        return VisionLanguageSample(tuple(_decoded(x, self.folder, where) for x in pictures), question, answer)

    def __getstate__(self) -> dict[str, Any]:
        return self.__dict__ | {"_group": None}

    def _rows(self, number: int, group: int) -> list[dict[str, Any]]:
        if self._group is None or self._group[0] != (number, group):
            self._group = (number, group), _read_group(self.files[number], group, _columns(self.files[number]))
        return self._group[1]


def load_parquet(files: Sequence[Path], folder: Path, losses: Losses) -> ParquetQuestions:
    """Of all files in order; a damaged file costs that file."""
    places: list[tuple[int, int, int, int]] = []
    counts: list[int] = []
    for number, path in enumerate(files):
        try:
            for group in range(opened_parquet(path).num_row_groups):
                for row, record in enumerate(_read_group(path, group, _columns(path))):
                    found = _questions(record, f"{path}, row {row} of group {group}", losses)
                    places += [(number, group, row, turn) for turn in range(found[1])]
                    counts += [found[0]] * found[1]
        except (ValueError, FileNotFoundError) as error:
            losses.reasons.append(str(error))
    return ParquetQuestions(folder, files, np.array(places, np.int64).reshape(-1, 4), np.array(counts, np.int64))


def _questions(record: dict[str, Any], name: str, losses: Losses) -> tuple[int, int]:
    """How many pictures and how many questions a row has; none where it makes no sense."""
    try:
        pictures = _pictures(record)
        found: list[Turn] = turns(_named(record), len(pictures))
        return len(pictures), len(found)
    except (ValueError, TypeError) as error:
        losses.reasons.append(f"{name}: {error}")
        return 0, 0


def _columns(path: Path) -> list[str]:
    names = opened_parquet(path).schema_arrow.names
    found = [name for name in (*PICTURES, *COLUMNS, *OTHER) if name in names]
    if not set(found) & set(PICTURES) or not set(found) - set(PICTURES):
        raise ValueError(
            f"{path} must have a column of pictures ({' or '.join(PICTURES)}) and one of words "
            f"({', '.join((*COLUMNS, *OTHER))}), but has {names[:12]}"
        )
    return found


def _read_group(path: Path, group: int, columns: list[str]) -> list[dict[str, Any]]:
    file: pq.ParquetFile = opened_parquet(path)
    with parquet_complaints(path):
        table: pa.Table = file.read_row_group(group, columns)
        rows: list[dict[str, Any]] = table.to_pylist()
    return rows


def _named(record: dict[str, Any]) -> dict[str, Any]:
    """With columns of other names under ours."""
    named = {OTHER[name]: value for name, value in record.items() if name in OTHER and value is not None}
    return named | {name: value for name, value in record.items() if name not in OTHER and value is not None}


def _pictures(record: dict[str, Any]) -> list[bytes | str]:
    """Bytes, or the name of a file, of every picture."""
    given = next((record[name] for name in PICTURES if record.get(name) is not None), None)
    found = [_picture(cell) for cell in (given if isinstance(given, list) else [given])]
    if not found:
        raise ValueError("it has no picture")
    return found


def _picture(cell: Any) -> bytes | str:
    if isinstance(cell, dict):
        cell = cell.get("bytes") or cell.get("path")
    if not isinstance(cell, bytes | str) or not cell:
        raise ValueError(f"a picture must be bytes or the name of a file, but is {str(cell)[:60]!r}")
    return cell


def _decoded(picture: bytes | str, folder: Path, where: str) -> np.ndarray:
    """uint8[height, width, 3]"""
    if isinstance(picture, bytes):
        return decode_image(picture, where)
    if Path(picture).is_absolute() or ".." in Path(picture).parts or "\0" in picture:
        raise ValueError(f"{where}: the picture {picture!r} must lie in {folder}")
    return decode_image((folder / picture).read_bytes(), str(folder / picture))
