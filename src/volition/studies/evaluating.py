"""`volition eval`: a checkpoint against an environment that must fit its contract, or against recorded actions."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import replace
from functools import partial
from pathlib import Path
from typing import Any

import torch

from volition.config import Contract
from volition.contract import require_equal
from volition.data.open import load_episodes, load_spec
from volition.data.remote import located
from volition.envs.desk.chains import chains
from volition.envs.desk.environment import DeskConfig, desk_spec
from volition.envs.desk.starts import DEMO, NONE
from volition.envs.desk.tasks import TASKS
from volition.evaluation.chain import chain_trials, score_chains
from volition.evaluation.episodes import EpisodeResult, Trial
from volition.evaluation.offline import offline_metrics
from volition.evaluation.rollout import RolloutConfig, evaluate
from volition.evaluation.suite import score_tasks, task_trials
from volition.policy import Policy
from volition.records import Start
from volition.studies.eval_config import EvalConfig
from volition.studies.recording import make_desk, require_tasks
from volition.studies.training import load_policy

Say = Callable[[str, float, str], None]


def evaluate_checkpoint(config: EvalConfig, say: Say = lambda phase, share, text: None) -> dict[str, Any]:
    """Everything that was asked for, in one document of plain values."""
    require_tasks(config.tasks)
    policy, contract = load_policy(config.checkpoint, allow=config.allow, device=config.device)
    score: dict[str, Any] = {"checkpoint": str(config.checkpoint), "env": config.env}
    if config.offline is not None:
        score["offline"] = _offline(policy, contract, config.offline)
    if config.chains or config.starts:
        env = make_env_config(contract, config)
        if config.chains:
            results = _run(policy, contract, env, _chains(config), config, say)
            score |= score_chains(results).to_json()
        if config.starts:
            tasks = config.tasks or TASKS
            trials = task_trials(tasks, num_starts=config.starts, first_seed=config.seed, scenes=config.scenes)
            results = _run(policy, contract, env, trials, config, say)
            score |= score_tasks(results).to_json()
            score["episodes"] = [result.to_json() for result in results]
        score["max_steps"] = config.max_steps
    return score


def make_env_config(contract: Contract, config: EvalConfig) -> DeskConfig:
    """The desk with the cameras of the contract; everything else about the robot must be equal, or it is refused."""
    own = desk_spec(contract.robot.image_sizes)
    require_equal(contract.robot, own, left_name="the checkpoint's robot", right_name=f"the environment {config.env!r}")
    return DeskConfig(
        image_sizes=contract.robot.image_sizes, shift=DEMO if config.shift else NONE, scenes=config.scenes
    )


def _chains(config: EvalConfig) -> list[Trial]:
    found = chains(config.chains, config.seed)
    return chain_trials(
        [
            Start(seed=config.seed + i, tasks=chain.tasks, scene=config.scenes[i % len(config.scenes)])
            for i, chain in enumerate(found)
        ]
    )


def _run(
    policy: Policy, contract: Contract, env: DeskConfig, trials: list[Trial], config: EvalConfig, say: Say
) -> list[EpisodeResult]:
    rollout = RolloutConfig(
        replan_steps=contract.window.replan_steps,
        max_steps=config.max_steps,
        num_workers=config.workers,
        slots_per_worker=max(1, min(16, -(-len(trials) // max(1, config.workers)))),
        batch=16,
    )
    finished: list[EpisodeResult] = []

    def hear(result: EpisodeResult) -> None:
        finished.append(result)
        say("evaluate", len(finished) / len(trials), f"{sum(r.num_successes for r in finished)} tasks done")

    with one_thread():
        return evaluate(policy, partial(make_desk, env), trials, rollout, hear)


class one_thread:  # noqa: N801  reads as a verb: `with one_thread():`
    """The policy leaves the other cores to the workers: threads that wait for each other lose to them tenfold."""

    def __enter__(self) -> None:
        self._before = torch.get_num_threads()
        torch.set_num_threads(1)

    def __exit__(self, *_: object) -> None:
        torch.set_num_threads(self._before)


def _offline(policy: Policy, contract: Contract, path: Path) -> dict[str, Any]:
    path = located(path)
    ours, theirs = (replace(spec, cameras=()) for spec in (contract.robot, load_spec(path)))  # any picture size will do
    require_equal(ours, theirs, left_name="the checkpoint's robot", right_name=f"that of {path}")
    stride = contract.window.replan_steps
    return offline_metrics(policy, load_episodes(path), contract.robot.action_space, stride=stride).to_json()
