"""Checkpoints: a folder appears whole or not at all, carries SHA-256 sums, and nothing in it can run code.

checkpoints/step_N/{config.json, contract.json, weights, optimizer and average as safetensors, trainer.json,
manifest.json}; several ranks write a file each (see `pieces`). Moments are kept by the names of their weights, so that
another number of ranks finds them.
"""

from __future__ import annotations

import hashlib
import json
from pathlib import Path
from typing import Any

import torch
from torch import Tensor, nn

from volition.training.pieces import Stored, fill
from volition.training.train import Trainer

WEIGHTS, OPTIMIZER, AVERAGE = "weights", "optimizer", "average"
STATE, MANIFEST = "trainer.json", "manifest.json"


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
        if not path.exists() or sha256(path) != expected:
            state = "damaged" if path.exists() else "missing"
            raise ValueError(f"{path} is {state}: its SHA-256 must be {expected}. Use an older checkpoint of the run.")


def read_state(checkpoint: Path) -> dict[str, Any]:
    """What is no tensor: the step, and with which data and validation loss it was reached."""
    return json.loads((checkpoint / STATE).read_text())


def load_weights(
    policy: nn.Module, checkpoint: Path, *, averaged: bool = True, elsewhere: frozenset[str] = frozenset()
) -> None:
    """Strict: every tensor of the policy, and no other, must be there.

    averaged: where the run kept a moving average of its weights, that of the trained ones is taken. elsewhere: names of
    tensors that other ranks have.
    """
    verify(checkpoint)
    _fill_all(weights_of(policy), checkpoint, WEIGHTS, elsewhere)
    if averaged and list(checkpoint.glob(f"{AVERAGE}*.safetensors")):
        names = dict(policy.named_parameters())
        with Stored(checkpoint, AVERAGE) as stored:
            for name in stored:
                if name not in names or names[name].shape != stored.shape(name):
                    raise ValueError(f"{checkpoint}: the average has {name!r}, which must be a weight of the policy")
                fill(names[name], stored.read(name))


def restore(trainer: Trainer, checkpoint: Path) -> None:
    """Weights, optimizer moments, averages and the rest: the run goes on as if it had never stopped."""
    elsewhere = trainer.elsewhere
    load_weights(trainer.policy, checkpoint, averaged=False, elsewhere=elsewhere)
    if trainer.average is not None:
        _fill_all(trainer.average.weights, checkpoint, AVERAGE, elsewhere)
    parameters = dict(trainer.policy.named_parameters())
    with Stored(checkpoint, OPTIMIZER) as stored:
        for key in stored:
            name, _, moment = key.rpartition("/")
            if name in elsewhere:
                continue
            if name not in parameters:
                raise ValueError(f"{checkpoint} has moments of {name!r}, which must be a weight of the policy")
            trainer.optimizer.state[parameters[name]][moment] = _moment(parameters[name], stored.read(key))
    state = read_state(checkpoint)
    trainer.step, trainer.spikes.recent = state["step"], state.get("recent_losses", [])
    trainer.scale.factor, trainer.scale.finite_steps = state.get("loss_scale", (trainer.scale.factor, 0))


def weights_of(policy: nn.Module) -> dict[str, Tensor]:
    """Each tensor once, under its first name: tied weights share storage, which safetensors refuses."""
    seen: set[int] = set()
    tensors = {}
    for name, value in policy.state_dict(keep_vars=True).items():
        if id(value) not in seen:
            seen.add(id(value))
            tensors[name] = value.detach()
    return tensors


def moments_of(trainer: Trainer) -> dict[str, Tensor]:
    """'head.output.weight/exp_avg' -> tensor; whole numbers become int64."""
    found = {}
    for name, parameter in trainer.policy.named_parameters():
        for moment, value in trainer.optimizer.state.get(parameter, {}).items():
            found[f"{name}/{moment}"] = torch.tensor(value) if isinstance(value, int) else value
    return found


def sha256(path: Path) -> str:
    with path.open("rb") as file:
        return hashlib.file_digest(file, "sha256").hexdigest()


def _fill_all(expected: dict[str, Tensor], checkpoint: Path, stem: str, elsewhere: frozenset[str]) -> None:
    with Stored(checkpoint, stem) as stored:
        missing = sorted(expected.keys() - set(stored))
        extra = sorted(set(stored) - expected.keys() - elsewhere)
        wrong = [n for n in expected.keys() & set(stored) if tuple(expected[n].shape) != stored.shape(n)]
        if missing or extra or wrong:
            raise ValueError(
                f"{checkpoint / stem}.safetensors must hold exactly the policy's tensors; "
                f"missing {missing[:5]}, unknown {extra[:5]}, of another shape {sorted(wrong)[:5]}"
            )
        for name, target in expected.items():
            fill(target, stored.read(name))


def _moment(parameter: Tensor, whole: Tensor) -> Any:
    if whole.dtype == torch.int64 and whole.ndim == 0:
        return int(whole)
    if whole.shape != parameter.shape:
        return whole.to(parameter.device)
    moment = torch.zeros_like(parameter, dtype=whole.dtype, requires_grad=False)
    fill(moment, whole)
    return moment
