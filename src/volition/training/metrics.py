"""metrics.jsonl: one JSON object a line, flushed as it comes; a resumed run first drops what it is about to repeat."""

from __future__ import annotations

import json
from collections.abc import Mapping, Sequence
from pathlib import Path
from types import TracebackType
from typing import Any

from volition.training.trackers import Tracker


class MetricsFile:
    def __init__(self, path: Path | None, *, after_step: int = 0, trackers: Sequence[Tracker] = ()):
        """Keep the lines up to `after_step` (the step resumed from; 0 starts afresh) and append to them.

        None: another rank writes. `trackers` are told the same, and closed with the file.
        """
        self._trackers = trackers
        if path is None:
            self._file: Any = None
            return
        kept = [line for line in _lines(path) if line["step"] <= after_step] if after_step else []
        path.parent.mkdir(parents=True, exist_ok=True)
        aside = path.with_suffix(".writing")
        aside.write_text("".join(json.dumps(line) + "\n" for line in kept))
        aside.replace(path)
        self._file = path.open("a")

    def write(self, metrics: Mapping[str, float]) -> None:
        if self._file is None:
            return
        self._file.write(json.dumps(dict(metrics)) + "\n")
        self._file.flush()
        for tracker in self._trackers:
            tracker.write(metrics)

    def __enter__(self) -> MetricsFile:
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        if self._file is not None:
            self._file.close()
        for tracker in self._trackers:
            tracker.close()


def read_metrics(path: Path) -> list[dict[str, float]]:
    return list(_lines(path))


def _lines(path: Path) -> list[dict[str, float]]:
    """Whole lines only: a killed run may have left half of one."""
    lines = []
    for text in path.read_text().splitlines() if path.exists() else []:
        try:
            lines.append(json.loads(text))
        except json.JSONDecodeError:
            break
    return lines
