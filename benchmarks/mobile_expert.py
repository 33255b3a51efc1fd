"""How often the mobile base's scripted expert succeeds, and how often one would without eyes or ears. Physics only.

    python benchmarks/mobile_expert.py --starts 20 [--noise] [--space 3d]
    python benchmarks/mobile_expert.py --starts 20 --controls

Per task: successes, steps, and the way driven against the shortest. `--controls` adds, on the same starts: the expert
of one of the four orders that could be told there, drawn by chance (deaf), the expert's actions from another start of
the same task, and the mean of its actions over all starts (blind).
"""

from __future__ import annotations

import argparse
import logging
from collections.abc import Iterable, Sequence

import numpy as np

from volition.envs.mobile.environment import MAX_STEPS, MobileConfig, MobileEnv, Space
from volition.envs.mobile.state import SCENES
from volition.envs.mobile.tasks import TASKS
from volition.evaluation.statistics import wilson
from volition.records import Start

logger = logging.getLogger(__name__)


def start_of(task: str, number: int, seed: int) -> Start:
    return Start(seed=seed * 10_000 + number, tasks=(task,), scene=SCENES[number % len(SCENES)])


def play(env: MobileEnv, start: Start, actions: Iterable[np.ndarray]) -> list[np.ndarray] | None:
    """The actions up to success, None for a failure."""
    taken: list[np.ndarray] = []
    env.reset(start)
    env.begin(start.tasks[0])
    for action, _ in zip(actions, range(MAX_STEPS)):
        taken.append(action)
        if env.step(action):
            return taken
    return None


def expert(env: MobileEnv, task: str) -> Iterable[np.ndarray]:
    while True:
        yield env.label(task)


def disturbed(env: MobileEnv, task: str, seed: int) -> Iterable[np.ndarray]:
    return (executed for executed, _ in env.demonstrate(task, np.random.default_rng(seed)))


def run_task(env: MobileEnv, task: str, starts: Sequence[Start], *, noise: bool) -> tuple[int, list[np.ndarray]]:
    """Successes, and the actions of each."""
    ways, steps, ratios = [], [], []
    for number, start in enumerate(starts):
        way = play(env, start, disturbed(env, task, number) if noise else expert(env, task))
        if way is not None:
            ways.append(np.array(way))
            steps.append(len(way))
            ratios.append(env.measures()["path_ratio"])
    mean = (
        f"{np.mean(steps):5.1f} steps, at most {max(steps)}; way {np.mean(ratios):.3f} of the shortest" if steps else ""
    )
    logger.info("%-22s %3d of %d  %s", task, len(ways), len(starts), mean)
    return len(ways), ways


def run_controls(env: MobileEnv, task: str, starts: Sequence[Start], ways: Sequence[np.ndarray]) -> dict[str, int]:
    """Successes of what knows less."""
    rng = np.random.default_rng(0)
    longest = max(len(way) for way in ways)
    mean = np.mean([np.pad(way, ((0, longest - len(way)), (0, 0))) for way in ways], axis=0)
    found = dict.fromkeys(("an order by chance", "another start's actions", "mean actions"), 0)
    for number, start in enumerate(starts):
        told = str(rng.choice(env.config.feasible(start)))
        found["an order by chance"] += play(env, start, expert(env, told)) is not None
        found["another start's actions"] += play(env, start, ways[(number + 1) % len(ways)]) is not None
        found["mean actions"] += play(env, start, mean) is not None
    return found


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--starts", type=int, default=20, help="of every task")
    parser.add_argument("--space", choices=("2d", "3d"), nargs="*", default=["2d", "3d"])
    parser.add_argument("--noise", action="store_true", help="run the disturbed demonstrations")
    parser.add_argument("--controls", action="store_true", help="what one could do without eyes or ears")
    parser.add_argument("--seed", type=int, default=0)
    options = parser.parse_args()
    logging.basicConfig(level=logging.INFO, format="%(message)s")
    spaces: list[Space] = options.space
    for space in spaces:
        env, good, controls = MobileConfig(space=space).make(), 0, dict[str, int]()
        for task in TASKS:
            starts = [start_of(task, number, options.seed) for number in range(options.starts)]
            successes, ways = run_task(env, task, starts, noise=options.noise)
            good += successes
            if options.controls:
                for name, count in run_controls(env, task, starts, ways).items():
                    controls[name] = controls.get(name, 0) + count
        for name, count in {f"expert, {space}": good, **controls}.items():
            rate = wilson(count, options.starts * len(TASKS))
            logger.info("%-26s %4d of %d = %.1f %% (%.1f to %.1f)", name, count, rate.count, *(
                100 * value for value in (rate.value, *rate.interval)
            ))  # fmt: skip


if __name__ == "__main__":
    main()
