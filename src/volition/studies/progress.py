"""Progress bars with the time that is left, on stderr; plain lines where there is no terminal."""

from __future__ import annotations

import sys
import time
from types import TracebackType

from rich.console import Console
from rich.progress import BarColumn, Progress, TaskID, TextColumn, TimeElapsedColumn, TimeRemainingColumn

from volition.data.record import RecordProgress

_QUIET_SECONDS = 10.0  # between two lines where there is no terminal


class Bars:
    """`with Bars() as bars: bars.say("train", 0.4, "loss 0.12")`: one bar a phase."""

    def __init__(self) -> None:
        self._console = Console(file=sys.stderr)
        self._progress = Progress(
            TextColumn("{task.description:9}"), BarColumn(), TextColumn("{task.percentage:3.0f} %"),
            TimeElapsedColumn(), TextColumn("left"), TimeRemainingColumn(), TextColumn("{task.fields[text]}"),
            console=self._console, disable=not self._console.is_terminal,
        )  # fmt: skip
        self._tasks: dict[str, TaskID] = {}
        self._spoke: dict[str, float] = {}

    def __enter__(self) -> Bars:
        self._progress.start()
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        self._progress.stop()

    def say(self, phase: str, share: float, text: str) -> None:
        """`share`: 0..1 of the phase is done."""
        if phase not in self._tasks:
            self._tasks[phase] = self._progress.add_task(phase, total=1.0, text="")
        self._progress.update(self._tasks[phase], completed=share, text=text)
        if not self._console.is_terminal:
            now = time.monotonic()
            if share >= 1 or now - self._spoke.get(phase, -_QUIET_SECONDS) >= _QUIET_SECONDS:
                self._spoke[phase] = now
                self._console.print(f"{phase:9} {share:4.0%}  {text}")

    def recording(self, progress: RecordProgress) -> None:
        text = f"{progress.episodes} demonstrations, {progress.frames_per_second:.0f} frames/s"
        self.say("record", progress.jobs / progress.total_jobs, text)
