"""Interleaved history, one robot, window 8: keys and values kept from step to step against the window computed anew.

    OMP_NUM_THREADS=1 python benchmarks/history_speed.py [--steps 48]

Both sides see the same pictures and run the same weights (random, PaliGemma's architecture, 6 vision and 8 text layers
of 256, two pictures of 128 pixels and a sentence a step). The window computed anew is what a policy without a cache
does at every step once its history is full: eight steps through the whole model. Ours is measured over many steps, so
that the rows that begin anew (every sixth step) count as they come. Steps alternate between the two sides.
"""

from __future__ import annotations

import argparse
import logging
import statistics
import time

import numpy as np
import torch

from volition.backbones import TinyPaliGemma
from volition.config import DataConfig, Experiment, WindowConfig
from volition.contract import Camera, RobotSpec, relative_arm_7d
from volition.heads import MLPHeadConfig
from volition.policy import Policy
from volition.records import Observation

logger = logging.getLogger(__name__)
WINDOW, SIZE, CAMERAS = 8, 128, ("static", "gripper")


def make_policy() -> Policy:
    torch.manual_seed(0)
    robot = RobotSpec(
        action_space=relative_arm_7d(),
        cameras=tuple(Camera(name=name, height=SIZE, width=SIZE) for name in CAMERAS),
        state=(),
        control_hz=30.0,
    )
    experiment = Experiment(
        data=DataConfig(cameras=CAMERAS),
        window=WindowConfig(num_obs_steps=WINDOW, history="interleaved"),
        backbone=TinyPaliGemma(width=256, num_heads=8, vision_layers=6, text_layers=8, image_size=SIZE),
        head=MLPHeadConfig(),
    )
    return experiment.build(robot).eval()


def observe(rng: np.random.Generator) -> Observation:
    images = {name: rng.integers(0, 256, (1, SIZE, SIZE, 3), dtype=np.uint8) for name in CAMERAS}
    return Observation(images, np.zeros((1, 0), np.float32), "push the blue block over to the left")


def join(steps: list[Observation]) -> Observation:
    images = {name: np.concatenate([step.images[name] for step in steps]) for name in CAMERAS}
    return Observation(images, np.zeros((len(steps), 0), np.float32), steps[0].instruction)


@torch.inference_mode()
def anew(policy: Policy, window: list[Observation]) -> None:
    batch = policy.collator.batch([join(window)])
    assert policy.backbone.encode(batch).readout.shape[1] == len(window)


def main() -> None:
    logging.basicConfig(level=logging.INFO, format="%(message)s")
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--steps", type=int, default=48)
    options = parser.parse_args()
    policy, rng = make_policy(), np.random.default_rng(0)
    states, seen = policy.start(1), []
    times: dict[str, list[float]] = {"streamed": [], "anew": []}
    for step in range(WINDOW + options.steps):
        seen = [*seen, observe(rng)][-WINDOW:]
        started = time.perf_counter()
        _, states = policy.act(seen[-1:], states)
        between = time.perf_counter()
        anew(policy, seen)
        if step >= WINDOW:  # from here on every window is full
            times["streamed"].append(between - started)
            times["anew"].append(time.perf_counter() - between)
    for name, found in times.items():
        logger.info(
            "%-9s mean %7.1f ms   median %7.1f ms   longest %7.1f ms",
            name, 1e3 * statistics.mean(found), 1e3 * statistics.median(found), 1e3 * max(found),
        )  # fmt: skip
    logger.info(
        "anew / streamed: %.1f x in the mean", statistics.mean(times["anew"]) / statistics.mean(times["streamed"])
    )


if __name__ == "__main__":
    main()
