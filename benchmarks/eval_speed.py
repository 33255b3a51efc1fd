"""Where the time of `volition eval --chains` goes, and how long 1,000 chains take on this machine.

    OMP_NUM_THREADS=1 python benchmarks/eval_speed.py CHECKPOINT [--env desk] [--chains 64] [--workers 2] [--batch 16]

Runs the first chains of the protocol as `volition eval` does and counts: CPU seconds of the policy, of the rest of its
process and of the environments; rows of the policy's calls that were asked for, and that were filled up. A few chains
have a long tail in which most slots are idle, so what 1,000 take is extrapolated from the CPU seconds a control step
costs: the cores shared evenly (nothing is faster), and the policy's process alone on its core.
"""

from __future__ import annotations

import argparse
import json
import resource
import sys
import time
from collections.abc import Sequence
from dataclasses import replace
from pathlib import Path
from typing import Any

import numpy as np
import torch

from volition.envs.table import find_env
from volition.evaluation.chain import chain_trials, score_chains
from volition.evaluation.rollout import evaluate
from volition.policy import Policy
from volition.records import Actor, Observation
from volition.studies.eval_config import EvalConfig
from volition.studies.eval_subject import Subject, make_plan
from volition.studies.output import tell


class Counted:
    """The policy, and what it was asked for."""

    def __init__(self, policy: Policy, log: dict[str, float]):
        self.policy, self.log = policy, log

    def start(self, n: int) -> list[Any]:
        return self.policy.start(n)

    def padded_for(self, instructions: Sequence[str]) -> Actor:
        return Counted(self.policy.padded_for(instructions), self.log)

    def act(self, observations: Sequence[Observation], states: Sequence[Any]) -> tuple[np.ndarray, list[Any]]:
        began = time.process_time()
        answer = self.policy.act(observations, states)
        self.log["seconds"] += time.process_time() - began
        self.log["calls"] += 1
        self.log["rows"] += len(observations)
        return answer


def measure(config: EvalConfig[Any]) -> dict[str, float]:
    subject = Subject.load(config.checkpoint, config)
    env = config.environment.fit(subject.contract.robot)
    plan = make_plan(config, subject, env, chain_trials(env.chains(config.chains)), "speed")
    log = dict.fromkeys(("seconds", "calls", "rows"), 0.0)
    assert isinstance(subject.policy, Policy)
    torch.set_num_threads(1)
    wall, own = time.perf_counter(), time.process_time()
    children = resource.getrusage(resource.RUSAGE_CHILDREN)
    results = evaluate(Counted(subject.policy, log), plan.factory, plan.trials, plan.rollout)
    wall, own = time.perf_counter() - wall, time.process_time() - own
    after = resource.getrusage(resource.RUSAGE_CHILDREN)
    worked = sum(getattr(after, name) - getattr(children, name) for name in ("ru_utime", "ru_stime"))
    attempts = [attempt for result in results for attempt in result.attempts]
    steps, asked = sum(a.num_steps for a in attempts), sum(a.num_calls for a in attempts)
    score = score_chains(results)
    return {
        "chains": len(results),
        "average_length": score.average_length.value,
        "steps_per_chain": steps / len(results),
        "steps_per_call_of_a_robot": steps / max(1, asked),
        "wall_seconds": wall,
        "control_steps_per_second": steps / wall,
        "policy_seconds_per_1000_steps": 1000 * log["seconds"] / steps,
        "rest_of_its_process": 1000 * (own - log["seconds"]) / steps,
        "environments": 1000 * worked / steps,
        "milliseconds_per_row": 1000 * log["seconds"] / max(1.0, log["rows"]),
        "share_of_rows_filled_up": 1.0 - asked / max(1.0, log["rows"]),
        "rows_per_call": log["rows"] / max(1.0, log["calls"]),
    }


def extrapolated(found: dict[str, float], *, chains: int = 1000, cores: int = 2) -> dict[str, float]:
    """Minutes for so many chains of as many steps."""
    thousands = chains * found["steps_per_chain"] / 1000
    process = found["policy_seconds_per_1000_steps"] + found["rest_of_its_process"]
    every = process + found["environments"]
    return {
        "minutes_if_shared_evenly": thousands * every / cores / 60,
        "minutes_by_the_policy_process": thousands * max(process, every / cores) / 60,
    }


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("checkpoint", type=Path)
    parser.add_argument("--env", default="desk")
    parser.add_argument("--chains", type=int, default=64)
    parser.add_argument("--workers", type=int, default=2)
    parser.add_argument("--batch", type=int, nargs="+", default=[16])
    parser.add_argument("--replan-steps", type=int, nargs="+", default=[0], help="0: as trained")
    options = parser.parse_args()
    config: EvalConfig[Any] = EvalConfig(
        checkpoint=options.checkpoint,
        environment=find_env(options.env)(),
        env=options.env,
        chains=options.chains,
        workers=options.workers,
    )
    for batch in options.batch:
        for steps in options.replan_steps:
            found = measure(replace(config, batch=batch, replan_steps=steps or None))
            row = {"batch": batch, "replan_steps": steps} | found | extrapolated(found)
            tell(json.dumps({name: round(value, 3) for name, value in row.items()}))


if __name__ == "__main__":
    sys.exit(main())
