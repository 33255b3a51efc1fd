"""`volition demo --study`: what the demo's one number leaves open, on the same demonstrations and the same episodes.

A blind twin (what is seeing worth?), training from scratch (what is pretraining worth?), the untrained policy (what is
chance?), three seeds, and success against training length. Every variant is a run folder of its own, so a study that
was interrupted goes on where it stopped.
"""

from __future__ import annotations

import json
from collections.abc import Iterator
from dataclasses import dataclass, field, replace
from pathlib import Path
from typing import Any

from volition.config import Experiment
from volition.envs.desk.environment import PREVIOUS_NAMES, STATE_NAMES
from volition.evaluation.episodes import EpisodeResult
from volition.evaluation.statistics import mean_over_tasks
from volition.evaluation.suite import outcomes_by_task
from volition.studies.demo import DemoConfig, DemoRun, Say, evaluate_tasks, measure, results_json, train_or_resume
from volition.studies.demo_report import GROUPS, build_report
from volition.studies.report import write_report
from volition.studies.report_build import blind_twin, group_rows
from volition.studies.report_parts import Curve
from volition.studies.training import load_policy
from volition.training.metrics import read_metrics


@dataclass(frozen=True, kw_only=True)
class StudyConfig:
    """`lengths`: training steps as shares of the demo's; the schedule of each run ends with it."""

    demo: DemoConfig
    lengths: tuple[float, ...] = (1 / 3, 2 / 3, 1.0, 5 / 3, 10 / 3, 20 / 3)
    seeds: tuple[int, ...] = (0, 1, 2)
    blind_states: tuple[tuple[str, ...], ...] = field(
        default_factory=lambda: ((*STATE_NAMES, *PREVIOUS_NAMES), STATE_NAMES[:7])
    )


@dataclass(frozen=True, kw_only=True)
class Variant:
    name: str
    experiment: Experiment
    length: float
    seed: int


def variants(config: StudyConfig) -> Iterator[Variant]:
    """The demo's own run is not among them: it is measured anyway."""
    base = config.demo.experiment
    for seed in config.seeds:
        for length in config.lengths:
            if (seed, length) != (base.loop.seed, 1.0):
                yield _variant("pretrained", base, length, seed)
        yield _variant("from scratch", replace(base, from_scratch=True), 1.0, seed)
    for number, state in enumerate(config.blind_states):
        blind = replace(base, data=replace(base.data, blind=True, state=state))
        yield _variant(f"blind {number + 1}", blind, 1.0, base.loop.seed)
    yield _variant("untrained", base, 0.0, base.loop.seed)


def run_study(config: StudyConfig, say: Say = lambda phase, share, text: None) -> Path:
    """The demo, then every variant; the report has the twin and the curves beside the demo's own numbers."""
    run = measure(config.demo, say)
    outcomes: dict[str, tuple[Variant, list[EpisodeResult], float]] = {}
    found = list(variants(config))
    for number, variant in enumerate(found):
        say("study", number / len(found), f"{variant.name}, {variant.length:.2f} x, seed {variant.seed}")
        results, seconds = _run_variant(config, variant, say)
        outcomes[_folder(variant)] = (variant, results, seconds)
    say("study", 1.0, "done")
    report = build_report(run)
    blind = [(variant, results) for variant, results, _ in outcomes.values() if variant.name.startswith("blind")]
    twin, best = max(blind, key=lambda pair: mean_over_tasks(outcomes_by_task(pair[1])).value)
    given = ", ".join(twin.experiment.data.state)
    report = replace(
        report,
        blind=blind_twin(
            run.results, best, f"black cameras; the instruction and {given}; as many steps; the better of {len(blind)}"
        ),
        progress=_curves(config, run, list(outcomes.values())),
        groups=group_rows(run.results, GROUPS, best),
    )
    (config.demo.run / "study.json").write_text(json.dumps(_summary(outcomes), indent=1) + "\n")
    return write_report(report, config.demo.run)


def _variant(name: str, base: Experiment, length: float, seed: int) -> Variant:
    every = base.loop.log_every
    steps = round(base.loop.num_steps * length / every) * every
    loop = replace(base.loop, num_steps=steps, save_every=max(every, steps), seed=seed)
    return Variant(name=name, experiment=replace(base, loop=loop), length=length, seed=seed)


def _folder(variant: Variant) -> str:
    return f"{variant.name.replace(' ', '-')}-x{variant.length:.2f}-seed{variant.seed}"


def _run_variant(config: StudyConfig, variant: Variant, say: Say) -> tuple[list[EpisodeResult], float]:
    """Results on the demo's episodes and seconds of training."""
    folder = config.demo.run / "variants" / _folder(variant)
    data = replace(variant.experiment.data, path=str(config.demo.run / "data"), recording=None)
    experiment = replace(variant.experiment, data=data)
    train_or_resume(experiment, folder, lambda phase, share, text: None)
    clock = _training_seconds(experiment, read_metrics(folder / "metrics.jsonl"))
    policy, _ = load_policy(folder)
    results = evaluate_tasks(policy, config.demo, experiment, lambda phase, share, text: None)
    (folder / "eval.json").write_text(json.dumps(results_json(results), indent=1) + "\n")
    return results, clock


def _training_seconds(experiment: Experiment, metrics: list[dict[str, float | int]]) -> float:
    """Of the steps alone, however often the run was interrupted."""
    return sum(line["step_seconds"] * experiment.loop.log_every for line in metrics)


def _curves(
    config: StudyConfig, run: DemoRun, outcomes: list[tuple[Variant, list[EpisodeResult], float]]
) -> tuple[Curve, ...]:
    """Success over training minutes, a curve a seed."""
    curves = []
    for seed in config.seeds:
        points = [(s / 60, r) for v, r, s in outcomes if v.name == "pretrained" and v.seed == seed]
        if seed == config.demo.experiment.loop.seed:
            points.append((_training_seconds(config.demo.experiment, run.metrics) / 60, run.results))
        points.sort(key=lambda point: point[0])
        rates = [(minutes, mean_over_tasks(outcomes_by_task(results))) for minutes, results in points]
        curves.append(
            Curve(
                name=f"seed {seed}",
                points=tuple((minutes, rate.value) for minutes, rate in rates),
                intervals=tuple(rate.interval for _, rate in rates),
            )
        )
    return tuple(curves)


def _summary(outcomes: dict[str, tuple[Variant, list[EpisodeResult], float]]) -> dict[str, Any]:
    rates = {name: mean_over_tasks(outcomes_by_task(results)) for name, (_, results, _) in outcomes.items()}
    return {
        name: {
            "steps": variant.experiment.loop.num_steps,
            "train_seconds": seconds,
            "success_rate": rates[name].value,
            "success_interval": list(rates[name].interval),
            "num_episodes": rates[name].count,
        }
        for name, (variant, _, seconds) in outcomes.items()
    }
