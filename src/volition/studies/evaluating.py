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
from volition.data.remote import located
from volition.envs.base import EnvConfig, require_tasks
from volition.evaluation.chain import chain_trials, compare_chains, score_chains
from volition.evaluation.episodes import EpisodeResult, Trial, troubles
from volition.evaluation.offline import offline_metrics
from volition.evaluation.rollout import RolloutConfig
from volition.evaluation.suite import compare, score_tasks, task_trials
from volition.policy import Policy
from volition.studies.eval_config import EvalConfig
from volition.studies.eval_run import Done, Plan, Say, Share, checkpoint_hash, folder_of, run_folder, run_plan
from volition.studies.output import write
from volition.studies.training import load_policy
from volition.training import checkpoint as checkpoints

MAX_BATCH = 16  # rows of a policy call; more make no small model faster


@dataclass(frozen=True, kw_only=True)
class Subject:
    """A checkpoint that is evaluated."""

    path: Path
    policy: Policy
    contract: Contract

    @property
    def name(self) -> str:
        """'demo-step_900', for people."""
        step = checkpoints.resolve(self.path)
        return f"{run_folder(self.path).name}-{step.name}"

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
        subjects = [subject, *([Subject.load(config.against, config)] if config.against else [])]
        score |= _closed_loop(config, subjects, say)
    return score


def _closed_loop(config: EvalConfig[Any], subjects: Sequence[Subject], say: Say) -> dict[str, Any]:
    """The score of the first; where there is a second, how they differ on the same starts."""
    score: dict[str, Any] = {}
    found = [plans(config, subject, config.environment.fit(subject.contract.robot)) for subject in subjects]
    for key, plan in found[0].items():
        ran = [perform(config, subject, mine[key], say) for subject, mine in zip(subjects, found)]
        document = document_of(plan, ran[0])
        if len(ran) == 2 and all(done.complete for done in ran):
            document["against"] = {"checkpoint": str(config.against), **difference(ran[0], ran[1])}
        score |= {key: document} if key else document
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


def perform(config: EvalConfig[Any], subject: Subject, plan: Plan, say: Say) -> Done:
    """Run what is missing of a plan, in the folder that it has."""
    folder = config.out / f"{subject.name}-{plan.name}" if config.out else folder_of(run_folder(subject.path), plan)
    share = Share.parse(config.shard)
    with one_thread():
        return run_plan(plan, subject.policy, folder, share=share, retry_errors=config.retry_errors, say=say)


def document_of(plan: Plan, done: Done) -> dict[str, Any]:
    """The score, which is left beside the results too; where this was one shard of several, what is still missing."""
    if not done.complete:
        return {
            "folder": str(done.folder),
            "num_finished": len(done.results),
            "num_episodes": len(plan.trials),
            "next": "run the other shards, copy their folders here, and: volition eval --merge FOLDER ...",
        }
    score = score_of(done) | speed_of(done)
    write(done.folder / "score.json", score)
    return score


def difference(first: Done, second: Done) -> dict[str, Any]:
    """How much better the first did on the same trials, and the figures of the second."""
    compared = compare_chains if _are_chains(first.ordered) else compare
    found = compared(first.ordered, second.ordered).to_json()
    return found | {"theirs": figures(second.ordered), "folder": str(second.folder)}


def _are_chains(results: Sequence[EpisodeResult]) -> bool:
    return len(results[0].trial.commands) > 1


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
    if _are_chains(results):
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
    path = located(path)
    ours, theirs = (replace(spec, cameras=()) for spec in (contract.robot, load_spec(path)))  # any picture size will do
    require_equal(ours, theirs, left_name="the checkpoint's robot", right_name=f"that of {path}")
    stride = contract.window.replan_steps
    episodes = load_episodes(path)
    return offline_metrics(subject.policy, episodes, contract.robot.action_space, stride=stride).to_json()
