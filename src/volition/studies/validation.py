"""What a policy in training makes of episodes that it does not learn from, whenever a checkpoint is saved.

held-out windows --the policy's own loss--> validation_loss and its parts
held-out episodes --the path by which it acts--> errors in metres and radians, accuracy of the gripper
"""

from __future__ import annotations

import re
from collections.abc import Sequence

import torch

from volition.contract import ActionSpace, RobotSpec
from volition.evaluation.offline import OfflineScore, offline_metrics
from volition.records import Episode
from volition.training.average import averaged
from volition.training.read_ahead import Batches
from volition.training.train import Trainer

NUM_BATCHES = 8  # the same ones every time
NUM_EPISODES = 8  # that the policy acts along


class Validation:
    """`batches` are of the held-out episodes."""

    def __init__(self, batches: Batches, episodes: Sequence[Episode], robot: RobotSpec, *, stride: int):
        self._batches, self._space, self._stride = batches, robot.action_space, stride
        step = max(1, len(episodes) // NUM_EPISODES)
        self._episodes = [episodes[i] for i in range(0, len(episodes), step)][:NUM_EPISODES]

    def __call__(self, trainer: Trainer) -> dict[str, float]:
        """All ranks call it; the weights that would act are those that are asked."""
        policy = trainer.policy.eval()
        with averaged(policy, trainer.average):
            found = {f"validation_{name}": value for name, value in self._losses(trainer).items()}
            if trainer.whole and trainer.ranks.first:
                score = offline_metrics(policy, self._episodes, self._space, stride=self._stride)
                found |= {f"validation_{name}": value for name, value in in_robot_units(score, self._space).items()}
        policy.train()
        return found

    @torch.no_grad()
    def _losses(self, trainer: Trainer) -> dict[str, float]:
        ranks, device = trainer.ranks, trainer.policy.backbone.device
        sums: dict[str, torch.Tensor] = {}
        for number in range(1, NUM_BATCHES + 1):
            batch, target = self._batches(number, ranks.index, ranks.count)
            torch.manual_seed(number)
            loss = trainer.model(batch.to(device), target.to(device))
            (share,) = ranks.shares(trainer.policy, [target], device)
            loss = loss if share is None else loss.shared(share)
            for name, value in {"loss": loss.total, **loss.metrics}.items():
                sums[name] = sums.get(name, 0.0) + value.float()
        names = list(sums)
        means = ranks.mean(torch.stack([sums[name] for name in names])) / NUM_BATCHES
        return dict(zip(names, means.tolist()))


def in_robot_units(score: OfflineScore, space: ActionSpace) -> dict[str, float]:
    """'error_m': by what the first action of a chunk is off, mean over the dimensions in metres; 'gripper_accuracy'."""
    errors: dict[str, list[float]] = {}
    for dimension in space.dimensions:
        if dimension.name in score.mae:
            size, unit = measure(dimension.unit)
            errors.setdefault(unit, []).append(score.mae[dimension.name].value * size)
    found = {f"error_{unit}": sum(values) / len(values) for unit, values in errors.items()}
    return found | {f"{name}_accuracy": estimate.value for name, estimate in score.accuracy.items()}


def measure(unit: str) -> tuple[float, str]:
    """'0.02 m' -> (0.02, 'm'); a number alone measures nothing that has a name."""
    found = re.fullmatch(r"([0-9.]+(?:e-?[0-9]+)?)\s*(.*)", unit)
    size, name = (float(found[1]), found[2]) if found else (1.0, unit)
    return size, name or "units"
