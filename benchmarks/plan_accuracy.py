"""What `volition plan` predicts on a CPU, against what a process of its own then needs.

    OMP_NUM_THREADS=1 python benchmarks/plan_accuracy.py [--batch 8] [--kept]

A PaliGemma of 89 M parameters (random, 8 vision layers of 512, 10 text layers of 640, pictures of 128) on noise, in
three settings: all weights, all layers recomputed, LoRA. Memory is predicted from dry runs with one and two windows,
time from a dry run of four steps, as `volition plan` does for the setting that it takes; measured in a process of its
own: peak resident memory, and the median time of a step. Both as the command that it prints runs, or with --kept where
the C library keeps memory that is free again.
"""

from __future__ import annotations

import argparse
import json
import logging
import os
import statistics
import subprocess
import sys
import tempfile
from pathlib import Path

from volition.backbones import TinyPaliGemma
from volition.config import DataConfig, Experiment, WindowConfig
from volition.contract import Camera, RobotSpec, relative_arm_7d
from volition.heads import LSTMHeadConfig
from volition.studies.audit import NoiseEpisode
from volition.studies.footprint import measure, step_seconds
from volition.studies.planning import MENU, RETURNING, Settings
from volition.studies.training import run_training_on
from volition.training.meter import process_bytes
from volition.training.metrics import read_metrics
from volition.training.train import LoopConfig

logger = logging.getLogger(__name__)
ROBOT = RobotSpec(
    action_space=relative_arm_7d(), cameras=(Camera(name="static", height=128, width=128),), state=(), control_hz=15.0
)
EPISODES = [NoiseEpisode(robot=ROBOT, seed=seed) for seed in range(4)]
NAMES = ("all weights", "all weights, all layers recomputed", "LoRA")
STEPS = 5


def experiment(batch: int) -> Experiment:
    return Experiment(
        data=DataConfig(cameras=("static",)),
        window=WindowConfig(num_obs_steps=2, obs_stride=1, action_horizon=4, replan_steps=1),
        backbone=TinyPaliGemma(
            width=640, num_heads=10, vision_layers=8, text_layers=10, mlp_ratio=3, image_size=128, patch_size=16
        ),
        head=LSTMHeadConfig(hidden=256),
        loop=LoopConfig(num_steps=STEPS, batch_size=batch, log_every=1, save_every=1000),
    )


def settings(name: str) -> Settings:
    return next(one for one in MENU if one.name == name)


def predict(name: str, batch: int) -> tuple[float, float, float]:
    """(millions of parameters, peak bytes, seconds of a step)"""
    base = process_bytes()
    chosen = settings(name).apply(experiment(batch))
    found = measure(chosen, EPISODES, ROBOT)
    peak = base + found.bytes_of(batch)  # before anything else is done here
    return found.weight_bytes / 4e6, peak, step_seconds(chosen, EPISODES, ROBOT, batch)


def run(name: str, batch: int) -> tuple[float, float]:
    """(peak bytes, median seconds of a step) of this process: nothing else may have been done in it."""
    chosen = settings(name).apply(experiment(batch))
    peaks: list[float] = []
    with tempfile.TemporaryDirectory() as folder:
        # The last step is saved, which copies: what training takes is what was there before.
        run_training_on(chosen, EPISODES, ROBOT, Path(folder), progress=lambda line: peaks.append(line["memory_bytes"]))
        lines = read_metrics(Path(folder) / "metrics.jsonl")
    return peaks[-1], statistics.median(line["step_seconds"] for line in lines[1:])


def apart(kind: str, name: str, batch: int, variables: str) -> list[float]:
    """In a process of its own; variables: what stands before its command."""
    done = subprocess.run(
        [sys.executable, __file__, kind, name, "--batch", str(batch)],
        capture_output=True,
        text=True,
        check=True,
        env=os.environ | dict(one.split("=") for one in variables.split()),
    )
    return list(json.loads(done.stdout))


def main() -> None:
    logging.basicConfig(level=logging.INFO, format="%(message)s")
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("kind", nargs="?", choices=("predict", "run"))
    parser.add_argument("name", nargs="?", choices=NAMES)
    parser.add_argument("--batch", type=int, default=8)
    parser.add_argument("--kept", action="store_true")
    options = parser.parse_args()
    if options.kind:
        found = (predict if options.kind == "predict" else run)(options.name, options.batch)
        sys.stdout.write(json.dumps(list(found)))
        return
    for name in NAMES:
        variables = "" if options.kept else RETURNING
        millions, memory, seconds = apart("predict", name, options.batch, variables)
        true_memory, true_seconds = apart("run", name, options.batch, variables)
        logger.info(
            "%-34s %.1f M  %.2f GB predicted, %.2f measured (%+.0f %%)  %.2f s predicted, %.2f measured (%+.0f %%)",
            *(name, millions, memory / 1e9, true_memory / 1e9, 100 * (memory / true_memory - 1)),
            *(seconds, true_seconds, 100 * (seconds / true_seconds - 1)),
        )


if __name__ == "__main__":
    main()
