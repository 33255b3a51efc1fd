"""What `volition plan` reads from the command line and shows: every setting, whether it fits, and the one to take."""

from __future__ import annotations

import shlex
import sys
from collections.abc import Iterator, Sequence
from dataclasses import dataclass, fields
from pathlib import Path
from typing import Annotated

import tyro
from rich.console import Console
from rich.table import Table

from volition.config import Experiment
from volition.studies.output import write
from volition.studies.planning import RETURNING, Plan, chosen, parse_bytes, plan
from volition.studies.progress import Bars
from volition.studies.train_command import find_recipe

RETURNED = """\
With the variable, free memory is returned at once: peaks are as said, and so is the step that was timed (*).
Without it memory is up to half as much again, and steps are shorter."""


@dataclass(frozen=True, kw_only=True)
class PlanCommand:
    experiment: Annotated[Experiment, tyro.conf.arg(name="")]
    gpu: str = ""
    """Memory of the GPU: 24GB, 80GiB."""
    cpu: str = ""
    """Or memory of the machine, for training on its CPU."""
    json: Path | None = None
    """Write all settings to this file as well."""


def parse(name: str, flags: Sequence[str]) -> PlanCommand:
    experiment, description = find_recipe(name)
    command = tyro.cli(
        tyro.conf.AvoidSubcommands[PlanCommand],
        default=PlanCommand(experiment=experiment),
        args=flags,
        prog=f"volition plan {name}",
        description=description,
    )
    if bool(command.gpu) == bool(command.cpu):
        raise ValueError("say what it must fit into: --gpu 24GB, or --cpu 16GB to train without one")
    return command


def execute(name: str, flags: Sequence[str]) -> list[Plan]:
    """Try the settings, print what they need, and the command that fits; status 1 when none does."""
    command = parse(name, flags)
    with Bars() as bars:
        found, source = plan(
            command.experiment, parse_bytes(command.gpu or command.cpu), on_gpu=bool(command.gpu), say=bars.say
        )
    best = chosen(found)
    console = Console(file=sys.stdout)
    console = console if console.is_terminal else Console(file=sys.stdout, width=140)
    console.print(table(found, source, command.gpu or command.cpu))
    if best is None:
        small = min(found, key=lambda one: one.peak_bytes)
        said = f"nothing fits into {command.gpu or command.cpu}: the least is {small.peak_bytes / 1e9:.2f} GB"
    else:
        before, device = ("", " --device cuda") if command.gpu else (RETURNING, "")
        said = before + shlex.join(["volition", "train", name, *of_the_recipe(flags), *best.flags]) + device
        if before:
            console.print(RETURNED, highlight=False, markup=False)
    console.print(said, highlight=False, markup=False, soft_wrap=True)
    write(
        command.json, {"tried_on": source, "chosen": best and best.settings.name, "plans": [p.to_json() for p in found]}
    )
    return found


def of_the_recipe(flags: Sequence[str]) -> Iterator[str]:
    """Without what is this command's own: the rest belongs to the recipe that was tried."""
    own = {f"--{field.name}" for field in fields(PlanCommand)}
    rest = iter(flags)
    for flag in rest:
        if flag in own:
            next(rest)  # its value
        elif flag.partition("=")[0] not in own:
            yield flag


def table(found: Sequence[Plan], source: str, budget: str) -> Table:
    shown = Table(title=f"Predicted for {budget}; tried on {source}", title_justify="left")
    for number, column in enumerate(("settings", "trained", "peak", "fits as", "step here", "operations")):
        shown.add_column(column, justify="right" if number else "left")
    for one in found:
        batch = one.part * one.accumulate
        fits = f"{one.accumulate} x {one.part}" if one.part else "no"
        shown.add_row(
            one.settings.name,
            f"{one.footprint.trained / 1e6:.1f} M",
            f"{one.peak_bytes / 1e9:.2f} GB",
            fits,
            f"{one.seconds:.2f} s{' *' if one.timed else ''}",
            f"{one.footprint.window_flops * max(batch, 1) / 1e9:,.0f} GFLOP",
        )
    return shown
