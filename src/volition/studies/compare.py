"""`volition compare`: any fields of a recipe varied, everything else the same, and a table that says how sure it is.

    variants x seeds --run_one, in processes--> result.json in each run folder --rows--> compare.json, compare.html

Every run has the same data, order of samples, held-out episodes, steps and starts. A run that is finished is never done
again, one that was interrupted goes on where it stopped.
"""

from __future__ import annotations

import json
import statistics
import time
from collections.abc import Callable, Sequence
from dataclasses import dataclass, replace
from pathlib import Path
from typing import Any

import numpy as np
import torch

from volition.config import DataConfig, Experiment, dump, packages_of
from volition.contract import RobotSpec
from volition.data.files import json_differences, read_json, write_json
from volition.data.mixture import Source
from volition.data.split import split_episodes
from volition.evaluation.chunking import Execute
from volition.evaluation.episodes import EpisodeResult
from volition.evaluation.offline import offline_metrics
from volition.evaluation.rollout import RolloutConfig, evaluate
from volition.evaluation.suite import task_trials
from volition.policy import Policy
from volition.records import Episode, Observation
from volition.studies.eval_subject import one_thread
from volition.studies.recording import ensure_data
from volition.studies.same_recipe import dataset_hashes
from volition.studies.screening import screened, stored_batches
from volition.studies.spread import Engine, spread
from volition.studies.training import (
    load_policy,
    make_batches,
    make_transforms,
    open_dataset,
    open_sources,
    run_training,
)
from volition.studies.validation import in_robot_units
from volition.studies.vary import Variant
from volition.training.checkpoint import list_checkpoints
from volition.training.metrics import read_metrics
from volition.training.train import NotFiniteError, Trainer, train

RESULT, ASKED = "result.json", "asked.json"
HELD_OUT = 0.1  # where the recipe holds nothing out
FIRST_START = 900_000  # seeds of starts that no demonstration begins from

Say = Callable[[str, float, str], None]


@dataclass(frozen=True, kw_only=True)
class CompareConfig:
    run: Path
    seeds: tuple[int, ...] = (0, 1, 2)
    starts: int = 5  # of every task, closed-loop; 0: none
    tasks: tuple[str, ...] = ()  # by default those that the recipe records
    max_steps: int = 0  # of an episode; 0: as many as the environment gives
    jobs: int = 2  # runs at a time
    engine: Engine = "processes"
    screen: bool = False  # heads alone, on what the frozen VLM reads out
    device: str = "cpu"  # where runs train and act

    def __post_init__(self) -> None:
        if self.screen and self.device != "cpu":
            raise ValueError("--screen trains heads on what is stored, on the CPU: leave --device out")
        if not self.seeds or len(set(self.seeds)) < len(self.seeds):
            raise ValueError(f"seeds must be different numbers, at least one, got {list(self.seeds)}")
        if self.starts < 0 or self.jobs < 0:
            raise ValueError(f"starts={self.starts} and jobs={self.jobs} must be at least 0")


@dataclass(frozen=True, kw_only=True)
class Task:
    """One run: everything that a process on another machine needs."""

    config: CompareConfig
    variant: Variant
    seed: int

    @property
    def folder(self) -> Path:
        kind = "screened" if self.config.screen else "runs"
        return self.config.run / kind / f"{self.variant.folder}-seed{self.seed}"

    @property
    def experiment(self) -> Experiment:
        experiment = self.variant.with_seed(self.seed)
        data = replace(experiment.data, held_out=experiment.data.held_out or HELD_OUT)
        return replace(experiment, data=data, auxiliary=() if self.config.screen else experiment.auxiliary)


def compare(
    variants: Sequence[Variant], config: CompareConfig, say: Say = lambda phase, share, text: None
) -> list[dict[str, Any]]:
    """What came of every run, in the order of variants and seeds."""
    tasks = [Task(config=config, variant=variant, seed=seed) for variant in variants for seed in config.seeds]
    hashes: dict[tuple[str, ...], list[str]] = {}  # many runs learn from the same datasets
    for task in tasks:  # errors of a recipe come before the first run, not after an hour
        require_runnable(task)
        data = task.experiment.data
        paths = (data.path, *(source.path for source in data.sources))
        if paths not in hashes:
            hashes[paths] = dataset_hashes(data)
        require_same_question(task, hashes[paths])
    found: dict[int, dict[str, Any]] = {
        number: read_json(task.folder / RESULT) for number, task in enumerate(tasks) if (task.folder / RESULT).exists()
    }
    left = [number for number in range(len(tasks)) if number not in found]
    say("compare", len(found) / len(tasks), f"{len(found)} of {len(tasks)} runs were there already")
    for place, result in spread(
        run_one, [tasks[number] for number in left], jobs=config.jobs, engine=config.engine, device=config.device
    ):
        found[left[place]] = result
        task = tasks[left[place]]
        say("compare", len(found) / len(tasks), f"{task.variant.name}, seed {task.seed}")
    return [found[number] for number in range(len(tasks))]


def require_same_question(task: Task, datasets: Sequence[str]) -> None:
    """What a run's folder answers is written into it before the run begins; another question there is an error."""
    path, now = task.folder / ASKED, asked(task, datasets)
    if not path.exists():
        if list_checkpoints(task.folder):
            raise ValueError(f"{task.folder} holds a run that no comparison began: take another --run")
        write_json(path, now)
    elif differences := json_differences(read_json(path), now):
        raise ValueError(f"{task.folder} belongs to another comparison ({differences[0]}): take another --run")


def asked(task: Task, datasets: Sequence[str]) -> Any:
    """As JSON: all that a result depends on; datasets: hashes of what is learned from."""
    config = task.config
    kept = ("starts", "tasks", "max_steps", "screen", *(["device"] if config.device != "cpu" else []))
    how = {"datasets": list(datasets), **{name: getattr(config, name) for name in kept}}
    return json.loads(json.dumps({**asked_of(task.experiment), **how}))


def asked_of(experiment: Experiment) -> dict[str, Any]:
    """A recipe as JSON, without where its data lies and how many processes record it: neither changes a result."""
    told = dump(experiment)
    recording = told["data"].pop("recording")
    if recording is not None:
        recording["record"].pop("workers")
    for dataset in (told["data"], *told["data"]["sources"]):
        dataset.pop("path")
    return {"experiment": told, "recording": recording}


def run_one(task: Task) -> dict[str, Any]:
    """Train, validate, act; what was found, and written to the run's folder. A run that diverges is a result too."""
    experiment, folder = task.experiment, task.folder
    episodes, robot = open_dataset(experiment.data)
    learned, held_out = split_episodes(episodes, experiment.data.held_out)
    others = open_sources(experiment.data, robot)
    found: dict[str, Any] = {
        "name": task.variant.name,
        "seed": task.seed,
        "steps": experiment.loop.num_steps,
        "action_dim": robot.action_space.dim,
    }
    try:
        policy = _screened(task, learned, robot, others) if task.config.screen else _trained(task)
    except NotFiniteError as error:
        found |= {"diverged": str(error), "curve": [], "episodes": []}
        write_json(folder / RESULT, found)
        return found
    lines = read_metrics(folder / "metrics.jsonl")
    score = offline_metrics(policy, held_out, robot.action_space, stride=experiment.window.replan_steps)
    _, epoch_steps = make_batches(experiment, policy, learned, others)
    found |= {
        "train_loss": _last_mean([line["loss"] for line in lines]),
        "validation_loss": next((x["validation_loss"] for x in reversed(lines) if "validation_loss" in x), None),
        "mae": statistics.fmean(score.chunk_mae) if score.chunk_mae else None,
        **in_robot_units(score, robot.action_space),
        "epochs": experiment.loop.num_steps / epoch_steps,
        "parameters": sum(p.numel() for p in policy.parameters()),
        "head_parameters": sum(p.numel() for p in policy.head.parameters()),
        "act_seconds": latency(policy, held_out[0]),
        "curve": [[line["step"], line["loss"]] for line in lines],
        "episodes": [episode_of(result) for result in act_out(policy, experiment, task.config)],
    }
    write_json(folder / RESULT, found)
    return found


def _trained(task: Task) -> Policy:
    experiment, folder, device = task.experiment, task.folder, task.config.device
    done = list_checkpoints(folder)
    if not done or done[-1].name != f"step_{experiment.loop.num_steps}":
        run_training(experiment, folder, resume=bool(done), device=device)
    policy, _ = load_policy(folder, device=device, allow=packages_of(experiment))
    return policy


def _screened(task: Task, learned: Sequence[Episode], robot: RobotSpec, others: Sequence[Source]) -> Policy:
    """The head alone, on stored read-outs; its metrics in the run's folder."""
    experiment = task.experiment
    loop = experiment.loop
    torch.manual_seed(loop.seed)
    whole = experiment.build(robot, make_transforms(experiment, learned, robot, others))
    draw, _ = make_batches(experiment, whole, learned, others)
    policy = screened(whole)
    datasets = read_json(task.folder / ASKED)["datasets"]
    stored = stored_batches(experiment, policy, draw, task.config.run / "readouts", datasets)
    trainer = Trainer.create(policy, loop)
    lines = [json.dumps(line) for line in train(trainer, stored, loop)]
    (task.folder / "metrics.jsonl").write_text("".join(f"{line}\n" for line in lines))
    return policy.eval()


def require_runnable(task: Task) -> None:
    """ValueError where this recipe and its data do not go together."""
    experiment = task.experiment
    if not experiment.data.path:
        raise ValueError("this recipe brings no dataset of its own: pass --data.path with the folder of one")
    if task.config.starts and experiment.data.recording is None:
        raise ValueError(
            "closed-loop success needs a recipe that says in which environment it was recorded (data.recording): "
            "pass --starts 0 to compare on the held-out episodes alone"
        )


def prepare(experiments: Sequence[Experiment], say: Say) -> None:
    """Record what is to be learned from, once and before all runs."""
    done: list[DataConfig] = []
    for experiment in experiments:
        data = DataConfig(path=experiment.data.path, recording=experiment.data.recording)
        if data not in done:
            ensure_data(data, progress=lambda p: say("record", p.jobs / p.total_jobs, f"{p.episodes} demonstrations"))
            done.append(data)


def act_out(policy: Policy, experiment: Experiment, config: CompareConfig) -> list[EpisodeResult]:
    """The same starts and wordings for every run."""
    recording = experiment.data.recording
    if not config.starts or recording is None:
        return []
    env = recording.env
    tasks = config.tasks or recording.record.tasks
    trials = task_trials(tasks, num_starts=config.starts, first_seed=FIRST_START, scenes=env.scenes)
    slots = min(env.slots_per_worker, len(trials))
    rollout = RolloutConfig(
        chunking=Execute(steps=experiment.window.replan_steps),
        max_steps=config.max_steps or env.max_steps,
        num_workers=0,  # runs stand side by side already
        slots_per_worker=slots,
        batch=slots,
    )
    with one_thread():
        return evaluate(policy, env.make, trials, rollout)


def episode_of(result: EpisodeResult) -> dict[str, Any]:
    return {"task": result.task, "seed": result.seed, "scene": result.scene, "success": result.success}


def latency(policy: Policy, episode: Episode, *, rounds: int = 10) -> float:
    """Median seconds from an observation to a chunk, one robot, once its history has begun."""
    step = np.array([0])
    seen = Observation(images=episode.images(step), state=episode.states(step), instruction=episode.instructions[0])
    states, found = policy.start(1), []
    for _ in range(rounds + 2):
        started = time.perf_counter()
        _, states = policy.act([seen], states)
        found.append(time.perf_counter() - started)
    return statistics.median(found[2:])


def _last_mean(losses: Sequence[float]) -> float | None:
    """Of the last tenth of the lines."""
    return statistics.fmean(losses[-max(1, len(losses) // 10) :]) if losses else None
