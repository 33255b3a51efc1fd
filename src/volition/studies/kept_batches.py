"""Batches that training stumbled over, kept beside the metrics to be looked at."""

from __future__ import annotations

from pathlib import Path

import numpy as np
from safetensors.numpy import save_file

from volition.types import Batch, Target

MOST = 20  # of a kind in a run; a training that goes wrong must not fill the disk


def keep_batch(run: Path, rank: int, kind: str, step: int, batch: Batch, target: Target) -> None:
    """{kind}_step_{step}.safetensors, with what rank it was on where that is not the first."""
    if len(list(run.glob(f"{kind}_step_*.safetensors"))) < MOST:
        run.mkdir(parents=True, exist_ok=True)
        name = f"{kind}_step_{step}{f'_rank_{rank}' if rank else ''}.safetensors"
        save_file(as_arrays(batch, target), run / name)


def as_arrays(batch: Batch, target: Target) -> dict[str, np.ndarray]:
    tensors = {**batch.inputs, **{f"image.{name}": x for name, x in batch.images.items()}, "state": batch.state}
    tensors |= {"actions": target.actions, "mask": target.mask}
    return {name: np.ascontiguousarray(x.cpu().numpy()) for name, x in tensors.items()}
