"""What `volition compare` reads from the command line, and what it shows and writes."""

from __future__ import annotations

import sys
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Annotated, Any

import tyro
from rich.console import Console
from rich.table import Table

from volition import recipes
from volition.config import Experiment
from volition.data.files import replacing, write_json
from volition.names import locate, suggest
from volition.studies.compare import CompareConfig, Task, compare, prepare, require_runnable
from volition.studies.compare_page import cells, columns, page
from volition.studies.compare_rows import Row, make_rows
from volition.studies.output import write
from volition.studies.progress import Bars
from volition.studies.spread import Engine
from volition.studies.tuning import TuningConfig, tune
from volition.studies.vary import Variant, make_variants
from volition.training.ranks import launched, require_alone


@dataclass(frozen=True, kw_only=True)
class CompareCommand:
    experiment: Annotated[Experiment, tyro.conf.arg(name="")]  # the fields that all rows share
    vary: tuple[str, ...] = ()
    """path=value,value,...: a field of the recipe and what it is to be, each; several are crossed."""
    heads: tuple[str, ...] = ()
    """mlp, lstm, gpt2, flow, ...: short for --vary head=..., with the loss of the recipe's own."""
    history: tuple[str, ...] = ()
    """policy_head, interleaved, one_step."""
    seeds: int = 3
    """Training seeds of every row, from 0."""
    starts: int = 5
    """Of every task, closed-loop; 0: only losses and errors on held-out episodes."""
    tasks: tuple[str, ...] = ()
    """For the starts; by default all that were recorded."""
    max_steps: int = 0
    """Of an episode; 0: as many as the environment gives."""
    screen: bool = False
    """Train heads alone on what the frozen VLM reads out: one pass of it for all of them."""
    tune: int = 0
    """Short runs by which Optuna first finds the learning rates of every row (extra: tune)."""
    jobs: int = 2
    """Runs at a time, a thread each."""
    engine: Engine = "processes"
    """Where they run: processes of this machine, or a Ray cluster."""
    device: str = "cpu"
    """What they train and act on: cpu, cuda. Runs at a time share it."""
    run: Path = Path("runs/compare")
    """The folder of all runs. What is finished there is not done again."""
    json: Path | None = None
    """Write the table to this file as well."""


def find_rows(name: str) -> tuple[dict[str, Experiment], str]:
    """The experiments of a recipe: one, named "", or those of a study, a function that returns several by name."""
    if ":" not in name and name.replace("-", "_") not in (*recipes.__all__, *recipes.STUDIES):
        known = suggest(name, (*recipes.__all__, *recipes.STUDIES))
        raise ValueError(f"there is no recipe {name!r}{known}; yours are 'package.module:function'")
    recipe = locate(name if ":" in name else f"volition.recipes:{name.replace('-', '_')}")
    made = recipe() if callable(recipe) else recipe
    rows = dict(made) if isinstance(made, Mapping) else {"": made}
    if not rows or not all(isinstance(row, Experiment) for row in rows.values()):
        raise ValueError(f"{name} must be a function that returns an Experiment, or several by their names")
    return rows, (recipe.__doc__ or "").strip()


def parse(name: str, flags: Sequence[str]) -> tuple[CompareCommand, list[Variant], str]:
    """The command, its variants, and what the recipe says of itself."""
    rows, description = find_rows(name)
    base = next(iter(rows.values()))
    command = tyro.cli(
        tyro.conf.AvoidSubcommands[CompareCommand],
        default=CompareCommand(experiment=base, run=Path("runs") / f"compare-{name.rpartition(':')[2]}"),
        args=flags,
        prog=f"volition compare {name}",
        description=description,
    )
    if len(rows) > 1 and command.experiment != base:
        raise ValueError(f"{name} is a study of {len(rows)} recipes: say with --vary what is to change in all of them")
    if len(rows) == 1:
        rows = dict.fromkeys(rows, command.experiment)
    return command, make_variants(rows, command.vary, command.heads, command.history), description


def execute(name: str, flags: Sequence[str]) -> list[Row]:
    """Run what is not there yet; the table on the terminal, compare.json and compare.html in the folder."""
    command, variants, description = parse(name, flags)
    config = CompareConfig(
        run=command.run,
        seeds=tuple(range(command.seeds)),
        starts=command.starts,
        tasks=command.tasks,
        max_steps=command.max_steps,
        jobs=command.jobs,
        engine=command.engine,
        screen=command.screen,
        device=command.device,
    )
    if launched():
        raise ValueError("volition compare starts processes of its own (--jobs, --engine ray): leave torchrun out")
    for variant in variants:
        spread = variant.experiment.loop.distributed
        require_alone(tensor=spread.tensor, pipeline=spread.pipeline)
    if command.tune and command.screen:
        raise ValueError("--tune tries the whole recipe, and --screen trains heads alone: leave one of them out")
    with Bars() as bars:
        prepare([variant.experiment for variant in variants], bars.say)
        for variant in variants:  # before hours of tuning, too
            require_runnable(Task(config=config, variant=variant, seed=0))
        if command.tune:
            variants = tune(variants, TuningConfig(trials=command.tune), config, bars.say)
        results = compare(variants, config, bars.say)
    rows = make_rows(results)
    document = document_of(name, command, rows)
    write_json(command.run / "compare.json", document)
    with replacing(command.run / "compare.html") as unfinished:
        lead = description.splitlines()[0] if description else ""
        unfinished.write_text(page(f"Comparing {name}", lead, rows, results), encoding="utf-8")
    write(command.json, document)
    console = Console(file=sys.stdout)
    console = console if console.is_terminal else Console(file=sys.stdout, width=180)
    console.print(table(name, rows))
    console.print(f"{command.run / 'compare.html'}", highlight=False, markup=False)
    return rows


def document_of(name: str, command: CompareCommand, rows: Sequence[Row]) -> dict[str, Any]:
    asked = {
        "recipe": name,
        "vary": list(command.vary),
        "heads": list(command.heads),
        "history": list(command.history),
        "seeds": command.seeds,
        "starts": command.starts,
        "screen": command.screen,
        "tune": command.tune,
    }
    return {**asked, "rows": [row.to_json() for row in rows]}


def table(name: str, rows: Sequence[Row]) -> Table:
    shown = Table(title=f"{name}: the best first", title_justify="left")
    for number, column in enumerate(columns(rows, few=True)):
        shown.add_column(column, justify="right" if number else "left", overflow="fold")
    for row in rows:
        shown.add_row(*cells(row, rows, few=True))
    return shown
