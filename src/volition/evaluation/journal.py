"""Results on the disk as they come: a line of JSON an episode, safe to interrupt, to continue, to split and to join.

    settings --Journal.open--> results.jsonl --write(number, result)--> one more line, on the disk before it is left
    results.jsonl, results-2-of-8.jsonl, other machines' --read_all--> {number: result}, where their settings are equal

The first line says what was evaluated and how; a file that says otherwise is not gone on with. The actions stand in the
lines too, so that films can be made of any episode afterwards. A line that a crash cut short is dropped. Only an error
gives way to another line about its episode; lines that contradict each other are refused.
"""

from __future__ import annotations

import base64
import fcntl
import json
import logging
import os
import time
from collections.abc import Iterable, Mapping
from pathlib import Path
from types import TracebackType
from typing import Any

import numpy as np

from volition.contract import differences
from volition.evaluation.episodes import Attempt, Command, EpisodeResult, Trial
from volition.records import Start

logger = logging.getLogger(__name__)

SYNC_SECONDS = 1.0  # between two waits for the disk: what a power cut may cost


class Journal:
    """One file of results, written by one process at a time."""

    def __init__(self, path: Path, settings: Mapping[str, Any]):
        """Begin the file, or go on with it. ValueError where it says other settings, or another process writes it."""
        path.parent.mkdir(parents=True, exist_ok=True)
        self.path = path
        self._file = path.open("a+b")
        try:
            fcntl.flock(self._file, fcntl.LOCK_EX | fcntl.LOCK_NB)
        except BlockingIOError:
            self._file.close()
            raise ValueError(
                f"{path} is being written by another process: wait for it, or choose another --out"
            ) from None
        try:
            self.results = self._go_on(settings)
        except BaseException:
            self._file.close()
            raise
        self._synced = time.monotonic()

    def write(self, number: int, result: EpisodeResult) -> None:
        self.results[number] = result
        self._append(result_line(number, result))
        if time.monotonic() - self._synced >= SYNC_SECONDS:
            os.fsync(self._file.fileno())
            self._synced = time.monotonic()

    def close(self) -> None:
        self._file.flush()
        os.fsync(self._file.fileno())
        self._file.close()

    def __enter__(self) -> Journal:
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        self.close()

    def _go_on(self, settings: Mapping[str, Any]) -> dict[int, EpisodeResult]:
        self._file.seek(0)
        content = self._file.read()
        whole = content[: content.rfind(b"\n") + 1]
        if len(whole) < len(content):
            self._file.truncate(len(whole))
        if not whole:
            self._append({"settings": dict(settings)})
            return {}
        found, results = _parse(whole, self.path)
        require_same(settings, found, self.path)
        return results

    def _append(self, line: Mapping[str, Any]) -> None:
        self._file.write(json.dumps(line, allow_nan=False).encode() + b"\n")
        self._file.flush()


def read_journal(path: Path) -> tuple[dict[str, Any], dict[int, EpisodeResult]]:
    """Settings and results of a file that may still be written to. ValueError names the file and the line."""
    return _parse(_whole_lines(path), path)


def _whole_lines(path: Path) -> bytes:
    content = path.read_bytes()
    return content[: content.rfind(b"\n") + 1]


def read_all(paths: Iterable[Path]) -> tuple[dict[str, Any], dict[int, EpisodeResult]]:
    """The results of all files together; one in which nothing is written yet belongs to a shard that has just begun.

    Raises ValueError where two files have other settings, or tell different things of one episode.
    """
    settings: dict[str, Any] = {}
    results: dict[int, EpisodeResult] = {}
    for path in paths:
        if not (content := _whole_lines(path)):
            continue
        found, more = _parse(content, path)
        if settings:
            require_same(settings, found, path)
        settings = found
        for number, result in more.items():
            _add(results, number, result, path, "other files")
    if not settings:
        raise ValueError("there must be a file of results to read, got none, or only empty ones")
    return settings, results


def _add(results: dict[int, EpisodeResult], number: int, result: EpisodeResult, path: Path, others: str) -> None:
    """Where two lines tell of one episode, errors give way; ValueError where it ended otherwise."""
    before = results.get(number)
    if before is None or before.error:
        results[number] = result
    elif result.error:
        return
    elif before != result:
        raise ValueError(
            f"{path} must tell of episode {number} what the {others} do: '{result.trial}' ended otherwise there, so "
            "the two evaluations are not the same"
        )
    elif any(not np.array_equal(a.actions, b.actions) for a, b in zip(before.attempts, result.attempts)):
        logger.warning(
            "%s tells of other actions in episode %d than the %s, with the same outcome: two machines or devices "
            "whose arithmetic differs, so results are not equal to the bit",
            path,
            number,
            others,
        )


def require_same(settings: Mapping[str, Any], found: Mapping[str, Any], path: Path) -> None:
    """ValueError that prints what differs."""
    different = differences_of(json.loads(json.dumps(settings)), found)
    if different:
        lines = "\n  ".join(different)
        raise ValueError(f"{path} belongs to another evaluation; they differ (this one != that one):\n  {lines}")


def differences_of(left: Any, right: Any, path: str = "") -> list[str]:
    """'window.replan_steps: 5 != 3' for every leaf in which two JSON values differ."""
    if isinstance(left, dict) and isinstance(right, dict):
        names = sorted({*left, *right})
        pairs = [(f"{path}.{name}" if path else name, left.get(name), right.get(name)) for name in names]
        return [line for name, a, b in pairs for line in differences_of(a, b, name)]
    return differences(left, right, path)


def result_line(number: int, result: EpisodeResult) -> dict[str, Any]:
    trial = result.trial
    line: dict[str, Any] = {
        "number": number,
        "start": {"seed": trial.start.seed, "tasks": list(trial.start.tasks), "scene": trial.start.scene},
        "commands": [{"task": c.task, "split": c.split, "wording": c.wording} for c in trial.commands],
        "attempts": [_attempt_line(attempt) for attempt in result.attempts],
    }
    if result.error:
        line["error"] = result.error
    if result.repeats:
        line["repeats"] = list(result.repeats)
    return line


def _attempt_line(attempt: Attempt) -> dict[str, Any]:
    return {
        "task": attempt.task,
        "instruction": attempt.instruction,
        "success": attempt.success,
        "num_steps": attempt.num_steps,
        "num_calls": attempt.num_calls,
        "achieved": None if attempt.achieved is None else list(attempt.achieved),
        "measures": attempt.measures,
        "actions": base64.b64encode(np.ascontiguousarray(attempt.actions, "<f4").tobytes()).decode(),
    }


def parse_result(line: Mapping[str, Any]) -> tuple[int, EpisodeResult]:
    """The inverse of `result_line`. KeyError, TypeError or ValueError for what is none."""
    start = Start(line["start"]["seed"], tuple(line["start"]["tasks"]), line["start"]["scene"])
    trial = Trial(start=start, commands=tuple(Command(**command) for command in line["commands"]))
    result = EpisodeResult(
        trial=trial,
        attempts=tuple(_parse_attempt(attempt) for attempt in line["attempts"]),
        error=line.get("error", ""),
        repeats=tuple(line.get("repeats", ())),
    )
    return int(line["number"]), result


def _parse_attempt(line: Mapping[str, Any]) -> Attempt:
    actions = np.frombuffer(base64.b64decode(line["actions"], validate=True), "<f4").astype(np.float32)
    fields = dict(line) | {
        "actions": actions.reshape(line["num_steps"], -1),
        "achieved": None if line["achieved"] is None else tuple(line["achieved"]),
    }
    return Attempt(**fields)


def _parse(content: bytes, path: Path) -> tuple[dict[str, Any], dict[int, EpisodeResult]]:
    found: list[tuple[int, EpisodeResult]] = []
    results: dict[int, EpisodeResult] = {}
    settings: dict[str, Any] = {}
    for number, text in enumerate(content.splitlines(), start=1):
        try:
            line = json.loads(text)
            if number == 1:
                settings = dict(line["settings"])
            else:
                found.append(parse_result(line))
        except (KeyError, TypeError, ValueError) as error:
            raise ValueError(
                f"{path} must hold results of an evaluation, but its line {number} does not make sense: {error!r}; "
                "restore it from a copy, or delete it to evaluate again"
            ) from error
    if not settings:
        raise ValueError(f"{path} must begin with the settings of an evaluation, and is empty")
    for key, result in found:
        _add(results, key, result, path, "other lines")
    return settings, results
