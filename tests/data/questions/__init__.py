"""A small set of questions in every form that is read, for the suites that run over all of them.

MAKERS[name](root) writes one under `root` and returns what to open: QUESTIONS, about PICTURES.
"""

from __future__ import annotations

import json
from collections.abc import Callable, Sequence
from pathlib import Path
from typing import Any

import numpy as np
import pyarrow as pa
import pyarrow.parquet as pq

from volition.data.pictures import encode_image

PICTURES = [np.random.default_rng(seed).integers(0, 256, (9, 8 + seed, 3), np.uint8) for seed in range(4)]
# pictures, question, answer
QUESTIONS: list[tuple[tuple[int, ...], str, str]] = [
    ((0,), "where is the cup", "on the table"),
    ((1,), "which colour has it", "red"),
    ((2, 3), "what is different", "the lamp"),
    ((3,), "", "a lamp beside a window"),
]


def _write_pictures(root: Path) -> None:
    (root / "pictures").mkdir(parents=True)
    for number, picture in enumerate(PICTURES):
        (root / f"pictures/{number}.png").write_bytes(encode_image(picture, "png"))


def _names(pictures: Sequence[int]) -> list[str]:
    return [f"pictures/{number}.png" for number in pictures]


def make_lines(root: Path) -> Path:
    _write_pictures(root)
    lines = [{"image": _names(pictures), "question": q, "answer": a} for pictures, q, a in QUESTIONS]
    (root / "questions.jsonl").write_text("".join(json.dumps(line) + "\n" for line in lines))
    return root / "questions.jsonl"


def conversation(pictures: Sequence[int], question: str, answer: str) -> list[dict[str, str]]:
    asked = "<image>\n" * len(pictures) + question
    return [{"from": "human", "value": asked}, {"from": "gpt", "value": answer}]


def make_llava(root: Path) -> Path:
    _write_pictures(root)
    records = [
        {"id": str(i), "image": _names(p)[0] if len(p) == 1 else _names(p), "conversations": conversation(p, q, a)}
        for i, (p, q, a) in enumerate(QUESTIONS)
    ]
    (root / "llava.json").write_text(json.dumps(records))
    return root / "llava.json"


def _cell(number: int) -> dict[str, Any]:
    return {"bytes": encode_image(PICTURES[number], "png"), "path": f"{number}.png"}


def make_parquet(root: Path) -> Path:
    """Two files, of several row groups."""
    root.mkdir(parents=True, exist_ok=True)
    rows = [{"images": [_cell(i) for i in p], "question": q, "answer": a} for p, q, a in QUESTIONS]
    for number, part in enumerate((rows[:3], rows[3:])):
        pq.write_table(pa.Table.from_pylist(part), root / f"train-{number:05d}-of-00002.parquet", row_group_size=2)
    return root


def make_conversations(root: Path) -> Path:
    """One file, pictures as bytes alone."""
    root.mkdir(parents=True, exist_ok=True)
    rows = [
        {"images": [_cell(i)["bytes"] for i in p], "texts": [{"user": q, "assistant": a, "source": "x"}]}
        for p, q, a in QUESTIONS
    ]
    pq.write_table(pa.Table.from_pylist(rows), root / "conversations.parquet")
    return root / "conversations.parquet"


MAKERS: dict[str, Callable[[Path], Path]] = {
    "jsonl": make_lines,
    "llava": make_llava,
    "parquet": make_parquet,
    "parquet/conversations": make_conversations,
}
