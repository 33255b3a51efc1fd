"""`volition export CHECKPOINT`: its flags. Apart from `exporting.py`, which carries it out, so that help is quick."""

from __future__ import annotations

from dataclasses import dataclass
from pathlib import Path
from typing import Generic

import tyro

from volition.export.names import TargetName
from volition.studies.env_command import AnyEnv, EnvFlags, require_at_least
from volition.studies.home import parse_at_home


@dataclass(frozen=True, kw_only=True)
class Export(Generic[AnyEnv]):
    """Export a checkpoint for fast inference, prove it against the checkpoint, and sign it if the proof holds.

    Status 1 where it does not: the artefact is there, unsigned, and `volition serve` refuses it.

    Example:  volition export runs/demo --target onnx-int8 --out runs/demo-int8
              volition serve runs/demo-int8
              volition eval runs/demo-int8 --starts 10
    """

    checkpoint: tyro.conf.Positional[Path]
    """A step folder, or a run (its last checkpoint)."""
    environment: EnvFlags[AnyEnv]
    env: str = "desk"
    """Where both are compared: one of ours, or 'package.module:ClassName'; by default where the policy learned."""
    target: TargetName = "onnx-int8"
    """What to write (docs/export.md): `onnx` is float32; `torch-...` and `aoti` run code when they are opened."""
    out: Path
    """The artefact's folder; it must be empty or not there yet."""
    starts: int = 20
    """Starts of every task, which the policy and the exported one both do. 0: none, and the artefact is not signed."""
    tasks: tuple[str, ...] = ()
    """Tasks for the comparison; by default those that it learned, or with --env all that the environment has."""
    margin: float = 0.02
    """How much worse it may be: the lower end of the 95 % interval of the difference must lie above minus this."""
    least_cosine: float = 0.99
    """Of the exported actions with the policy's own, in the mean over all steps of all chunks."""
    looks: int = 8
    """Observations that both are shown of an episode of every task, to compare their actions."""
    max_steps: int | None = None
    """Control steps an episode; by default what the environment's protocol says."""
    seed: int = 700_000
    """Of the first start, from which the others count up."""
    workers: int = 2
    """Processes with environments."""
    allow: tuple[str, ...] = ()
    """Packages of yours that the checkpoint's config may name."""
    json: Path | None = None
    """Write the proof to this file as well."""
    recorded: tyro.conf.Suppress[tuple[str, ...]] = ()
    """What it learned, where no environment is named."""

    def __post_init__(self) -> None:
        require_at_least(self, starts=0, looks=1, max_steps=1, seed=0, workers=0)
        if not 0 < self.margin < 1 or not 0 < self.least_cosine <= 1:
            raise ValueError(f"margin and least_cosine must be shares, got {self.margin} and {self.least_cosine}")

    def __call__(self) -> None:
        from volition.studies.exporting import execute

        execute(self)


def export(arguments: list[str]) -> None:
    """Export a checkpoint for fast inference, prove it against the checkpoint, and sign it if the proof holds."""
    parse_at_home(Export, arguments, prog="volition export")()
