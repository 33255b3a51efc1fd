"""kill -9 at random moments of training and saving, resume, and compare with the run that nobody stopped.

    OMP_NUM_THREADS=1 python benchmarks/kill_resume.py [--kills 100] [--seed 0]

A tiny PaliGemma with an LSTM head on noise, 40 steps, a checkpoint every other step (weights, moments and a moving
average), a validation with each. Every attempt is a process of its own, forked so that it need not import anything, and
killed after a random time; when a run reaches its end, its metrics, weights, moments and averages must equal the
undisturbed run's to the bit, and the next run begins. Prints how many kills there were, how many fell into the writing
of a checkpoint, and how many runs came out different (the status is 1 if any did).
"""

from __future__ import annotations

import argparse
import logging
import os
import random
import signal
import sys
import tempfile
import time
from pathlib import Path

from volition.backbones import TinyPaliGemma
from volition.backbones.images import Augmentation
from volition.config import DataConfig, Experiment, WindowConfig
from volition.contract import Camera, RobotSpec, relative_arm_7d
from volition.heads import LSTMHeadConfig
from volition.studies.audit import NoiseEpisode
from volition.studies.training import run_training_on
from volition.training.checkpoint import list_checkpoints, resolve, verify
from volition.training.metrics import read_metrics
from volition.training.optim import OptimConfig
from volition.training.train import LoopConfig

logger = logging.getLogger(__name__)
MACHINE = ("_seconds", "_per_second", "_bytes")  # ends of names of numbers that no two runs share
ROBOT = RobotSpec(
    action_space=relative_arm_7d(), cameras=(Camera(name="static", height=32, width=32),), state=(), control_hz=15.0
)
EXPERIMENT = Experiment(
    data=DataConfig(cameras=("static",), held_out=0.25),
    window=WindowConfig(num_obs_steps=2, obs_stride=1, action_horizon=3, replan_steps=1),
    backbone=TinyPaliGemma(width=64, num_heads=2, vision_layers=1, text_layers=2, image_size=32),
    head=LSTMHeadConfig(hidden=64),
    loop=LoopConfig(
        num_steps=40,
        batch_size=4,
        accumulate=2,
        log_every=1,
        save_every=2,
        keep_last=2,
        ema_decay=0.9,
        augmentation=Augmentation(shift=0.05, brightness=0.1),
        optim=OptimConfig(warmup_steps=5),
    ),
)


def train(run: Path) -> None:
    episodes = [NoiseEpisode(robot=ROBOT, seed=seed) for seed in range(4)]
    run_training_on(EXPERIMENT, episodes, ROBOT, run, resume=True)


def attempt(run: Path, seconds: float) -> tuple[bool, bool]:
    """Go on with the run, at most that long: (it reached its end, a checkpoint was being written at the kill)."""
    child = os.fork()
    if child == 0:
        status = 1
        try:
            train(run)
            status = 0
        finally:
            os._exit(status)
    until = time.monotonic() + seconds
    while time.monotonic() < until:
        ended, status = os.waitpid(child, os.WNOHANG)
        if ended:
            if status:
                raise SystemExit(f"an attempt failed with status {status}, see above")
            return True, False
        time.sleep(0.002)
    os.kill(child, signal.SIGKILL)
    os.waitpid(child, 0)
    return False, any(run.glob("checkpoints/.step_*.writing"))


def content(run: Path) -> tuple[list[dict[str, float | int]], dict[str, bytes]]:
    lines = [
        {name: value for name, value in line.items() if not name.endswith(MACHINE)}
        for line in read_metrics(run / "metrics.jsonl")
    ]
    last = resolve(run)
    assert last.name == f"step_{EXPERIMENT.loop.num_steps}"
    return lines, {path.name: path.read_bytes() for path in last.glob("*.safetensors")}


def main() -> None:
    logging.basicConfig(level=logging.INFO, format="%(message)s")
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--kills", type=int, default=100)
    parser.add_argument("--seed", type=int, default=0)
    options = parser.parse_args()
    draw = random.Random(options.seed)
    with tempfile.TemporaryDirectory() as folder:
        whole = Path(folder) / "whole"
        started = time.monotonic()
        assert attempt(whole, 3600.0)[0]
        length = time.monotonic() - started
        expected = content(whole)
        kills = writing = runs = different = lost = 0
        while kills < options.kills:
            run, done = Path(folder) / f"run-{runs}", False
            while not done:
                # Once the kills are used up, the run may finish.
                done, in_writing = attempt(run, draw.uniform(0.0, 0.6 * length) if kills < options.kills else 3600.0)
                kills, writing = kills + (not done), writing + in_writing
                for path in list_checkpoints(run):
                    try:
                        verify(path)
                    except ValueError:
                        lost += 1
            runs, different = runs + 1, different + (content(run) != expected)
            logger.info("%d kills, %d runs finished, %d different", kills, runs, different)
    logger.info(
        "%d kills (%d while a checkpoint was written) in %d runs of %.1f s: %d runs different, %d checkpoints lost",
        *(kills, writing, runs, length, different, lost),
    )
    sys.exit(bool(different or lost))


if __name__ == "__main__":
    main()
