"""`volition eval`: a checkpoint against an environment that must fit its contract, or against recorded actions."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass, replace
from pathlib import Path
from typing import Any

import torch

from volition.config import Contract
from volition.contract import require_equal
from volition.data.open import load_episodes, load_spec
from volition.envs.base import EnvConfig, require_tasks
from volition.evaluation.chain import chain_trials, score_chains
from volition.evaluation.episodes import EpisodeResult, Trial, troubles
from volition.evaluation.offline import offline_metrics
from volition.evaluation.rollout import RolloutConfig
from volition.evaluation.suite import score_tasks, task_trials
from volition.policy import Policy
from volition.studies.eval_config import EvalConfig
from volition.studies.eval_run import Done, Plan, Say, Share, checkpoint_hash, folder_of, run_folder, run_plan
from volition.studies.output import write
from volition.studies.training import load_policy

MAX_BATCH = 16  # rows of a policy call; more make no small model faster


@dataclass(frozen=True, kw_only=True)
class Subject:
    """A checkpoint that is evaluated."""

    path: Path
    policy: Policy
    contract: Contract

    @classmethod
    def load(cls, path: Path, config: EvalConfig[Any]) -> Subject:
        policy, contract = load_policy(path, allow=config.allow, device=config.device)
        return cls(path=path, policy=policy, contract=contract)


def evaluate_checkpoint(config: EvalConfig[Any], say: Say = lambda phase, share, text: None) -> dict[str, Any]:
    """Everything that was asked for, in one document of plain values."""
    require_tasks(config.environment, config.tasks)
    subject = Subject.load(config.checkpoint, config)
    score: dict[str, Any] = {"checkpoint": str(config.checkpoint), "env": config.env}
    if config.offline is not None:
        score["offline"] = _offline(subject, config.offline)
    if config.closed_loop:
        env = config.environment.fit(subject.contract.robot)
        for key, plan in plans(config, subject, env).items():
            found = run(config, subject, plan, say)
            score |= {key: found} if key else found
    return score


def plans(config: EvalConfig[Any], subject: Subject, env: EnvConfig) -> dict[str, Plan]:
    """Key of the score ("": its top level) -> what is run for it."""
    found = {}
    if config.chains:
        trials = chain_trials(env.chains(config.chains))
        found[""] = make_plan(config, subject, env, trials, f"chains-{config.chains}")
    if config.resampled:
        trials = chain_trials(env.chains(config.resampled, config.seed))
        found["resampled"] = make_plan(config, subject, env, trials, f"resampled-{config.resampled}")
    if config.starts:
        tasks = config.tasks or env.tasks
        trials = task_trials(tasks, num_starts=config.starts, first_seed=config.seed, scenes=env.scenes)
        found[""] = make_plan(config, subject, env, trials, f"starts-{config.starts}")
    return found


def make_plan(config: EvalConfig[Any], subject: Subject, env: EnvConfig, trials: Sequence[Trial], name: str) -> Plan:
    rollout = RolloutConfig(
        replan_steps=subject.contract.window.replan_steps,
        max_steps=config.max_steps or env.max_steps,
        space=subject.contract.robot.action_space,
        num_workers=config.workers,
        slots_per_worker=max(1, min(env.slots_per_worker, -(-len(trials) // max(1, config.workers)))),
        batch=config.batch or min(MAX_BATCH, env.slots_per_worker),
        patience_seconds=config.patience,
    )
    about = {"checkpoint": checkpoint_hash(subject.path), "device": config.device}
    return Plan(name=f"{config.env.rpartition(':')[2]}-{name}", env=env, trials=trials, rollout=rollout, about=about)


def run(config: EvalConfig[Any], subject: Subject, plan: Plan, say: Say) -> dict[str, Any]:
    """Run a plan and score it; where this was one shard of several, say what is still missing."""
    folder = config.out / plan.name if config.out else folder_of(run_folder(subject.path), plan)
    share = Share.parse(config.shard)
    with one_thread():
        done = run_plan(plan, subject.policy, folder, share=share, retry_errors=config.retry_errors, say=say)
    if not done.complete:
        return {
            "folder": str(folder),
            "num_finished": len(done.results),
            "num_episodes": len(plan.trials),
            "next": "run the other shards, copy their folders here, and: volition eval --merge FOLDER ...",
        }
    score = score_of(done) | speed_of(done)
    write(folder / "score.json", score)
    return score


def score_of(done: Done) -> dict[str, Any]:
    """Every figure of a finished evaluation; equal whenever the results are."""
    results = done.ordered
    wrong = troubles(results)
    score = figures(results) | wrong
    if wrong["num_errors"]:  # what the figures would be if nothing that broke could have become a success
        score["if_errors_were_failures"] = figures([replace(result, error="") for result in results])
    steps, calls = (sum(getattr(a, name) for r in results for a in r.attempts) for name in ("num_steps", "num_calls"))
    return score | {
        "max_steps": done.settings["rollout"]["max_steps"],
        "control_steps": steps,
        "policy_calls": calls,
        "steps_per_policy_call": steps / max(1, calls),
        "settings": dict(done.settings),
        "folder": str(done.folder),
    }


def figures(results: Sequence[EpisodeResult]) -> dict[str, Any]:
    """Of chains where trials have several commands, of single tasks and every episode where they have one."""
    if len(results[0].trial.commands) > 1:
        return score_chains(results).to_json()
    return score_tasks(results).to_json() | {"episodes": [result.to_json() for result in results]}


def speed_of(done: Done) -> dict[str, Any]:
    """Of what this call ran."""
    attempts = [attempt for number in done.ran for attempt in done.results[number].attempts]
    seconds = max(done.seconds, 1e-9)
    return {
        "evaluation_seconds": done.seconds,
        "episodes_per_second": len(done.ran) / seconds,
        "control_steps_per_second": sum(a.num_steps for a in attempts) / seconds,
        "policy_calls_per_second": sum(a.num_calls for a in attempts) / seconds,
    }


class one_thread:  # noqa: N801  reads as a verb: `with one_thread():`
    """The policy leaves the other cores to the workers: threads that wait for each other lose to them tenfold."""

    def __enter__(self) -> None:
        self._before = torch.get_num_threads()
        torch.set_num_threads(1)

    def __exit__(self, *_: object) -> None:
        torch.set_num_threads(self._before)


def _offline(subject: Subject, path: Path) -> dict[str, Any]:
    contract = subject.contract
    ours, theirs = (replace(spec, cameras=()) for spec in (contract.robot, load_spec(path)))  # any picture size will do
    require_equal(ours, theirs, left_name="the checkpoint's robot", right_name=f"that of {path}")
    stride = contract.window.replan_steps
    episodes = load_episodes(path)
    return offline_metrics(subject.policy, episodes, contract.robot.action_space, stride=stride).to_json()
