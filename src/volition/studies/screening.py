"""Heads compared on what one frozen VLM read out: it runs once over the data, and every head learns from its answers.

    batches --backbone, once--> read-outs on disk --Stored--> heads, hundreds of steps a second

It ranks heads as cheaply as can be and says nothing of training end to end. Heads that read more of the VLM than its
read-outs (tokens, keys and values) cannot be screened.
"""

from __future__ import annotations

import hashlib
import json
from collections.abc import Sequence
from pathlib import Path

import torch
from safetensors.torch import load_file, save_file

from volition.backbones.encoded import Stored
from volition.config import Experiment, dump
from volition.data.files import alone, replacing
from volition.policy import Policy
from volition.training.read_ahead import Batches
from volition.types import Batch, Loss, Target

READOUT = "readout"  # its name among a batch's inputs


class ScreenedPolicy(Policy):
    """Learns from stored read-outs, acts with its backbone."""

    def forward(self, batch: Batch, target: Target) -> Loss:
        return self.head.loss(Stored(batch.inputs[READOUT]), batch, target)


def screened(policy: Policy) -> ScreenedPolicy:
    """The same parts, as a policy that reads stored answers; its backbone stays as it is."""
    for parameter in policy.backbone.parameters():
        parameter.requires_grad_(False)
    return ScreenedPolicy(policy.backbone, policy.head, policy.collator, policy.max_steps)


def stored_batches(
    experiment: Experiment, policy: Policy, batches: Batches, folder: Path, datasets: Sequence[str]
) -> Batches:
    """Batches with read-outs in place of pictures; made now, in `folder`, where they are not there yet.

    datasets: hashes of what the batches are made of.
    """
    path = folder / f"readouts-{_key(experiment, datasets)}.safetensors"
    with alone(folder / f".{path.stem}.lock"):  # runs that need the same begin at the same time
        if not path.exists():
            with replacing(path) as unfinished:
                save_file(read_out(experiment, policy, batches), unfinished)
    kept = load_file(path)

    def batch(step: int, part: int = 0, parts: int = 1) -> tuple[Batch, Target]:
        rows = slice(part, None, parts)
        found = {name: x[step - 1][rows] for name, x in kept.items()}
        known = found.get("known")
        return (
            Batch(inputs={READOUT: found[READOUT]}, images={}, state=found["state"]),
            Target(actions=found["actions"], mask=found["mask"], known=known),
        )

    return batch


@torch.no_grad()
def read_out(experiment: Experiment, policy: Policy, batches: Batches) -> dict[str, torch.Tensor]:
    """[steps, B, ...] of every number that heads read; augmented as training would."""
    policy.eval()
    rows: dict[str, list[torch.Tensor]] = {}
    loop = experiment.loop
    for step in range(1, loop.num_steps + 1):
        batch, target = batches(step)
        generator = torch.Generator().manual_seed(loop.seed * 1_000_003 + step)
        seen = batch.with_images(loop.augmentation(batch.images, generator)).to(policy.backbone.device)
        found = {
            READOUT: policy.backbone.encode(seen).readout.cpu(),
            "state": batch.state,
            "actions": target.actions,
            "mask": target.mask,
            "known": torch.ones(len(target.actions), target.actions.shape[-1], dtype=torch.bool)
            if target.known is None
            else target.known,
        }
        for name, x in found.items():
            rows.setdefault(name, []).append(x)
    return {name: torch.stack(x).contiguous() for name, x in rows.items()}


def _key(experiment: Experiment, datasets: Sequence[str]) -> str:
    """Of everything that the read-outs depend on: not the head, its loss or how it learns."""
    loop = experiment.loop
    told = [experiment.data, experiment.window, experiment.backbone, loop.augmentation]
    numbers = [loop.seed, loop.num_steps, loop.batch_size, loop.precision, experiment.from_scratch]
    text = json.dumps([*map(dump, told), *numbers, *datasets], sort_keys=True)
    return hashlib.sha256(text.encode()).hexdigest()[:16]
