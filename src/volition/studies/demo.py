"""`volition demo`: record, train, evaluate, report. Every number in the report was measured in this run.

runs/demo/{data/, config.json, metrics.jsonl, checkpoints/, eval/*.json, report.json, report.html}
"""

from __future__ import annotations

import json
import time
from collections.abc import Callable, Iterator, Mapping, Sequence
from contextlib import contextmanager
from dataclasses import dataclass, field, replace
from pathlib import Path
from typing import Any

from volition.config import Experiment, Recording
from volition.evaluation.chunking import Execute
from volition.evaluation.episodes import EpisodeResult, Trial
from volition.evaluation.probes import SwapScore, score_swaps, swap_trials
from volition.evaluation.rollout import RolloutConfig, evaluate
from volition.evaluation.suite import score_tasks, task_trials
from volition.policy import Policy
from volition.recipes.desk import demo, demo_recording
from volition.studies.demo_report import build_report
from volition.studies.eval_subject import MAX_BATCH, one_thread, slots_of
from volition.studies.output import write
from volition.studies.recording import ensure_data
from volition.studies.report import write_report
from volition.studies.training import load_policy, run_training
from volition.training.checkpoint import list_checkpoints
from volition.training.metrics import read_metrics

TIMINGS = "timings.json"
EVAL_SEED, SWAP_SEED = 900_000, 950_000  # starts that no demonstration begins from
WORKERS = 2

Say = Callable[[str, float, str], None]  # phase, share done 0..1, what is going on


@dataclass(frozen=True, kw_only=True)
class DemoConfig:
    run: Path = Path("runs/demo")
    starts_per_task: int = 10
    swaps_per_task: int = 2
    max_steps: int = 360
    num_films: int = 9
    experiment: Experiment = field(default_factory=demo)

    @property
    def recording(self) -> Recording:
        """What it shows and is tested in: the tasks and the environment of its demonstrations."""
        assert self.experiment.data.recording is not None, "the demo records its own demonstrations"
        return self.experiment.data.recording

    @classmethod
    def small(cls, run: Path) -> DemoConfig:
        """A minute or two: the same path with four demonstrations and one start a task. It proves nothing else."""
        experiment = demo()
        loop = replace(experiment.loop, num_steps=60, log_every=10, save_every=60)
        data = replace(experiment.data, recording=demo_recording(4))
        return cls(
            run=run, starts_per_task=1, swaps_per_task=1, num_films=3, max_steps=60,
            experiment=replace(experiment, data=data, loop=loop),
        )  # fmt: skip


@dataclass(kw_only=True)
class DemoRun:
    """What the phases of a demo left behind, for the report."""

    config: DemoConfig
    seconds: dict[str, float]
    results: list[EpisodeResult] = field(default_factory=list)
    swaps: list[EpisodeResult] = field(default_factory=list)
    metrics: list[dict[str, float]] = field(default_factory=list)
    episodes: int = 0
    frames: int = 0

    @property
    def swap_score(self) -> SwapScore:
        return score_swaps(self.swaps)

    @contextmanager
    def timed(self, name: str, *, continues: bool = False) -> Iterator[None]:
        """Measure a phase. One that `continues` what an earlier call began adds to the time that call took."""
        started = time.perf_counter()
        try:
            yield
        finally:
            spent = time.perf_counter() - started
            self.seconds[name] = spent + (self.seconds.get(name, 0.0) if continues else 0.0)
            _write_json(self.config.run / TIMINGS, self.seconds)


def run_demo(config: DemoConfig, say: Say = lambda phase, share, text: None) -> Path:
    """All phases, then the report; returns its page."""
    run = measure(config, say)
    with run.timed("films and report"):
        say("report", 0.0, "filming")
        report = build_report(run)
    say("report", 1.0, "written")
    return write_report(replace(report, seconds=sum(run.seconds.values())), config.run)


def measure(config: DemoConfig, say: Say) -> DemoRun:
    """Record, train and evaluate; what is finished already in `config.run` is not done again."""
    before = config.run / TIMINGS
    run = DemoRun(config=config, seconds=json.loads(before.read_text()) if before.exists() else {})
    experiment = replace(config.experiment, data=replace(config.experiment.data, path=str(config.run / "data")))
    with run.timed("record", continues=True):
        recorded = ensure_data(
            experiment.data,
            progress=lambda p: say("record", p.jobs / p.total_jobs, f"{p.episodes} demonstrations"),
        )
    info = json.loads((recorded / "meta" / "info.json").read_text())
    run.episodes, run.frames = info["total_episodes"], info["total_frames"]
    with run.timed("train", continues=True):
        train_or_resume(experiment, config.run, say)
    run.metrics = read_metrics(config.run / "metrics.jsonl")
    policy, _ = load_policy(config.run)
    with run.timed("evaluate"):
        run.results = evaluate_tasks(policy, config, experiment, say)
    with run.timed("swap instructions"):
        run.swaps = evaluate_swaps(policy, config, experiment)
    _write_json(config.run / "eval" / "tasks.json", results_json(run.results))
    _write_json(config.run / "eval" / "swap.json", run.swap_score.to_json())
    return run


def train_or_resume(experiment: Experiment, run: Path, say: Say) -> None:
    done = list_checkpoints(run)
    if done and done[-1].name == f"step_{experiment.loop.num_steps}":
        return

    def show(line: Mapping[str, float]) -> None:
        say("train", line["step"] / experiment.loop.num_steps, f"loss {line['loss']:.3f}")

    run_training(experiment, run, resume=bool(done), progress=show)


def rollout_config(config: DemoConfig, experiment: Experiment, num_trials: int) -> RolloutConfig:
    return RolloutConfig(
        chunking=Execute(steps=experiment.window.replan_steps),
        max_steps=config.max_steps,
        num_workers=WORKERS,
        slots_per_worker=slots_of(config.recording.env, num_trials, WORKERS),
        batch=MAX_BATCH,
    )


def evaluate_tasks(policy: Policy, config: DemoConfig, experiment: Experiment, say: Say) -> list[EpisodeResult]:
    """Unseen starts, unseen wordings."""
    trials = _trials(config, config.starts_per_task, EVAL_SEED)
    finished: list[EpisodeResult] = []

    def hear(number: int, result: EpisodeResult) -> None:
        finished.append(result)
        right = sum(r.success for r in finished)
        say("evaluate", len(finished) / len(trials), f"{right} of {len(finished)} done")

    with one_thread():
        return evaluate(
            policy, config.recording.env.make, trials, rollout_config(config, experiment, len(trials)), hear
        )


def evaluate_swaps(policy: Policy, config: DemoConfig, experiment: Experiment) -> list[EpisodeResult]:
    """Starts made for one task, told another that can be done there as well: does the arm do what is said?"""
    made = _trials(config, config.swaps_per_task, SWAP_SEED)
    env, tasks = config.recording.env, config.recording.record.tasks
    swapped = swap_trials(made, feasible=env.feasible, tasks=tasks)
    with one_thread():
        return evaluate(policy, env.make, swapped, rollout_config(config, experiment, len(swapped)))


def _trials(config: DemoConfig, num_starts: int, first_seed: int) -> list[Trial]:
    tasks, scenes = config.recording.record.tasks, config.recording.env.scenes
    return task_trials(tasks, num_starts=num_starts, first_seed=first_seed, scenes=scenes)


def results_json(results: Sequence[EpisodeResult]) -> dict[str, Any]:
    return {**score_tasks(results).to_json(), "episodes": [result.to_json() for result in results]}


def _write_json(path: Path, document: Any) -> None:
    path.parent.mkdir(parents=True, exist_ok=True)
    write(path, document)
