"""Throughput of two processes against one, each with one thread: what data-parallel training costs.

    OMP_NUM_THREADS=1 python benchmarks/ranks_speed.py [--rounds 3] [--strategy replicate]

The demo's tiny PaliGemma (1.9 M parameters) on noise in its shapes, 32 windows of two looks from two cameras in a step
for one process and 64 for two, so that each has as much to do. Rounds alternate between the sides; a side's speed is
that of the median round. The limit is what two runs that know nothing of each other do at the same time: 2 where each
has a core of its own, less where they share one, or memory. The machine's load stands in the output.
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
ONE, TOGETHER, APART = "one process", "two ranks of one run", "two runs of their own"


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


def windows_per_second(side: str, strategy: str) -> float:
    processes, runs = (2 if side == TOGETHER else 1), (2 if side == APART else 1)
    launch = ["-m", "torch.distributed.run", "--standalone", "--nproc-per-node", "2"] if processes == 2 else []
    environment = {**os.environ, "OMP_NUM_THREADS": "1"}
    with tempfile.TemporaryDirectory() as folder:
        outs = [Path(folder) / f"run-{number}" for number in range(runs)]
        flags = ["--processes", str(processes), "--strategy", strategy]
        started = [
            subprocess.Popen([sys.executable, *launch, __file__, "--out", str(out), *flags], env=environment)
            for out in outs
        ]
        failed = [process.wait() for process in started]
        if any(failed):
            raise SystemExit(f"a process of {side!r} failed; what it said stands above")
        lines = [read_metrics(out / "metrics.jsonl")[WARM:] for out in outs]
    return sum(WINDOWS * processes / statistics.median(line["step_seconds"] for line in some) for some in lines)


def main() -> None:
    logging.basicConfig(level=logging.INFO, format="%(message)s")
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--rounds", type=int, default=3)
    parser.add_argument("--strategy", choices=("replicate", "shard"), default="replicate")
    parser.add_argument("--out", type=Path, help=argparse.SUPPRESS)
    parser.add_argument("--processes", type=int, default=1, help=argparse.SUPPRESS)
    options = parser.parse_args()
    if options.out:
        train(options.out, options.processes, cast(Literal["replicate", "shard"], options.strategy))
        return
    found: dict[str, list[float]] = {ONE: [], TOGETHER: [], APART: []}
    for _ in range(options.rounds):
        for side, speeds in found.items():
            speeds.append(windows_per_second(side, options.strategy))
            logger.info("%s: %.1f windows/s (load %.1f)", side, speeds[-1], os.getloadavg()[0])
    one, *more = (statistics.median(speeds) for speeds in found.values())
    for side, speed in zip((TOGETHER, APART), more):
        logger.info("%s: %s %.1f, against %.1f windows/s: %.2f x", options.strategy, side, speed, one, speed / one)


if __name__ == "__main__":
    main()
