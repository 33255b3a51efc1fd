"""Throughput of two processes against one, each with one thread: what data-parallel training costs.

    OMP_NUM_THREADS=1 python benchmarks/ranks_speed.py [--rounds 3] [--strategy replicate]

The demo's tiny PaliGemma (1.37 M parameters) on noise in its shapes, 32 windows of two looks from two cameras in a step
for one process and 64 for two, so that each has as much to do. Rounds alternate between the sides; a side's speed is
that of the median round. With both cores free the limit is 2; the machine's load stands in the output.
"""

from __future__ import annotations

import argparse
import logging
import os
import statistics
import subprocess
import sys
import tempfile
from dataclasses import replace
from pathlib import Path
from typing import Literal, cast

from volition.recipes import demo
from volition.studies.audit import data_of
from volition.studies.training import run_training_on
from volition.training.distributed import DistributedConfig
from volition.training.metrics import read_metrics
from volition.training.ranks import joined

logger = logging.getLogger(__name__)
STEPS, WARM = 30, 10  # the first lines are not counted
WINDOWS = 32  # of a process


def train(folder: Path, processes: int, strategy: Literal["replicate", "shard"]) -> None:
    experiment, episodes, robot, _ = data_of(replace(demo(), data=replace(demo().data, path="nowhere", recording=None)))
    loop = replace(
        experiment.loop,
        num_steps=STEPS,
        batch_size=WINDOWS * processes,
        log_every=1,
        save_every=STEPS,
        distributed=DistributedConfig(strategy=strategy),
    )
    with joined(alone=strategy == "shard") as (ranks, _):
        run_training_on(replace(experiment, loop=loop), episodes, robot, folder, ranks=ranks)


def windows_per_second(processes: int, strategy: str) -> float:
    with tempfile.TemporaryDirectory() as folder:
        run = Path(folder) / "run"
        launch = ["-m", "torch.distributed.run", "--standalone", "--nproc-per-node", "2"] if processes == 2 else []
        flags = ["--run", str(run), "--processes", str(processes), "--strategy", strategy]
        environment = {**os.environ, "OMP_NUM_THREADS": "1"}
        subprocess.run([sys.executable, *launch, __file__, *flags], check=True, env=environment)
        lines = read_metrics(run / "metrics.jsonl")[WARM:]
    return WINDOWS * processes / statistics.median(line["step_seconds"] for line in lines)


def main() -> None:
    logging.basicConfig(level=logging.INFO, format="%(message)s")
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--rounds", type=int, default=3)
    parser.add_argument("--strategy", choices=("replicate", "shard"), default="replicate")
    parser.add_argument("--run", type=Path, help=argparse.SUPPRESS)
    parser.add_argument("--processes", type=int, default=1, help=argparse.SUPPRESS)
    options = parser.parse_args()
    if options.run:
        train(options.run, options.processes, cast(Literal["replicate", "shard"], options.strategy))
        return
    found: dict[int, list[float]] = {1: [], 2: []}
    for _ in range(options.rounds):
        for processes, speeds in found.items():
            speeds.append(windows_per_second(processes, options.strategy))
            load = os.getloadavg()[0]
            logger.info("%d process(es): %.1f windows/s (load %.1f)", processes, speeds[-1], load)
    one, two = (statistics.median(speeds) for speeds in found.values())
    logger.info("%s: one %.1f, two %.1f windows/s: %.2f x", options.strategy, one, two, two / one)


if __name__ == "__main__":
    main()
