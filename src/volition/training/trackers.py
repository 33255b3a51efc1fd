"""Where metrics go besides metrics.jsonl: TensorBoard, trackio and Weights & Biases, each an extra.

A tracker is anything with `write` and `close`. They get the numbers that metrics.jsonl gets, and nothing is read back.
"""

from __future__ import annotations

import os
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any, Literal, Protocol, runtime_checkable

TrackerName = Literal["tensorboard", "trackio", "wandb"]


@runtime_checkable
class Tracker(Protocol):
    def write(self, metrics: Mapping[str, float]) -> None: ...  # one line of metrics, with its "step"
    def close(self) -> None: ...


def open_trackers(names: Sequence[TrackerName], run: Path, about: Mapping[str, Any]) -> list[Tracker]:
    """For a run folder, which has their files where they keep any; `about`: the recipe, as JSON."""
    kinds: dict[TrackerName, type[Tracker]] = {"tensorboard": TensorBoard, "trackio": Trackio, "wandb": WandB}
    return [kinds[name](run, about) for name in names]  # type: ignore[call-arg]  # a protocol says nothing of making


class TensorBoard:
    """Event files in RUN/tensorboard."""

    def __init__(self, run: Path, about: Mapping[str, Any]):
        try:
            from torch.utils.tensorboard import SummaryWriter
        except ImportError as error:
            raise _missing("tensorboard", error) from error
        self._writer = SummaryWriter(str(run / "tensorboard"))

    def write(self, metrics: Mapping[str, float]) -> None:
        for name, value in metrics.items():
            if name != "step":
                self._writer.add_scalar(name, value, int(metrics["step"]))

    def close(self) -> None:
        self._writer.close()


class Trackio:
    """A local project of the run folder's name; `trackio show` opens it."""

    def __init__(self, run: Path, about: Mapping[str, Any]):
        try:
            import trackio
        except ImportError as error:
            raise _missing("trackio", error) from error
        project = os.environ.get("TRACKIO_PROJECT", "volition")
        self._run = trackio.init(project=project, name=run.name, config=dict(about))

    def write(self, metrics: Mapping[str, float]) -> None:
        self._run.log({name: x for name, x in metrics.items() if name != "step"}, step=int(metrics["step"]))

    def close(self) -> None:
        self._run.finish()


class WandB:
    """Without an account or a network set WANDB_MODE=offline: files in RUN/wandb, which `wandb sync` sends later."""

    def __init__(self, run: Path, about: Mapping[str, Any]):
        try:
            import wandb
        except ImportError as error:
            raise _missing("wandb", error) from error
        run.mkdir(parents=True, exist_ok=True)
        project = os.environ.get("WANDB_PROJECT", "volition")
        self._run = wandb.init(project=project, name=run.name, dir=str(run), config=dict(about), resume="allow")

    def write(self, metrics: Mapping[str, float]) -> None:
        self._run.log({name: x for name, x in metrics.items() if name != "step"}, step=int(metrics["step"]))

    def close(self) -> None:
        self._run.finish()


def _missing(package: str, error: ImportError) -> ValueError:
    return ValueError(f"--trackers {package} needs {package}: pip install 'volition[{package}]' ({error})")
