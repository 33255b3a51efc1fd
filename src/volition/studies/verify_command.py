"""`volition verify`: what the numbers of a dataset say about its conventions, and whether its demonstrations replay."""

from __future__ import annotations

import dataclasses
import sys
from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import tyro

from volition.studies.output import tell, write


@dataclass(frozen=True, kw_only=True)
class Verify:
    """Check that a dataset means what it says: scale, frame, delay, gripper, cameras, broken episodes.

    Status 1 when something is wrong that training would suffer from.

    Example:  volition verify runs/demo/data
              volition verify runs/demo/data --env desk --checkpoint runs/demo
    """

    path: tyro.conf.Positional[Path]
    env: str | None = None
    """Also repeat demonstrations in the environment that they were recorded in, through a policy's own path."""
    episodes: int = 10
    """How many demonstrations to repeat."""
    checkpoint: Path | None = None
    """Whose contract to compare, and through whose path to repeat; by default that of a new policy."""
    max_episodes: int = 500
    """How many episodes to look into, evenly spread."""
    max_pictured: int = 40
    """Of how many of them to look at pictures."""
    allow: tuple[str, ...] = ()
    """Packages of yours that the checkpoint's config may name."""
    json: Path | None = None
    """Write the findings to this file as well."""

    def __post_init__(self) -> None:
        if self.episodes < 1:
            raise ValueError(f"episodes must be at least 1, got {self.episodes}")

    def __call__(self) -> None:
        document = examine(self)
        levels = [finding["level"] for finding in document["findings"]]
        counts = ", ".join(f"{levels.count(kind)} {kind}(s)" for kind in ("error", "warning"))
        tell(f"contract {document['contract']}: {counts}")
        write(self.json, document)
        if "error" in levels:
            raise SystemExit(1)


def examine(command: Verify) -> dict[str, Any]:
    """Check, print the table, and return everything as plain values."""
    from volition.data.open import load_spec
    from volition.data.remote import located
    from volition.data.verify import verify
    from volition.studies.progress import Bars

    path = located(command.path)
    spec = load_spec(path)
    with Bars() as bars:
        findings = verify(
            path,
            max_episodes=command.max_episodes,
            max_pictured=command.max_pictured,
            progress=lambda done, total: bars.say("read", done / total, f"{done} of {total} episodes"),
        )
        if command.checkpoint is not None:
            findings.append(_same_contract(spec, command.checkpoint, command.allow))
        if command.env is not None:
            from volition.studies.replay import replay

            findings += replay(
                path,
                command.env,
                num_episodes=command.episodes,
                checkpoint=command.checkpoint,
                allow=command.allow,
                say=bars.say,
            )
    _show(findings, f"{path}")
    return {
        "path": str(path),
        "contract": spec.convention,
        "findings": [dataclasses.asdict(finding) for finding in findings],
    }


def _same_contract(spec: Any, checkpoint: Path, allow: tuple[str, ...]) -> Any:
    """Whether a checkpoint was trained for what the dataset says of itself."""
    from volition.contract import differences
    from volition.data.checks.finding import Finding, listed
    from volition.studies.training import load_policy

    trained = load_policy(checkpoint, allow=allow)[1].robot
    different = differences(trained, spec)
    if not different:
        return Finding(name="contract", level="ok", said=f"the checkpoint has the same, {spec.convention}")
    said = f"the checkpoint was trained for {trained.convention}: {listed(different)} (checkpoint != dataset)"
    fix = "evaluate or go on training with data of the checkpoint's convention"
    return Finding(name="contract", level="error", said=said, fix=fix)


def _show(findings: Sequence[Any], title: str) -> None:
    from rich.console import Console
    from rich.table import Table
    from rich.text import Text

    styles = {"ok": "green", "note": "dim", "warning": "yellow", "error": "bold red"}
    table = Table(title=title, title_justify="left", show_header=False, box=None, padding=(0, 1))
    for _ in range(3):
        table.add_column(overflow="fold")
    for finding in findings:
        said = Text(finding.said[0].upper() + finding.said[1:] + ".")
        if finding.fix:
            said.append(f"\n-> {finding.fix[0].upper()}{finding.fix[1:]}.", style="bold")
        level = Text(finding.level if finding.level in ("ok", "note") else finding.level.upper())
        table.add_row(Text.assemble(level, style=styles[finding.level]), finding.name, said)
    console = Console(file=sys.stdout)
    if not console.is_terminal:
        console = Console(file=sys.stdout, width=120)
    console.print(table)
