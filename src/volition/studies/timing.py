"""`volition eval --timing`: success against latency, for every way in which one checkpoint's chunks can be executed.

    the same starts --execute | overlap | realtime | ensemble, each 0, 1, 2, ... control steps late--> table, plot

The simulator goes on while the policy thinks. The latency that this machine has is measured and told beside.
"""

from __future__ import annotations

import math
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any

import numpy as np

from volition.envs.base import EnvConfig
from volition.evaluation.chunking import STRATEGIES, AnyChunking, RealTime
from volition.evaluation.episodes import EpisodeResult
from volition.evaluation.inquiry import inquire
from volition.evaluation.suite import task_trials
from volition.records import Inpainter
from volition.studies.eval_config import EvalConfig
from volition.studies.eval_run import Say
from volition.studies.eval_subject import Subject, beside_evaluations, make_plan, perform
from volition.studies.probing import CANNOT_WAIT, verdict
from volition.studies.report_parts import Curve

STARTS = 5  # of every task, where --starts says nothing


def timing(config: EvalConfig[Any], subject: Subject, env: EnvConfig, say: Say) -> dict[str, Any]:
    """The table as plain values, and the plot's path."""
    count, window = config.starts or STARTS, subject.contract.window
    steps = config.replan_steps or window.replan_steps
    trials = task_trials(config.asked_tasks, num_starts=count, first_seed=config.seed, scenes=env.scenes)
    rests = inquire(env.make, trials[0], num_workers=config.workers, patience_seconds=config.patience).rests
    rows: list[dict[str, Any]] = []
    prompt: list[EpisodeResult] = []  # executed at once: what every other row is compared with
    for name, strategy in STRATEGIES.items():
        chunking = strategy(steps=steps)
        for latency in sorted({0, *config.latencies}):
            row: dict[str, Any] = {"chunking": name, "steps": steps, "latency": latency}
            rows.append(row)
            if reason := why_not(chunking, latency, subject) or ("" if rests or not latency else CANNOT_WAIT):
                row["left_out"] = reason
                continue
            plan = make_plan(
                config, subject, env, trials, f"starts-{count}-{name}-{latency}-late", how=chunking, latency=latency
            )
            results = perform(config, subject, plan, say).ordered
            if not prompt and any(not result.error for result in results):
                prompt = results
            row |= verdict(results, prompt or results) | {"policy_calls": _calls(results)}
    if all("left_out" in row for row in rows):
        raise ValueError(f"chunks of this policy can be executed in none of the ways: {rows[0]['left_out']}")
    seconds, hz = subject.seconds_per_call, subject.contract.robot.control_hz
    path = beside_evaluations(config, subject, "timing.svg")
    draw(rows, hz, path)
    return {
        "rows": rows,
        "control_hz": hz,
        "policy_call_seconds": seconds,
        "latency_here_seconds": math.ceil(seconds * hz) / hz,
        "plot": str(path),
    }


def why_not(chunking: AnyChunking, latency: int, subject: Subject) -> str:
    """Why this policy's chunks cannot be executed so; "" where they can."""
    continues = isinstance(subject.policy, Inpainter) and subject.policy.continues
    if isinstance(chunking, RealTime) and not continues:
        return "its head cannot continue what is settled: those that denoise can"
    space = subject.contract.robot.action_space
    try:
        player = chunking.begin(space, latency)
        player.take(np.zeros((subject.contract.window.action_horizon, space.dim), np.float32), np.zeros(space.dim))
    except ValueError as error:
        return str(error)
    return ""


def curves(rows: Sequence[Mapping[str, Any]]) -> tuple[Curve, ...]:
    """Success over latency in control steps, a curve a strategy."""
    found = []
    for name in STRATEGIES:
        mine = [row for row in rows if row["chunking"] == name and "success_rate" in row]
        if mine:
            points = tuple((float(row["latency"]), row["success_rate"]) for row in mine)
            intervals = tuple((row["success_interval"][0], row["success_interval"][1]) for row in mine)
            found.append(Curve(name=name, points=points, intervals=intervals))
    return tuple(found)


def draw(rows: Sequence[Mapping[str, Any]], control_hz: float, path: Path) -> None:
    """An SVG of the curves, with the latency in milliseconds above."""
    from matplotlib import rc_context
    from matplotlib.figure import Figure

    with rc_context({"svg.hashsalt": "volition", "font.size": 11}):
        figure = Figure(figsize=(7.5, 4.2), layout="constrained")
        axes = figure.add_subplot()
        for number, curve in enumerate(curves(rows)):
            x = [point[0] + 0.04 * (number - 1.5) for point in curve.points]
            y = [100 * point[1] for point in curve.points]
            spans = [[100 * (p[1] - low), 100 * (high - p[1])] for p, (low, high) in zip(curve.points, curve.intervals)]
            axes.errorbar(x, y, yerr=np.transpose(spans), marker="o", capsize=3, label=curve.name)
        axes.set(xlabel="latency, control steps", ylabel="success, % (95 % interval)", ylim=(-2, 102))
        milliseconds = axes.secondary_xaxis("top", functions=_conversions(1000 / control_hz))
        milliseconds.set_xlabel("milliseconds")
        axes.grid(alpha=0.3)
        if axes.containers:  # a row of errors has no curve
            axes.legend(frameon=False)
        path.parent.mkdir(parents=True, exist_ok=True)
        figure.savefig(path, metadata={"Date": None})


def _conversions(factor: float) -> tuple[Any, Any]:
    return (lambda x: x * factor), (lambda x: x / factor)


def _calls(results: Sequence[EpisodeResult]) -> int:
    return sum(attempt.num_calls for result in results for attempt in result.attempts)
