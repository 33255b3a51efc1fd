"""How far CALVIN's scripted expert gets along the official sequences, in the real simulator, physics only.

    VOLITION_CALVIN_ENV=... VOLITION_CALVIN=... python benchmarks/calvin_expert.py --chains 200 [--scene A]

Says the average length, its interval, and the share of sequences with at least 1 to 5 tasks; every failure by its task.
"""

from __future__ import annotations

import argparse
import sys
import time
from collections.abc import Iterator

from volition.envs.calvin.config import CalvinSimConfig
from volition.envs.calvin.environment import CalvinEnv
from volition.evaluation.statistics import bounded_mean
from volition.records import Start


def first_failure(env: CalvinEnv, start: Start, max_steps: int) -> tuple[int, int]:
    """Tasks that were done, and steps that were taken."""
    env.reset(start)
    steps = 0
    for number, task in enumerate(start.tasks):
        env.begin(task)
        for _ in range(max_steps):
            steps += 1
            if env.step(env.label(task)):
                break
        else:
            return number, steps
    return len(start.tasks), steps


def rows(scene: str, first: int, chains: int) -> Iterator[str]:
    config = CalvinSimConfig(scenes=(scene,))
    env = CalvinEnv(config)
    lengths, steps, begun = [], 0, time.process_time()
    for number, start in enumerate(config.chains(first + chains)[first:], first):
        length, taken = first_failure(env, start, config.max_steps)
        lengths.append(length)
        steps += taken
        if length < len(start.tasks):
            yield f"sequence {number}: fails at {length + 1}, {start.tasks[length]}"
    mean = bounded_mean(lengths, 0, 5)
    shares = ", ".join(f"{sum(n >= least for n in lengths) / len(lengths):.1%}" for least in range(1, 6))
    seconds = time.process_time() - begun
    yield f"scene {scene}, {mean.count} sequences from {first}"
    yield f"average length {mean.value:.3f} ({mean.low:.2f} to {mean.high:.2f})"
    yield f"at least 1 to 5 tasks: {shares}"
    yield f"{steps} control steps, {1000 * seconds / steps:.2f} ms of the processor each, expert and judge included"


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--chains", type=int, default=200)
    parser.add_argument("--first", type=int, default=0)
    parser.add_argument("--scene", default="D", help="the official sequences are for D, and can be done in A to C too")
    arguments = parser.parse_args()
    for row in rows(arguments.scene, arguments.first, arguments.chains):
        sys.stdout.write(f"{row}\n")
        sys.stdout.flush()


if __name__ == "__main__":
    main()
