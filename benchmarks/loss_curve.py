"""Whether a run's loss falls the same in bfloat16 and compiled as in plain float32: the same recipe, data and steps.

    OMP_NUM_THREADS=1 python benchmarks/loss_curve.py --data DATASET [--steps 300] [--seeds 0 1] [--run FOLDER]
                                                      [--sides float32 both]

The `smoke` recipe's model on a dataset that exists, e.g. the demo's. Prints, for every seed, how far the logged losses
(means of `log_every` steps) of each side lie from float32's of that seed, and, as the measure of noise, how far
float32's of two seeds lie apart. A side that is in the folder already is not run again. bfloat16 is computed even where
the processor has no instructions for it and only imitates it: ten times slower, the same numbers.
"""

from __future__ import annotations

import argparse
import logging
import time
from dataclasses import replace
from itertools import combinations
from pathlib import Path
from unittest.mock import patch

import numpy as np
from numpy.typing import NDArray

from volition.backbones import TinyPaliGemma
from volition.config import Experiment
from volition.recipes.desk import smoke
from volition.studies.training import run_training
from volition.training.checkpoint import list_checkpoints
from volition.training.metrics import read_metrics

logger = logging.getLogger(__name__)
SIDES = {"float32": (False, False), "bfloat16": (True, False), "compiled": (False, True), "both": (True, True)}


def experiment(side: str, seed: int, data: str, steps: int) -> Experiment:
    bfloat16, compiled = SIDES[side]
    base = smoke()
    return replace(
        base,
        data=replace(base.data, path=data, recording=None),
        backbone=TinyPaliGemma(bfloat16=bfloat16),
        loop=replace(base.loop, num_steps=steps, seed=seed, save_every=steps, compile=compiled),
    )


def losses(side: str, seed: int, data: str, steps: int, folder: Path) -> NDArray[np.float64]:
    run = folder / f"{side}-{seed}"
    if not list_checkpoints(run):
        started = time.monotonic()
        with patch("volition.backbones.precision.computes_in_bfloat16", lambda device: True):
            run_training(experiment(side, seed, data, steps), run, resume=run.exists())
        logger.info("%s, seed %d: %.0f s", side, seed, time.monotonic() - started)
    return np.array([line["loss"] for line in read_metrics(run / "metrics.jsonl")])


def say_apart(name: str, ours: NDArray[np.float64], theirs: NDArray[np.float64]) -> None:
    apart, last = 100 * (ours / theirs - 1), len(ours) // 6
    at_the_end = 100 * (ours[-last:].mean() / theirs[-last:].mean() - 1)
    logger.info(
        "%-34s at most %4.1f %%, in the mean %+.1f %%, over the last sixth %+.1f %%",
        *(name, np.abs(apart).max(), apart.mean(), at_the_end),
    )


def main() -> None:
    logging.basicConfig(level=logging.INFO, format="%(message)s")
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--data", required=True)
    parser.add_argument("--steps", type=int, default=300)
    parser.add_argument("--seeds", type=int, nargs="+", default=[0, 1])
    parser.add_argument("--sides", choices=SIDES, nargs="+", default=["float32", "both"])
    parser.add_argument("--run", type=Path, default=Path("runs/loss-curve"))
    options = parser.parse_args()
    curves = {
        (side, seed): losses(side, seed, options.data, options.steps, options.run)
        for side in ["float32", *(side for side in options.sides if side != "float32")]
        for seed in options.seeds
    }
    for side, seed in curves:
        if side != "float32":
            say_apart(f"{side} against float32, seed {seed}", curves[side, seed], curves["float32", seed])
    for one, other in combinations(options.seeds, 2):
        say_apart(f"float32, seed {one} against {other}", curves["float32", one], curves["float32", other])


if __name__ == "__main__":
    main()
