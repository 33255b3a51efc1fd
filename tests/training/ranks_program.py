"""What test_ranks runs on two processes: every strategy on the toy world, a run folder for each.

torchrun --standalone --nproc-per-node 2 -m tests.training.ranks_program FOLDER
"""

import os
import signal
import sys
from collections.abc import Mapping
from dataclasses import replace
from pathlib import Path

from tests.toy import SPEC
from tests.training.test_train import EXPERIMENT, Recorded
from volition.auxiliary import FutureImageConfig
from volition.config import Experiment
from volition.studies.training import run_training_on
from volition.training.distributed import DistributedConfig
from volition.training.optim import OptimConfig
from volition.training.ranks import FirstError, joined, place
from volition.training.recompute import RecomputeConfig

SHARD = DistributedConfig(strategy="shard")
BASE = replace(
    EXPERIMENT,
    data=replace(EXPERIMENT.data, held_out=0.2),
    auxiliary=(FutureImageConfig(weight=0.1, steps=1),),
    loop=replace(
        EXPERIMENT.loop,
        num_steps=4,
        batch_size=8,
        log_every=1,
        save_every=2,
        ema_decay=0.5,
        optim=OptimConfig(warmup_steps=3, schedule="constant"),  # the same rates, however long a run is
    ),
)
RUNS = {
    "replicate": DistributedConfig(),
    "shard": SHARD,
    "tensor": DistributedConfig(tensor=2),
    "shard-in-parts": SHARD,
    "shard-tensor": DistributedConfig(strategy="shard", tensor=2),
    "shard-offload": DistributedConfig(strategy="shard", offload=True),
    "pipeline": DistributedConfig(pipeline=2),
}


def experiment(name: str) -> Experiment:
    loop = replace(BASE.loop, distributed=RUNS[name], accumulate=RUNS[name].pipeline)
    if name == "shard-in-parts":
        loop = replace(loop, accumulate=2, recompute=RecomputeConfig(vision="layers", language="layers"))
    return replace(BASE, loop=loop)


def episodes() -> list[Recorded]:
    return [Recorded(seed, task) for seed in range(6) for task in ("reach_red", "reach_blue")]


def main(folder: Path) -> None:
    recorded = episodes()
    with joined() as (everyone, _):
        assert everyone.world == 2
        for name, config in RUNS.items():
            ranks = place("cpu", config.tensor, config.pipeline)
            made = experiment(name)
            if name == "pipeline":  # in two goes
                begun = replace(made, loop=replace(made.loop, num_steps=2))
                run_training_on(begun, recorded, SPEC, folder / name, ranks=ranks)
            run_training_on(made, recorded, SPEC, folder / name, ranks=ranks, resume=True)


def die(folder: Path) -> None:
    """The second rank is killed at step 3; what the command line would say then goes to stderr."""
    try:
        with joined() as (ranks, _):

            def kill(line: Mapping[str, float | int]) -> None:
                if ranks.rank == 1 and line["step"] == 3:
                    os.kill(os.getpid(), signal.SIGKILL)

            run_training_on(experiment("replicate"), episodes(), SPEC, folder, ranks=ranks, progress=kill)
    except FirstError as error:
        sys.stderr.write(f"volition: {error}\n")
        raise SystemExit(1) from error


if __name__ == "__main__":
    (die if "--die" in sys.argv else main)(Path(sys.argv[1]))
