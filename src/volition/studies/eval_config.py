"""What `volition eval` is asked; `evaluating.py` answers. Apart from it, so that `--help` need not import torch."""

from __future__ import annotations

from dataclasses import dataclass
from pathlib import Path
from typing import Generic

import tyro

from volition.studies.env_command import AnyEnv, EnvFlags


@dataclass(frozen=True, kw_only=True)
class EvalConfig(Generic[AnyEnv]):
    checkpoint: tyro.conf.Positional[Path]
    """A step folder, or a run (its last checkpoint)."""
    environment: EnvFlags[AnyEnv]
    env: str = "desk"
    """Name of an environment of ours, or 'package.module:ClassName'; its fields are flags too."""
    chains: int = 0
    """Number of chains of tasks by the environment's protocol: no reset between them, policy state reset per task."""
    starts: int = 0
    """Number of starts of every single task."""
    tasks: tuple[str, ...] = ()
    """Tasks for --starts; by default all that the environment has."""
    offline: Path | None = None
    """A dataset folder: mean absolute error per dimension and gripper accuracy instead of closed-loop success."""
    max_steps: int | None = None
    """Control steps a task; by default what the environment's protocol says."""
    seed: int = 500_000
    """Of the first start of --starts; the others count up from it."""
    workers: int = 2
    device: str = "cpu"
    """Where the policy runs: cpu, cuda, cuda:1."""
    allow: tuple[str, ...] = ()
    """Packages of yours that the checkpoint's config may name."""

    def __post_init__(self) -> None:
        if not (self.chains or self.starts or self.offline):
            raise ValueError("say what to evaluate: --chains N, --starts N, or --offline DATASET")
        if self.chains and (self.starts or self.tasks):
            raise ValueError("--chains has its own tasks: ask for --starts and --tasks in a call of their own")
