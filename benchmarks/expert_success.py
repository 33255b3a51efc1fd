"""How often the scripted expert succeeds, physics only.

    python benchmarks/expert_success.py --starts 20 --shift             per task, 20 starts in each scene
    python benchmarks/expert_success.py --starts 0 --chains 200         five-task chains, average length

Prints a table per task and scene with mean steps to success, and for chains the share with at least 1..5 successes.
"""

from __future__ import annotations

import argparse
import logging
from collections import Counter
from collections.abc import Callable, Sequence
from functools import partial
from multiprocessing import get_context
from typing import TypeVar

import numpy as np

from volition.envs.desk.chains import chains
from volition.envs.desk.environment import DeskConfig, DeskEnv
from volition.envs.desk.state import SCENES
from volition.envs.desk.tasks import TASKS
from volition.records import Start

log = logging.getLogger("expert_success")
MAX_STEPS = 360


def attempt(env: DeskEnv, task: str, rng: np.random.Generator | None) -> int:
    """Steps to success from where the environment is, 0 for none within MAX_STEPS."""
    env.begin(task)
    noisy = None if rng is None else env.demonstrate(task, rng)
    for step in range(MAX_STEPS):
        if env.step(env.label(task) if noisy is None else next(noisy)[0]):
            return step + 1
    return 0


def run_task(task: str, *, starts: int, seed: int, shift: bool, noise: bool) -> list[list[int]]:
    """Steps to success, int[scenes][starts]."""
    env = DeskEnv(DeskConfig(shift=shift))
    results = []
    for scene in SCENES:
        row = []
        for i in range(starts):
            env.reset(Start(seed * 1000 + i, (task,), scene))
            row.append(attempt(env, task, np.random.default_rng([seed, i]) if noise else None))
        results.append(row)
    return results


def run_chains(indices: Sequence[int], *, seed: int, shift: bool, noise: bool) -> list[tuple[int, str]]:
    """For each chain how many of the five tasks succeeded, and the one that failed ("" for none)."""
    env = DeskEnv(DeskConfig(shift=shift))
    made = chains(max(indices) + 1, seed)
    results = []
    for index in indices:
        env.reset(Start(seed * 1000 + index, made[index].tasks, SCENES[index % len(SCENES)]))
        rng = np.random.default_rng([seed, index]) if noise else None
        failed = next((task for task in made[index].tasks if not attempt(env, task, rng)), None)
        done = 5 if failed is None else made[index].tasks.index(failed)
        results.append((done, "" if failed is None else f"{failed} (chain {index})"))
    return results


Item, Result = TypeVar("Item"), TypeVar("Result")


def mapped(function: Callable[[Item], Result], items: Sequence[Item], workers: int) -> list[Result]:
    if workers == 1:
        return [function(item) for item in items]
    with get_context("spawn").Pool(workers) as pool:
        return pool.map(function, items, chunksize=1)


def report_tasks(tasks: Sequence[str], results: Sequence[list[list[int]]]) -> None:
    total = good = 0
    for task, scenes in zip(tasks, results):
        steps = [value for row in scenes for value in row if value]
        good += len(steps)
        total += sum(len(row) for row in scenes)
        counts = "  ".join(f"{scene} {sum(v > 0 for v in row):3d}/{len(row)}" for scene, row in zip(SCENES, scenes))
        failed = [f"{scene}{i}" for scene, row in zip(SCENES, scenes) for i, value in enumerate(row) if not value]
        mean = f"{np.mean(steps):5.1f} steps, at most {max(steps):3d}" if steps else "never"
        log.info("%-26s %s  %s  %s", task, counts, mean, " ".join(failed))
    log.info("all %d tasks: %d/%d = %.2f %%", len(tasks), good, total, 100 * good / total)


def report_chains(results: Sequence[tuple[int, str]]) -> None:
    lengths = np.array([length for length, _ in results])
    shares = "  ".join(f"{100 * np.mean(lengths >= n):.1f}" for n in range(1, 6))
    log.info("%d chains: average length %.3f; at least 1..5: %s %%", len(lengths), lengths.mean(), shares)
    for failure, number in Counter(failure for _, failure in results if failure).most_common():
        log.info("  failed: %s x%d", failure, number)


def main() -> None:
    logging.basicConfig(level=logging.INFO, format="%(message)s")
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--starts", type=int, default=20, help="per task and scene")
    parser.add_argument("--tasks", nargs="*", default=list(TASKS))
    parser.add_argument("--shift", action=argparse.BooleanOptionalAction, default=False, help="furniture and camera")
    parser.add_argument("--noise", action="store_true", help="run the disturbed demonstrations")
    parser.add_argument("--chains", type=int, default=0)
    parser.add_argument("--seed", type=int, default=0)
    parser.add_argument("--workers", type=int, default=1)
    options = parser.parse_args()
    if options.starts:
        run = partial(run_task, starts=options.starts, seed=options.seed, shift=options.shift, noise=options.noise)
        report_tasks(options.tasks, mapped(run, options.tasks, options.workers))
    if options.chains:
        shares = [range(k, options.chains, options.workers) for k in range(options.workers)]
        run_share = partial(run_chains, seed=options.seed, shift=options.shift, noise=options.noise)
        report_chains([result for share in mapped(run_share, shares, options.workers) for result in share])


if __name__ == "__main__":
    main()
