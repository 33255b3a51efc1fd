"""`volition demo --study`: what the demo's one number leaves open, on the same demonstrations and the same episodes.

A blind twin (what is seeing worth?), training from scratch (what is pretraining worth?), the untrained policy (what is
chance?), three seeds, and success against training length. Every variant is a run folder of its own, so a study that
was interrupted goes on where it stopped.
"""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import dataclass, replace
from functools import partial
from pathlib import Path
from typing import Any

from volition.config import Experiment
from volition.evaluation.episodes import EpisodeResult
from volition.evaluation.statistics import Estimate, mean_over_tasks
from volition.evaluation.suite import outcomes_by_task
from volition.studies.demo import DemoConfig, DemoRun, Say, evaluate_tasks, measure, results_json, train_or_resume
from volition.studies.demo_report import GROUPS, build_report
from volition.studies.output import write
from volition.studies.report import write_report
from volition.studies.report_build import blind_twin, group_rows
from volition.studies.report_parts import Curve
from volition.studies.spread import spread
from volition.studies.training import load_policy


@dataclass(frozen=True, kw_only=True)
class StudyConfig:
    """`lengths`: training steps as shares of the demo's; the schedule of each run ends with it.

    `jobs` variants run at a time, one thread each: two such processes train faster than one with two threads.
    """

    demo: DemoConfig
    lengths: tuple[float, ...] = (1 / 3, 2 / 3, 1.0, 5 / 3, 10 / 3, 20 / 3)
    seeds: tuple[int, ...] = (0, 1, 2)
    blind_states: tuple[tuple[str, ...], ...] = ()  # what each blind twin is given; (): see `twins`
    jobs: int = 2

    @property
    def twins(self) -> tuple[tuple[str, ...], ...]:
        """State entries of the blind twins: all that the robot knows of itself, and its pose and gripper alone."""
        state = self.demo.recording.env.spec.state
        return self.blind_states or (state, state[:7])


@dataclass(frozen=True, kw_only=True)
class Variant:
    name: str
    experiment: Experiment
    length: float
    seed: int

    @property
    def folder(self) -> str:
        return f"{self.name.replace(' ', '-')}-x{self.length:.2f}-seed{self.seed}"


@dataclass(frozen=True, kw_only=True)
class Outcome:
    variant: Variant
    results: list[EpisodeResult]

    @property
    def rate(self) -> Estimate:
        return mean_over_tasks(outcomes_by_task(self.results))


def variants(config: StudyConfig) -> list[Variant]:
    """The shortest first. The demo's own run is not among them: it is measured anyway."""
    return sorted(_variants(config), key=lambda variant: variant.length)


def _variants(config: StudyConfig) -> Iterator[Variant]:
    base = config.demo.experiment
    # Random weights learn better with the learning rate of new ones everywhere; the comparison gives them that.
    optim = replace(base.loop.optim, backbone_lr=base.loop.optim.lr)
    scratch = replace(base, from_scratch=True, loop=replace(base.loop, optim=optim))
    for seed in config.seeds:
        for length in config.lengths:
            if (seed, length) != (base.loop.seed, 1.0):
                yield _variant("pretrained", base, length, seed)
        yield _variant("from scratch", scratch, 1.0, seed)
    for number, state in enumerate(config.twins):
        blind = replace(base, data=replace(base.data, blind=True, state=state))
        yield _variant(f"blind {number + 1}", blind, 1.0, base.loop.seed)
    yield _variant("untrained", base, 0.0, base.loop.seed)


def run_study(config: StudyConfig, say: Say = lambda phase, share, text: None) -> Path:
    """The demo, then every variant; the report has the twin and the curves beside the demo's own numbers."""
    run = measure(config.demo, say)
    outcomes = _outcomes(config, say)
    report = build_report(run)
    twin = max((o for o in outcomes if o.variant.name.startswith("blind")), key=lambda o: o.rate.value)
    given = ", ".join(twin.variant.experiment.data.state)
    about = f"black cameras; the instruction and {given}; as many steps; the better of {len(config.twins)}"
    report = replace(
        report,
        blind=blind_twin(run.results, twin.results, about),
        progress=_curves(config, run, outcomes),
        groups=group_rows(run.results, GROUPS, twin.results),
    )
    summary = {outcome.variant.folder: _summary(outcome, _step_seconds(run)) for outcome in outcomes}
    write(config.demo.run / "study.json", summary)
    return write_report(report, config.demo.run)


def _outcomes(config: StudyConfig, say: Say) -> list[Outcome]:
    found = variants(config)
    say("study", 0.0, f"{len(found)} variants, {config.jobs} at a time")
    outcomes: list[Outcome] = []
    for number, outcome in spread(partial(_run_variant, config.demo), found, jobs=config.jobs):
        outcomes.append(outcome)
        say("study", len(outcomes) / len(found), f"{found[number].folder}: {outcome.rate.value:.0%}")
    return sorted(outcomes, key=lambda outcome: found.index(outcome.variant))


def _variant(name: str, base: Experiment, length: float, seed: int) -> Variant:
    every = base.loop.log_every
    steps = round(base.loop.num_steps * length / every) * every
    loop = replace(base.loop, num_steps=steps, save_every=max(every, min(steps, base.loop.save_every)), seed=seed)
    return Variant(name=name, experiment=replace(base, loop=loop), length=length, seed=seed)


def _run_variant(demo: DemoConfig, variant: Variant) -> Outcome:
    """Train it and evaluate it on the demo's episodes."""
    folder = demo.run / "variants" / variant.folder
    data = replace(variant.experiment.data, path=str(demo.run / "data"), recording=None)
    experiment = replace(variant.experiment, data=data)
    train_or_resume(experiment, folder, lambda phase, share, text: None)
    policy, _ = load_policy(folder)
    outcome = Outcome(
        variant=variant,
        results=evaluate_tasks(policy, demo, experiment, lambda phase, share, text: None),
    )
    write(folder / "eval.json", results_json(outcome.results))
    return outcome


def _step_seconds(run: DemoRun) -> float:
    """Of the demo's own run, which has the machine to itself: all lengths are told at this speed."""
    return sum(line["step_seconds"] for line in run.metrics) / len(run.metrics)


def _curves(config: StudyConfig, run: DemoRun, outcomes: list[Outcome]) -> tuple[Curve, ...]:
    """Success over training minutes, a curve a seed."""
    minutes = _step_seconds(run) / 60
    loop = config.demo.experiment.loop
    curves = []
    for seed in config.seeds:
        mine = [o for o in outcomes if o.variant.name == "pretrained" and o.variant.seed == seed]
        points = [(o.variant.experiment.loop.num_steps * minutes, o.rate) for o in mine]
        if seed == loop.seed:
            points.append((loop.num_steps * minutes, mean_over_tasks(outcomes_by_task(run.results))))
        points.sort(key=lambda point: point[0])
        xy = tuple((x, rate.value) for x, rate in points)
        curves.append(Curve(name=f"seed {seed}", points=xy, intervals=tuple(rate.interval for _, rate in points)))
    return tuple(curves)


def _summary(outcome: Outcome, step_seconds: float) -> dict[str, Any]:
    steps, rate = outcome.variant.experiment.loop.num_steps, outcome.rate
    return {
        "steps": steps,
        "train_minutes": steps * step_seconds / 60,
        "success_rate": rate.value,
        "success_interval": list(rate.interval),
        "num_episodes": rate.count,
    }
