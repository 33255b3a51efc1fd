"""What `volition audit` reads from the command line and shows: a table of modules and a line for every part."""

from __future__ import annotations

import re
import sys
from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Annotated

import tyro
from rich.console import Console
from rich.table import Table

from volition.config import Experiment
from volition.studies.audit import Audit, Row, audit
from volition.studies.train_command import find_recipe
from volition.training.parts import Part

TITLES: dict[Part, str] = {
    "vision": "vision tower",
    "resampler": "resampler",
    "projector": "projector",
    "embeddings": "text embeddings",
    "backbone": "language model",
    "readouts": "action token [LRN]",
    "head": "head",
    "auxiliary": "auxiliary modules",
}
REACHED = {True: "reached by the loss", False: "NOT reached by the loss"}
LOOP_METRICS = re.compile(r"step|loss|grad_norm.*|lr_scale|.*_(seconds|per_second|bytes)")  # all others are of the loss
MIN_WIDTH = 120  # where there is no terminal that has one


@dataclass(frozen=True, kw_only=True)
class AuditCommand:
    experiment: Annotated[Experiment, tyro.conf.arg(name="")]
    device: str = "cpu"
    """Where to take the step: cpu, cuda, cuda:1."""
    json: Path | None = None
    """Write everything to this file as well."""


def parse(name: str, flags: Sequence[str]) -> AuditCommand:
    experiment, description = find_recipe(name)
    return tyro.cli(
        tyro.conf.AvoidSubcommands[AuditCommand],
        default=AuditCommand(experiment=experiment),
        args=flags,
        prog=f"volition audit {name}",
        description=description,
    )


def execute(command: AuditCommand) -> Audit:
    """Take the step and print what came of it."""
    found = audit(command.experiment, device=command.device)
    console = Console(file=sys.stdout)
    if not console.is_terminal:
        console = Console(file=sys.stdout, width=MIN_WIDTH)
    console.print(table(found))
    console.print(*summary(found), sep="\n", highlight=False, markup=False)
    return found


def table(found: Audit) -> Table:
    shown = Table(title=f"One step on {found.data}", title_justify="left")
    shown.add_column("module", overflow="fold")
    for title in ("parameters", "trained", "gradient norm", "relative update"):
        shown.add_column(title, justify="right")
    for part in found.parts:
        shown.add_section()
        shown.add_row(*_cells(part, TITLES[part.part]), style="bold")
        for module in (row for row in found.modules if row.part == part.part):
            shown.add_row(*_cells(module, f"  {module.name.removeprefix('backbone.').removeprefix('model.')}"))
    return shown


def _cells(row: Row, name: str) -> list[str]:
    trained = "frozen" if not row.trained else "all" if row.trained == row.parameters else f"{row.trained:,}"
    norms = [f"{x:.2e}" if x is not None else "" for x in (row.gradient_norm, row.relative_update)]
    return [name, f"{row.parameters:,}", trained, *norms]


def summary(found: Audit) -> list[str]:
    """The loss, then a line for every part, then what is trained and what stayed."""
    terms = {name: value for name, value in found.step.items() if not LOOP_METRICS.fullmatch(name)}
    detail = ", ".join(f"{name} {value:.3g}" for name, value in terms.items())
    lines = [f"loss {found.step['loss']:.3g} ({detail}), at {found.step['lr_scale']:.0%} of the learning rates"]
    rows = {row.part: row for row in found.parts}
    for part, title in TITLES.items():
        row = rows.get(part)
        state = "none in this model" if row is None else "frozen" if not row.trained else REACHED[row.reached]
        lines.append(f"{title:20}{state}")
    trained, total = (sum(getattr(row, name) for row in found.parts) for name in ("trained", "parameters"))
    lines.append(f"{'trained':20}{trained:,} of {total:,} parameters ({trained / total:.1%})")
    if silent := [row.name for row in found.modules if row.trained and not row.reached]:
        lines.append(f"{'without gradient':20}{', '.join(silent)}")
    kept = f"CHANGED: {', '.join(found.changed)}" if found.changed else "equal to the bit after the step"
    lines.append(f"{'frozen':20}{found.frozen_tensors} tensors, {kept}")
    return lines
