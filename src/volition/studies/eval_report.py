"""What an evaluation has to say, put into the parts of a report, which lies beside its results.

    Done, score --evaluation_report--> Report --report.write_report--> report.html, report.json

Nothing was filmed while it ran: a few episodes are repeated from the actions in the journal, of a chain that failed
only the command at which it did. Beside every failure stand the demonstrations that begin most like it.
"""

from __future__ import annotations

import logging
import time
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass, replace
from typing import Any

from volition.config import DataConfig
from volition.envs.base import EnvConfig
from volition.evaluation.chain import score_chains
from volition.evaluation.episodes import EpisodeResult, judged, last_line
from volition.evaluation.films import from_the_failed_one, replay_films
from volition.evaluation.slot import Film
from volition.evaluation.statistics import mean_over_tasks, wilson
from volition.records import Episode, Observation
from volition.studies.eval_run import Done
from volition.studies.eval_score import are_chains
from volition.studies.nearest import Beginnings, open_demonstrations
from volition.studies.report_build import dealt, describe_machine, frames_apart, grouped, make_clip
from volition.studies.report_numbers import duration
from volition.studies.report_parts import Chains, Clip, Fact, Failing, GroupRow, NextCommand, Report, TaskRow

SUCCESSES = 2  # films of them at most
FPS = 10.0  # of the films: drawing them is most of what a report costs
NEAREST = 2  # demonstrations beside a film

logger = logging.getLogger(__name__)


@dataclass(frozen=True, kw_only=True)
class About:
    """What a report says besides the results themselves."""

    policy: str  # a name for people
    env_name: str
    env: EnvConfig
    data: DataConfig | None = None  # that the policy learned from, where it is known
    commands: tuple[NextCommand, ...] = ()
    films: int = 6
    workers: int = 1  # that film


def evaluation_report(done: Done, score: Mapping[str, Any], about: About) -> Report:
    """ValueError where no episode could be judged."""
    results = judged(done.ordered)
    tried = _tried(results)
    chosen = _choose(results, about.films)
    films, notes = _film(chosen, about)
    failing, more = _failing(results, films, tried, about)
    clips = [_clip(film, about) for film in films if film[0].success]
    rates = {task: wilson(sum(outcomes), len(outcomes)) for task, outcomes in tried.items()}
    rows = tuple(
        TaskRow(task=task, success=rates[task]) for task in sorted(rates, key=lambda task: (rates[task].value, task))
    )
    chains = score_chains(results) if are_chains(results) else None
    mean = mean_over_tasks(tried)
    when = ", whenever one was tried" if chains else ""
    return Report(
        title=f"{about.policy} in {about.env_name}",
        lead=_lead(done, results),
        success=mean,
        seconds=0.0,
        groups=(GroupRow(name=f"Mean over {len(rows)} tasks{when}", success=mean, tasks=rows),),
        phases=(),
        settings=tuple(_flat(done.settings)),
        machine=describe_machine(),
        commands=about.commands,
        facts=tuple(_facts(done, score, about)),
        facts_title="What was evaluated",
        chains=Chains(average_length=chains.average_length, reached=chains.reached) if chains else None,
        failing=failing,
        failing_note=" ".join([*notes, *more]),
        clips=tuple(clips),
        created=time.time(),
    )


def _lead(done: Done, results: Sequence[EpisodeResult]) -> str:
    steps = done.settings["rollout"]["max_steps"]
    protocol = done.settings.get("protocol_max_steps", steps)
    limit = f"{steps} control steps a task" + ("" if steps == protocol else f", where the protocol has {protocol}")
    if are_chains(results):
        length = len(results[0].trial.commands)
        return (
            f"{len(results)} chains of {length} tasks. The world is reset before the first task of a chain and never "
            f"again; the policy forgets between tasks; the first failure ends a chain. At most {limit}."
        )
    return f"{len(results)} episodes, each from a start of its own. At most {limit}."


def _tried(results: Sequence[EpisodeResult]) -> dict[str, list[bool]]:
    """Task -> what became of every attempt at it."""
    found: dict[str, list[bool]] = {}
    for attempt in (attempt for result in results for attempt in result.attempts):
        found.setdefault(attempt.task, []).append(attempt.success)
    return found


def _ended_by(results: Sequence[EpisodeResult]) -> dict[str, list[EpisodeResult]]:
    """Task -> the episodes whose first failure it was, the task that ended most of them first."""
    found = grouped((r for r in results if not r.success), lambda result: result.attempts[-1].task)
    return dict(sorted(found.items(), key=lambda pair: (-len(pair[1]), pair[0])))


def _choose(results: Sequence[EpisodeResult], count: int) -> list[EpisodeResult]:
    """Failures of as many tasks as possible, and a few successes."""
    good = dealt(grouped((r for r in results if r.success), lambda result: result.task), SUCCESSES)
    bad = dealt(_ended_by(results), count - min(len(good), count // 2))
    return [*bad, *good[: count - len(bad)]]


def _film(chosen: Sequence[EpisodeResult], about: About) -> tuple[list[tuple[EpisodeResult, Film]], list[str]]:
    """The films, or none and the reason: an environment need not be able to repeat itself to be evaluated."""
    every = frames_apart(about.env.spec.control_hz, FPS)
    try:
        films = replay_films(
            about.env.make, chosen, every=every, num_workers=about.workers, since=from_the_failed_one
        ) if chosen else []  # fmt: skip
    except RuntimeError as error:
        logger.warning("the report has no films: %s", error)
        return [], [f"There are no films: {last_line(str(error))}."]
    return list(zip(chosen, films)), []


def _clip(filmed: tuple[EpisodeResult, Film], about: About) -> Clip:
    result, film = filmed
    hz = about.env.spec.control_hz
    return make_clip(result, film, fps=hz / frames_apart(hz, FPS), control_hz=hz, since=from_the_failed_one(result))


def _failing(
    results: Sequence[EpisodeResult],
    films: Sequence[tuple[EpisodeResult, Film]],
    tried: Mapping[str, Sequence[bool]],
    about: About,
) -> tuple[tuple[Failing, ...], list[str]]:
    """And why there are no demonstrations beside some films, where there are none."""
    shown, notes = _demonstrations(about) if films else ({}, [])
    found = []
    for task, ended in _ended_by(results).items():
        mine = [(result, film) for result, film in films if not result.success and result.attempts[-1].task == task]
        failing = Failing(
            task=task,
            num_episodes=len(ended),
            success=wilson(sum(tried[task]), len(tried[task])),
            clips=tuple(_clip(film, about) for film in mine),
        )
        try:
            found.append(_beside(failing, [film.first for _, film in mine], shown, about))
        except (OSError, ValueError) as error:
            found.append(failing)
            notes.append(f"No demonstrations of {task} stand beside its films: {error}.")
    return tuple(found), notes


def _demonstrations(about: About) -> tuple[Mapping[int, Episode], list[str]]:
    """Those that were learned from, or none and the reason."""
    if about.data is None:
        return {}, []
    try:
        return open_demonstrations(about.data), []
    except (OSError, ValueError) as error:
        return {}, [f"No demonstrations stand beside the films: {error}."]


def _beside(failing: Failing, seen: Sequence[Observation], shown: Mapping[int, Episode], about: About) -> Failing:
    """With the demonstrations whose beginnings are nearest to what was seen at the beginning of each film."""
    if not (seen and shown and about.data):
        return failing
    cameras = [name for name in about.data.cameras if name in seen[0].images]
    beginnings = Beginnings(shown, failing.task, cameras)
    nearest = tuple(beginnings.nearest(one, NEAREST) for one in seen)
    return replace(failing, nearest=nearest, usual=beginnings.usual(), among=len(beginnings.numbers))


def _facts(done: Done, score: Mapping[str, Any], about: About) -> Iterator[Fact]:
    settings = done.settings
    yield Fact(label="Policy", value=about.policy, note=f"checkpoint {settings.get('checkpoint', 'unknown')}")
    told = ", ".join(f"{name} {value}" for name, value in settings["simulator"].items() if name != "simulator")
    yield Fact(label="Simulator", value=settings["simulator"]["simulator"], note=told)
    calls = f"{score['steps_per_policy_call']:.1f} a policy call"
    yield Fact(label="Control steps", value=f"{score['control_steps']:,}", note=calls)
    if score.get("control_steps_per_second"):
        speed = f"{score['control_steps_per_second']:,.0f} control steps/s, {len(done.ran)} episodes"
        yield Fact(label="Time", value=duration(score["evaluation_seconds"]), note=speed)
    for name, row in score.get("measures", {}).items():
        reach = "{:.3g} to {:.3g}, ".format(*row["interval"]) if row["interval"] else ""
        yield Fact(label=name.replace("_", " "), value=f"{row['mean']:.3g}", note=f"{reach}all attempts")
    if "against" in score:
        yield _difference(score["against"])
    if score["num_errors"]:
        reason = last_line(score["errors"][0]["error"])
        yield Fact(label="Without a verdict", value=str(score["num_errors"]), note=f"not counted; the first: {reason}")
    if score["repeated_episodes"]:
        reason = score["repeated_episodes"][0]["reasons"][0]
        yield Fact(label="Begun again", value=str(len(score["repeated_episodes"])), note=reason)


def _difference(found: Mapping[str, Any]) -> Fact:
    label = f"Against {found['checkpoint']}"
    if "error" in found:
        reason = last_line(found["error"])
        return Fact(label=label, value="not compared", note=f"no start was judged with both; the first: {reason}")
    low, high = found["interval"]
    note = f"{low:+.3f} to {high:+.3f}, p = {found['p_value']:.2g}, {found['num_pairs']} common starts"
    return Fact(label=label, value=f"{found['difference']:+.3f}", note=note)


def _flat(settings: Mapping[str, Any]) -> Iterator[tuple[str, str]]:
    """('rollout, max steps', '360') for what is set, what belongs together in one row."""
    for key, value in settings.items():
        if isinstance(value, Mapping):
            yield from ((f"{key}, {name}".replace("_", " "), _told(inner)) for name, inner in value.items())
        else:
            yield key.replace("_", " "), _told(value)


def _told(value: Any) -> str:
    """A config as its class and its fields, numbers short."""
    match value:
        case str():
            return value.rpartition(":")[2]
        case bool():
            return "yes" if value else "no"
        case float():
            return f"{value:.6g}"
        case Mapping():
            rows = (_told(x) if name == "type" else f"{name} {_told(x)}" for name, x in value.items())
            return ", ".join(rows) or "none"
        case list() | tuple():
            return ", ".join(map(_told, value)) or "none"
    return str(value)
