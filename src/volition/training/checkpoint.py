"""Checkpoints: a folder appears whole or not at all, carries SHA-256 sums, and nothing in it can run code.

checkpoints/step_N/{config.json, contract.json, weights.safetensors, optimizer.safetensors, trainer.json, manifest.json}
"""

from __future__ import annotations

import contextlib
import hashlib
import json
import os
import shutil
from collections.abc import Mapping
from pathlib import Path
from typing import Any

import torch
from safetensors import SafetensorError
from safetensors.torch import load_file, save_file
from torch import nn

from volition.training.train import Trainer

WEIGHTS, OPTIMIZER, STATE, MANIFEST = "weights.safetensors", "optimizer.safetensors", "trainer.json", "manifest.json"


def save(run: Path, trainer: Trainer, documents: Mapping[str, Any], *, keep_last: int) -> Path:
    """Write `checkpoints/step_N` aside, flush it to the disk, and move it into place; then drop the oldest.

    documents: JSON files that go with it, by name, such as config.json and contract.json.
    """
    final = run / "checkpoints" / f"step_{trainer.step}"
    aside = final.with_name(f".{final.name}.writing")
    shutil.rmtree(aside, ignore_errors=True)
    aside.mkdir(parents=True)
    try:
        save_file(_weights(trainer.policy), aside / WEIGHTS)
        save_file(_moments(trainer.optimizer), aside / OPTIMIZER)
        for name, document in {**documents, STATE: {"step": trainer.step}}.items():
            (aside / name).write_text(json.dumps(document, indent=1) + "\n")
        sums = {path.name: _sha256(path) for path in sorted(aside.iterdir())}
        (aside / MANIFEST).write_text(json.dumps(sums, indent=1) + "\n")
        for path in (*aside.iterdir(), aside):
            _flush(path)
        shutil.rmtree(final, ignore_errors=True)
        aside.rename(final)
        _flush(final.parent)
    except BaseException:
        shutil.rmtree(aside, ignore_errors=True)
        raise
    for old in list_checkpoints(run)[:-keep_last]:
        shutil.rmtree(old)
    return final


def list_checkpoints(run: Path) -> list[Path]:
    """Complete checkpoints of a run, oldest first."""
    found = [p for p in (run / "checkpoints").glob("step_*") if (p / MANIFEST).exists()]
    return sorted(found, key=lambda p: int(p.name.removeprefix("step_")))


def resolve(path: Path) -> Path:
    """A step folder as it is, or the last one of a run folder."""
    if (path / MANIFEST).exists():
        return path
    found = list_checkpoints(path)
    if not found:
        raise ValueError(f"{path} must be a checkpoint (a step_N folder) or a run that has one; there is none")
    return found[-1]


def verify(checkpoint: Path) -> None:
    """Every file is there and has the sum that was written with it."""
    sums = json.loads((checkpoint / MANIFEST).read_text())
    for name, expected in sums.items():
        path = checkpoint / name
        if not path.exists() or _sha256(path) != expected:
            state = "damaged" if path.exists() else "missing"
            raise ValueError(f"{path} is {state}: its SHA-256 must be {expected}. Use an older checkpoint of the run.")


def load_weights(policy: nn.Module, checkpoint: Path) -> None:
    """Strict: every tensor of the policy, and no other, must be in the file."""
    verify(checkpoint)
    expected = _weights(policy)
    given = _read(checkpoint / WEIGHTS)
    missing, extra = sorted(expected.keys() - given.keys()), sorted(given.keys() - expected.keys())
    wrong = [n for n in expected.keys() & given.keys() if expected[n].shape != given[n].shape]
    if missing or extra or wrong:
        raise ValueError(
            f"{checkpoint / WEIGHTS} must hold exactly the policy's tensors; "
            f"missing {missing[:5]}, unknown {extra[:5]}, of another shape {sorted(wrong)[:5]}"
        )
    with torch.no_grad():
        for name, value in given.items():
            expected[name].copy_(value)


def restore(trainer: Trainer, checkpoint: Path) -> None:
    """Weights, optimizer moments and step: the run goes on as if it had never stopped."""
    load_weights(trainer.policy, checkpoint)
    moments = _read(checkpoint / OPTIMIZER)
    state = trainer.optimizer.state_dict()
    state["state"] = {}
    for key, value in moments.items():
        index, name = key.split(".")
        state["state"].setdefault(int(index), {})[name] = value
    trainer.optimizer.load_state_dict(state)
    trainer.step = json.loads((checkpoint / STATE).read_text())["step"]


def _weights(policy: nn.Module) -> dict[str, torch.Tensor]:
    """Each tensor once, under its first name: tied weights share storage, which safetensors refuses."""
    seen: set[int] = set()
    tensors = {}
    for name, value in policy.state_dict(keep_vars=True).items():
        if id(value) not in seen:
            seen.add(id(value))
            tensors[name] = value.detach()
    return tensors


def _moments(optimizer: torch.optim.Optimizer) -> dict[str, torch.Tensor]:
    state = optimizer.state_dict()["state"]
    return {f"{index}.{name}": value for index, values in state.items() for name, value in values.items()}


def _read(path: Path) -> dict[str, torch.Tensor]:
    try:
        return load_file(path)
    except SafetensorError as error:
        raise ValueError(f"{path} must be a whole safetensors file: {error}") from error


def _sha256(path: Path) -> str:
    with path.open("rb") as file:
        return hashlib.file_digest(file, "sha256").hexdigest()


def _flush(path: Path) -> None:
    descriptor = os.open(path, os.O_RDONLY)
    try:
        with contextlib.suppress(OSError):  # some file systems refuse to flush a folder
            os.fsync(descriptor)
    finally:
        os.close(descriptor)
