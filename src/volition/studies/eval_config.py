"""What `volition eval` is asked; `evaluating.py` answers. Apart from it, so that `--help` need not import torch."""

from __future__ import annotations

from dataclasses import dataclass
from pathlib import Path
from typing import Generic, Literal

import tyro

from volition.envs.base import Counted
from volition.studies.env_command import AnyEnv, EnvFlags, require_at_least


@dataclass(frozen=True, kw_only=True)
class EvalConfig(Generic[AnyEnv]):
    checkpoint: tyro.conf.Positional[Path]
    """A step folder, a run (its last checkpoint), or an exported policy."""
    environment: EnvFlags[AnyEnv]
    env: str = "desk"
    """One of ours, or 'package.module:ClassName'; its fields are flags too. By default where the policy learned."""
    chains: int = 0
    """Number of chains of tasks by the environment's protocol: no reset between them, policy state reset per task."""
    resampled: int = 0
    """Number of chains beside them whose tasks and initial states are drawn anew, from --seed."""
    starts: int = 0
    """Number of starts of every single task."""
    tasks: tuple[str, ...] = ()
    """Tasks for --starts; by default those that it learned, or with --env all that the environment has."""
    probes: bool = False
    """What does it use? The same starts (--starts, by default 5 of each task) with every sense and action disturbed."""
    blind_twin: Path | None = None
    """For --probes: a checkpoint of the same recipe that was trained with --data.blind."""
    deaf_twin: Path | None = None
    """For --probes: a checkpoint of the same recipe that was trained with --data.deaf."""
    chunking: Literal["execute", "overlap", "realtime", "ensemble"] = "execute"
    """Between two looks: execute (wait for the answer), overlap, realtime or ensemble (docs/evaluation.md)."""
    replan_steps: int | None = None
    """Control steps between two looks; by default what the policy was trained for."""
    least_confidence: float | None = None
    """For execute, of a policy that tells how sure it is: look again before an action that is less sure, in 0..1."""
    latency: int | Literal["measured"] = 0
    """Control steps that pass in the simulator while the policy thinks; `measured`: as many as it takes here."""
    timing: bool = False
    """Success against latency for every way to execute chunks (--starts, by default 5 of each task)."""
    latencies: tuple[int, ...] = (0, 1, 2, 3, 4, 6)
    """Control steps that --timing tries."""
    against: Path | None = None
    """Another checkpoint: evaluated on the same starts, and compared by a paired test."""
    offline: Path | None = None
    """A dataset folder: mean absolute error per dimension and gripper accuracy instead of closed-loop success."""
    max_steps: int | None = None
    """Control steps a task; by default what the environment's protocol says."""
    seed: int = 500_000
    """Of the first start of --starts, from which the others count up, and of --resampled."""
    workers: int = 2
    """Processes with environments; they change no result. 0, for debugging: all in this one, whose errors come up."""
    batch: int | None = None
    """Rows of a policy call at most; by default 16, or 4 where a process holds one environment only."""
    shard: str = ""
    """I/N: run only this part of the episodes, here; other machines or processes run the others."""
    out: Path | None = None
    """Folder of the results; by default one in the run's eval/, found again by the same command."""
    report: bool = True
    """Leave report.html and report.json beside the results: figures, films of failures, what was shown of them."""
    films: int = 6
    """Episodes that the report films, by running their actions again; 0: none."""
    patience: float = 120.0
    """Seconds after which a silent environment's process is replaced, and its episode begun again."""
    retry_errors: bool = False
    """Also run again what ended as an error before."""
    device: str = "cpu"
    """Where the policy runs: cpu, cuda, cuda:1."""
    allow: tuple[str, ...] = ()
    """Packages of yours that the checkpoint's config may name; `native_code` for exported policies that run some."""

    recorded: tyro.conf.Suppress[tuple[str, ...]] = ()
    """What it learned, where no environment is named."""

    def __post_init__(self) -> None:
        require_at_least(self, chains=0, resampled=0, starts=0, films=0, workers=0, seed=0)
        require_at_least(self, replan_steps=1, max_steps=1, batch=1)
        if min(0 if self.latency == "measured" else self.latency, *self.latencies, 0) < 0:
            raise ValueError(f"--latency and --latencies must be at least 0, got {self.latency} and {self.latencies}")
        if self.patience <= 0:
            raise ValueError(f"--patience must be above 0 seconds, got {self.patience:g}")
        if self.least_confidence is not None and (self.chunking != "execute" or self.timing):
            raise ValueError("--least-confidence belongs to --chunking execute, which --timing compares as it comes")
        if not (self.closed_loop or self.probes or self.timing or self.offline):
            raise ValueError("say what to evaluate: --chains N, --starts N, --probes, --timing, or --offline DATASET")
        if (self.blind_twin or self.deaf_twin) and not self.probes:
            raise ValueError("--blind-twin and --deaf-twin are rows of --probes: ask for it too")
        if isinstance(self.environment, Counted) and self.starts > (most := self.environment.starts_per_task):
            raise ValueError(
                f"--starts must be at most {most}, for {self.env} has so many different starts of a task, and a "
                f"repeated one tells nothing new, got {self.starts}"
            )
        tables = self.probes or self.timing
        if tables and (self.shard or self.against):
            raise ValueError("--probes and --timing compare whole evaluations: leave --shard and --against out")
        if (self.chains or self.resampled) and (self.starts or self.tasks or tables):
            raise ValueError("--chains has its own tasks: ask for --starts, --probes, --timing in a call of their own")

    @property
    def asked_tasks(self) -> tuple[str, ...]:
        """Of --starts."""
        return self.tasks or self.recorded or self.environment.tasks

    @property
    def closed_loop(self) -> bool:
        return bool(self.chains or self.resampled or self.starts)
