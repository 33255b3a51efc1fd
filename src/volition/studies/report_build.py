"""From results to the parts of a report: groups of tasks with their rates, films worth seeing, the machine."""

from __future__ import annotations

import os
import platform
from collections.abc import Callable, Iterable, Mapping, Sequence
from pathlib import Path

from volition.evaluation.episodes import EpisodeResult
from volition.evaluation.films import encode_mp4, film_strip, replay_films, still
from volition.evaluation.slot import Film
from volition.evaluation.statistics import Estimate, mean_over_tasks, wilson
from volition.evaluation.suite import compare, outcomes_by_task
from volition.evaluation.workers import EnvFactory
from volition.studies.report_parts import BlindTwin, Clip, GroupRow, TaskRow


def group_rows(
    results: Sequence[EpisodeResult],
    groups: Mapping[str, Sequence[str]],
    blind_results: Sequence[EpisodeResult] = (),
) -> tuple[GroupRow, ...]:
    """Rates of every task and group; `groups` maps a name to its tasks, in the order in which they are to be read."""
    seeing, blind = outcomes_by_task(results), outcomes_by_task(blind_results)
    named = [task for tasks in groups.values() for task in tasks]
    ran = sorted({result.task for result in results})
    if sorted(named) != ran:
        raise ValueError(f"groups must name every task of the results once; named {sorted(named)}, ran {ran}")
    rows = []
    for name, all_tasks in groups.items():
        tasks = [task for task in all_tasks if task in seeing]  # of the others, no episode could be judged
        if not tasks:
            continue
        task_rows = tuple(
            TaskRow(task=task, success=_rate(seeing[task]), blind=_rate(blind[task]) if blind else None)
            for task in tasks
        )
        blind_mean = mean_over_tasks({task: blind[task] for task in tasks}) if blind else None
        success = mean_over_tasks({task: seeing[task] for task in tasks})
        rows.append(GroupRow(name=name, success=success, tasks=task_rows, blind=blind_mean))
    return tuple(rows)


def blind_twin(seeing: Sequence[EpisodeResult], blind: Sequence[EpisodeResult], description: str) -> BlindTwin:
    """Compare on the same episodes, in the same order."""
    success = mean_over_tasks(outcomes_by_task(blind))
    return BlindTwin(success=success, difference=compare(seeing, blind), description=description)


def choose_episodes(results: Sequence[EpisodeResult], *, num_successes: int, num_failures: int) -> list[EpisodeResult]:
    """Episodes worth seeing: successes of as many tasks as possible, then failures of as many as possible."""
    chosen = []
    for success, count in ((True, num_successes), (False, num_failures)):
        rows = grouped((r for r in results if r.success == success and not r.error), lambda result: result.task)
        chosen.extend(dealt(rows, count))
    return chosen


def grouped(
    results: Iterable[EpisodeResult], task_of: Callable[[EpisodeResult], str]
) -> dict[str, list[EpisodeResult]]:
    found: dict[str, list[EpisodeResult]] = {}
    for result in results:
        found.setdefault(task_of(result), []).append(result)
    return found


def dealt(by_task: Mapping[str, Sequence[EpisodeResult]], count: int) -> list[EpisodeResult]:
    """One of each task, then a second one of each, ... until there are `count`, or no more."""
    rounds = max((len(rows) for rows in by_task.values()), default=0)
    return [rows[turn] for turn in range(rounds) for rows in by_task.values() if turn < len(rows)][:count]


def make_clips(
    factory: EnvFactory, results: Sequence[EpisodeResult], *, control_hz: float, num_workers: int = 1
) -> tuple[Clip, ...]:
    """Film `results` (by running their actions again) at the robot's own speed, about 15 frames a second."""
    every = frames_apart(control_hz)
    films = replay_films(factory, results, every=every, num_workers=num_workers)
    return tuple(make_clip(r, film, fps=control_hz / every, control_hz=control_hz) for r, film in zip(results, films))


def frames_apart(control_hz: float, fps: float = 15.0) -> int:
    """Control steps between two frames of a film with about so many frames a second."""
    return max(1, round(control_hz / fps))


def make_clip(result: EpisodeResult, film: Film, *, fps: float, control_hz: float, since: int = 0) -> Clip:
    """`film` begins with command `since`, and has `fps` frames for each second of the robot's."""
    shown = result.attempts[since:]
    return Clip(
        instruction=", then ".join(attempt.instruction for attempt in shown),
        task=shown[-1].task,
        success=result.success,
        duration=sum(attempt.num_steps for attempt in shown) / control_hz,
        film=encode_mp4(film.frames, fps=max(1, round(fps))),
        poster=still(film.frames[-1]),
        strip=film_strip(film.frames),
    )


def describe_machine() -> tuple[tuple[str, str], ...]:
    """Processor, cores, memory and versions, as far as this system tells."""
    cores = len(os.sched_getaffinity(0)) if hasattr(os, "sched_getaffinity") else os.cpu_count() or 1
    rows = [("Processor", _processor()), ("Cores", str(cores))]
    if hasattr(os, "sysconf") and "SC_PHYS_PAGES" in os.sysconf_names:
        memory = os.sysconf("SC_PHYS_PAGES") * os.sysconf("SC_PAGE_SIZE")
        rows.append(("Memory", f"{memory / 2**30:.0f} GiB"))
    return (*rows, ("System", f"{platform.system()} {platform.machine()}"), ("Python", platform.python_version()))


def _processor() -> str:
    cpuinfo = Path("/proc/cpuinfo")
    if cpuinfo.exists():
        for line in cpuinfo.read_text().splitlines():
            if line.startswith("model name"):
                return line.partition(":")[2].strip()
    return platform.processor() or platform.machine()


def _rate(outcomes: Sequence[bool]) -> Estimate:
    return wilson(sum(outcomes), len(outcomes))
