"""What `volition eval` is asked; `evaluating.py` answers. Apart from it, so that `--help` need not import torch."""

from __future__ import annotations

from dataclasses import dataclass
from pathlib import Path
from typing import Literal

import tyro


@dataclass(frozen=True, kw_only=True)
class EvalConfig:
    checkpoint: tyro.conf.Positional[Path]
    """A step folder, or a run (its last checkpoint)."""
    env: Literal["desk"] = "desk"
    chains: int = 0
    """Number of five-task chains by CALVIN's protocol: 360 steps a task, no reset, policy state reset per task."""
    starts: int = 0
    """Number of starts of every single task."""
    tasks: tuple[str, ...] = ()
    """Tasks for --starts; by default all 34."""
    offline: Path | None = None
    """A dataset folder: mean absolute error per dimension and gripper accuracy instead of closed-loop success."""
    scenes: tuple[str, ...] = ("A", "B", "C", "D")
    shift: bool = False
    """Shift and turn furniture and camera at every reset, as the demo does."""
    max_steps: int = 360
    seed: int = 500_000
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
