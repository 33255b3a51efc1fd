"""`volition train RECIPE`: a recipe's experiment, every field of it a flag, trained into a run folder."""

from __future__ import annotations

import inspect
import sys
from collections.abc import Callable, Sequence
from dataclasses import dataclass, replace
from pathlib import Path
from typing import Annotated

import tyro

from volition import recipes
from volition.config import DataConfig, Experiment
from volition.contract import RobotSpec
from volition.data.open import load_spec
from volition.names import locate, suggest
from volition.studies.output import write
from volition.studies.progress import Bars
from volition.studies.recording import ensure_data
from volition.studies.training import run_training
from volition.training.metrics import read_metrics
from volition.training.ranks import joined
from volition.training.trackers import TrackerName


@dataclass(frozen=True, kw_only=True)
class TrainCommand:
    experiment: Annotated[Experiment, tyro.conf.arg(name="")]  # its fields are flags of their own: --loop.num-steps
    run: Path
    """The run folder."""
    resume: bool = False
    """Go on exactly where the run stopped."""
    record: bool = True
    """Record the recipe's demonstrations if they are not there; --no-record: learn from what is there as it is."""
    device: str = "cpu"
    """Where to train: cpu, cuda, cuda:1."""
    trackers: tuple[TrackerName, ...] = ()
    """Where metrics go besides metrics.jsonl: tensorboard, trackio, wandb (each an extra of that name)."""
    json: Path | None = None
    """Write the last line of metrics to this file."""


def recipe_and_flags(verb: Callable[[list[str]], None], words: Sequence[str]) -> tuple[str, list[str]]:
    """What follows a verb on the command line; where no recipe does, say how it is used and stop."""
    if words and not words[0].startswith("-"):
        return words[0], list(words[1:])
    name = verb.__name__
    sys.stdout.write(
        f"usage: volition {name} RECIPE [--FIELD VALUE ...]\n\n{inspect.getdoc(verb)}\n\n"
        f"Recipes of ours: {', '.join(recipes.__all__)}. `volition {name} RECIPE --help` lists every flag.\n"
    )
    raise SystemExit(0 if words else 2)


def find_recipe(name: str) -> tuple[Experiment, str]:
    """The experiment of a recipe of ours or of 'package.module:function', and what its docstring says.

    Raises ValueError for a name that is neither.
    """
    if ":" not in name and name not in recipes.__all__:
        known = suggest(name, recipes.__all__)
        raise ValueError(f"there is no recipe {name!r}{known}; yours are 'package.module:function'")
    recipe = locate(name if ":" in name else f"volition.recipes:{name}")
    experiment = recipe() if callable(recipe) else recipe
    if not isinstance(experiment, Experiment):
        raise ValueError(f"{name} must be a function that returns an Experiment, and gave {type(experiment).__name__}")
    return experiment, (recipe.__doc__ or "").strip()


def parse(name: str, flags: Sequence[str]) -> TrainCommand:
    """The command, if its model and its robot can be what the recipe says; ValueError before anything takes time."""
    experiment, description = find_recipe(name)
    command = tyro.cli(
        tyro.conf.AvoidSubcommands[TrainCommand],
        default=TrainCommand(experiment=experiment, run=Path("runs") / name.rpartition(":")[2]),
        args=flags,
        prog=f"volition train {name}",
        description=description,
    )
    if not command.record:
        data = replace(command.experiment.data, recording=None)
        command = replace(command, experiment=replace(command.experiment, data=data))
    if (robot := known_robot(command.experiment.data)) is not None:
        command.experiment.check(robot)
    return command


def known_robot(data: DataConfig) -> RobotSpec | None:
    """Of the environment that is recorded, or of the dataset; None where there is neither."""
    if data.recording is not None:  # the dataset may be there in part only
        return data.recording.env.spec
    path = Path(data.path)
    return load_spec(path) if data.path and path.is_dir() else None


def execute(command: TrainCommand) -> Path:
    """Record the recipe's demonstrations if they are not there, train, and return the last checkpoint."""
    experiment = command.experiment
    spread = experiment.loop.distributed
    degrees = {"tensor": spread.tensor, "pipeline": spread.pipeline}
    with joined(command.device, **degrees, alone=spread.needs_group) as (ranks, device), Bars() as bars:
        if ranks.first:
            ensure_data(experiment.data, progress=bars.recording)
        ranks.barrier()
        checkpoint = run_training(
            experiment,
            command.run,
            resume=command.resume,
            device=device,
            ranks=ranks,
            trackers=command.trackers,
            progress=lambda m: (
                bars.say("train", m["step"] / experiment.loop.num_steps, f"loss {m['loss']:.3f}")
                if ranks.first
                else None
            ),
        )
    if command.json is not None and ranks.first:
        lines = read_metrics(command.run / "metrics.jsonl")
        write(command.json, lines[-1] if lines else {})
    return checkpoint
