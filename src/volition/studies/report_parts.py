"""What a report holds: plain values, films as bytes. `Report.to_json` gives the numbers."""

from __future__ import annotations

from dataclasses import dataclass
from typing import Any

from volition.evaluation.probes import SwapScore
from volition.evaluation.statistics import Difference, Estimate


@dataclass(frozen=True, kw_only=True)
class Fact:
    """One number or name of "what was learned": 'Demonstrations', '412', '9 minutes, recorded just now'."""

    label: str
    value: str
    note: str = ""


@dataclass(frozen=True, kw_only=True)
class TaskRow:
    """Success of one task, and of the blind twin on the same starts where there is one."""

    task: str
    success: Estimate
    blind: Estimate | None = None


@dataclass(frozen=True, kw_only=True)
class GroupRow:
    """Tasks that belong together, with the mean over them."""

    name: str
    success: Estimate
    tasks: tuple[TaskRow, ...]
    blind: Estimate | None = None


@dataclass(frozen=True, kw_only=True)
class Clip:
    """A film of one episode: h264 in mp4, and JPEGs of its last frame and of a row of frames."""

    instruction: str
    task: str
    success: bool
    duration: float  # seconds of the robot's time
    film: bytes
    poster: bytes
    strip: bytes


@dataclass(frozen=True, kw_only=True)
class Demonstration:
    """A recorded episode, as a JPEG of a row of frames. `distance`: see `nearest.py`."""

    number: int  # in the dataset
    instruction: str
    distance: float
    strip: bytes


@dataclass(frozen=True, kw_only=True)
class Failing:
    """A task at which episodes ended: how often it was the first that failed, films of it, and what was shown of it.

    `nearest` holds for every film the demonstrations whose beginnings look most like its own, `among` their number.
    """

    task: str
    num_episodes: int  # that ended with it
    success: Estimate  # of every attempt at it
    clips: tuple[Clip, ...] = ()
    nearest: tuple[tuple[Demonstration, ...], ...] = ()
    usual: float = 0.0  # how far demonstrations of this task mostly are from the nearest other one
    among: int = 0


@dataclass(frozen=True, kw_only=True)
class Chains:
    """Several tasks in a row: how many were done, and the share of chains with at least 1, 2, ... of them."""

    average_length: Estimate
    reached: tuple[Estimate, ...]


@dataclass(frozen=True, kw_only=True)
class Swap:
    """Language swaps: the score, and pairs of films from the same start (told what it was made for, told another)."""

    score: SwapScore
    pairs: tuple[tuple[Clip, Clip], ...] = ()


@dataclass(frozen=True, kw_only=True)
class BlindTwin:
    """The same training without cameras, on the same episodes. `description` says what it was given instead."""

    success: Estimate
    difference: Difference  # seeing minus blind
    description: str


@dataclass(frozen=True, kw_only=True)
class Curve:
    """A line of points (x, y), x rising; `intervals` holds (low, high) for every point or is empty."""

    name: str
    points: tuple[tuple[float, float], ...]
    intervals: tuple[tuple[float, float], ...] = ()

    def __post_init__(self) -> None:
        if len(self.points) < 1 or (self.intervals and len(self.intervals) != len(self.points)):
            raise ValueError(
                f"curve {self.name!r} needs points, and an interval for each or for none; "
                f"got {len(self.points)} points and {len(self.intervals)} intervals"
            )


@dataclass(frozen=True, kw_only=True)
class Phase:
    """A part of the run and how long it took."""

    name: str
    seconds: float
    note: str = ""


@dataclass(frozen=True, kw_only=True)
class NextCommand:
    """A command to go on with, and what it does."""

    line: str
    what: str


@dataclass(frozen=True, kw_only=True)
class Report:
    """All that a run has to say. Empty parts and parts that are None are left out of the page."""

    title: str  # a statement: "An arm that does what it is told"
    lead: str  # one or two sentences below it
    success: Estimate  # the mean over tasks
    seconds: float  # the whole run; 0: not told
    groups: tuple[GroupRow, ...]
    phases: tuple[Phase, ...]
    settings: tuple[tuple[str, str], ...]
    machine: tuple[tuple[str, str], ...]
    commands: tuple[NextCommand, ...]
    unseen: str = ""  # a sentence that says what of the evaluation was not in the training data
    facts: tuple[Fact, ...] = ()
    facts_title: str = "What was learned"
    chains: Chains | None = None
    failing: tuple[Failing, ...] = ()  # the task that ended most episodes first
    failing_note: str = ""  # what is to be said of films and demonstrations
    losses: tuple[Curve, ...] = ()  # over training steps
    progress: tuple[Curve, ...] = ()  # success over training minutes, one curve a variant
    clips: tuple[Clip, ...] = ()  # the first success stands at the top; eight more fill two rows
    swap: Swap | None = None
    blind: BlindTwin | None = None
    created: float = 0.0  # Unix time; 0: not told

    def to_json(self) -> dict[str, Any]:
        """Plain values: every number of the page, no films. Times are in fields named `seconds` or `*_seconds`."""
        tasks = {row.task: _rates(row.success, row.blind) for group in self.groups for row in group.tasks}
        return {
            "title": self.title,
            "success_rate": self.success.value,
            "success_interval": list(self.success.interval),
            "num_episodes": self.success.count,
            "seconds": self.seconds,
            "groups": {group.name: _rates(group.success, group.blind) for group in self.groups},
            "tasks": tasks,
            "chains": None if self.chains is None else _chains_json(self.chains),
            "failing": [_failing_json(failing) for failing in self.failing],
            "swap": None if self.swap is None else self.swap.score.to_json(),
            "blind": None if self.blind is None else _blind_json(self.blind),
            "losses": {curve.name: [list(point) for point in curve.points] for curve in self.losses},
            "progress": [_curve_json(curve) for curve in self.progress],
            "facts": {fact.label: {"value": fact.value, "note": fact.note} for fact in self.facts},
            "phases": [{"name": p.name, "phase_seconds": p.seconds, "note": p.note} for p in self.phases],
            "settings": dict(self.settings),
            "machine": dict(self.machine),
            "commands": [{"line": c.line, "what": c.what} for c in self.commands],
            "created_seconds": self.created,
        }


def _rates(success: Estimate, blind: Estimate | None) -> dict[str, Any]:
    rates: dict[str, Any] = {
        "success_rate": success.value,
        "success_interval": list(success.interval),
        "num_episodes": success.count,
    }
    if blind is not None:
        rates |= {"blind_rate": blind.value, "blind_interval": list(blind.interval)}
    return rates


def _chains_json(chains: Chains) -> dict[str, Any]:
    return {
        "average_length": chains.average_length.value,
        "average_length_interval": list(chains.average_length.interval),
        "chain_success": [rate.value for rate in chains.reached],
        "chain_success_intervals": [list(rate.interval) for rate in chains.reached],
        "num_chains": chains.average_length.count,
    }


def _failing_json(failing: Failing) -> dict[str, Any]:
    shown = [
        {"instruction": clip.instruction, "nearest": [{"episode": d.number, "distance": d.distance} for d in nearest]}
        for clip, nearest in zip(failing.clips, failing.nearest or ((),) * len(failing.clips))
    ]
    return {
        "task": failing.task,
        "num_first_failures": failing.num_episodes,
        "success_rate": failing.success.value,
        "success_interval": list(failing.success.interval),
        "num_attempts": failing.success.count,
        "films": shown,
        "usual_distance": failing.usual,
        "demonstrations_compared": failing.among,
    }


def _blind_json(blind: BlindTwin) -> dict[str, Any]:
    return {
        "success_rate": blind.success.value,
        "success_interval": list(blind.success.interval),
        "num_episodes": blind.success.count,
        "difference": blind.difference.value,
        "difference_interval": [blind.difference.low, blind.difference.high],
        "p_value": blind.difference.p_value,
        "description": blind.description,
    }


def _curve_json(curve: Curve) -> dict[str, Any]:
    points = [list(point) for point in curve.points]
    return {"name": curve.name, "points": points, "intervals": [list(pair) for pair in curve.intervals]}
