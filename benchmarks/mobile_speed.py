"""Control steps a second of the mobile base, on one core: physics alone, with judge, with expert, with the camera.

    OMP_NUM_THREADS=1 python benchmarks/mobile_speed.py [--repeats 7]

The expert's actions of one episode with two boxes are repeated in every setting; then the robot is driven into a box
and pushes against it. The settings take turns, and of each the best repeat counts, since machines are shared; time is
of the processor, not of the clock. The last line relates the figures to a yardstick without a simulator.
"""

from __future__ import annotations

import argparse
import logging
import time
from collections.abc import Callable

import numpy as np

from volition.envs.mobile.environment import MobileConfig, MobileEnv
from volition.records import Start

logger = logging.getLogger(__name__)

TASK = "left_then_right"
START = Start(seed=0, tasks=(TASK,), scene="A")


def begin(env: MobileEnv) -> None:
    env.reset(START)
    env.begin(TASK)


def episode(env: MobileEnv) -> list[np.ndarray]:
    """The expert's actions."""
    begin(env)
    actions: list[np.ndarray] = []
    while not actions or not env.step(actions[-1]):
        actions.append(env.label(TASK))
    return actions


def settings(env: MobileEnv) -> dict[str, Callable[[np.ndarray], object]]:
    mobile, pad = env.mobile, lambda action: np.concatenate((action, np.zeros(3 - len(action))))
    return {
        "physics": lambda action: mobile.step(pad(action)),
        "physics, judge": env.step,
        "physics, judge, expert's label": lambda action: (env.step(action), env.label(TASK)),
        "physics, judge, front 72 x 128": lambda action: (env.step(action), env.observe("")),
        "physics, judge, front 144 x 256": lambda action: (env.step(action), mobile.render_at("front", 144, 256)),
        "physics, judge, a frame of a film": lambda action: (env.step(action), env.frame()),
    }


def seconds_per_step(env: MobileEnv, actions: list[np.ndarray], step: Callable[[np.ndarray], object]) -> float:
    begin(env)
    before = time.process_time()
    for action in actions:
        step(action)
    return (time.process_time() - before) / len(actions)


def products_per_second(repeats: int) -> float:
    """256 x 256 float64 matrix products a second."""
    matrix, best = np.ones((256, 256)), np.inf
    for _ in range(repeats * 20):
        before = time.process_time()
        for _ in range(10):
            matrix @ matrix
        best = min(best, (time.process_time() - before) / 10)
    return float(1.0 / best)


def main() -> None:
    parser = argparse.ArgumentParser(description=(__doc__ or "").split("\n", maxsplit=1)[0])
    parser.add_argument("--repeats", type=int, default=7)
    repeats = parser.parse_args().repeats
    logging.basicConfig(level=logging.INFO, format="%(message)s")
    env = MobileConfig().make()
    assert isinstance(env, MobileEnv)
    best: dict[str, float] = {}
    ways = {"free": episode(env), "against a box": [np.array([0.5, 0.0])] * 60}
    for _ in range(repeats):
        for way, actions in ways.items():
            for name, step in settings(env).items():
                taken = seconds_per_step(env, actions, step)
                best[f"{name}, {way}"] = min(taken, best.get(f"{name}, {way}", np.inf))
        before = time.process_time()
        begin(env)
        best["a reset"] = min(time.process_time() - before, best.get("a reset", np.inf))
    for name, taken in best.items():
        logger.info("%-52s %7.0f a second", name, 1.0 / taken)
    logger.info("%-52s %7.0f a second", "yardstick: 256 x 256 matrix products", products_per_second(repeats))


if __name__ == "__main__":
    main()
