"""A policy head of your own, in one file: every action dimension as a choice between bins.

    cd examples
    volition train 01_your_own_head:recipe                                    records, trains 60 steps: under a minute
    volition eval runs/recipe --starts 2 --tasks open_drawer --allow 01_your_own_head

Expected: the loss falls from about 2.8 (chance among 17 bins) to about 0.9. That shows the path; for a policy that
opens drawers, raise `--loop.num-steps` and `--data.recording.record.episodes-per-task`.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass, replace

import torch
import torch.nn.functional as F
from jaxtyping import Float, Int
from torch import Tensor, nn

from volition.backbones import Backbone, Encoded
from volition.config import DataConfig, Experiment
from volition.contract import ActionSpace
from volition.heads import Head
from volition.heads.base import ReadoutFeatures, masked_mean
from volition.recipes import smoke
from volition.recipes.desk import demo_recording
from volition.types import Batch, Loss, Target


@dataclass(frozen=True, kw_only=True)
class BinsHeadConfig:
    """A config lives above its class, is frozen, and has this `build`: that is all a recipe asks for."""

    num_bins: int = 17
    hidden: int = 128

    def __post_init__(self) -> None:
        if self.num_bins < 2:
            raise ValueError(f"num_bins must be at least 2, got {self.num_bins}")

    def build(
        self, backbone: Backbone, space: ActionSpace, *, num_obs_steps: int, horizon: int, state_dim: int
    ) -> Head:
        return BinsHead(self, backbone, space, horizon, state_dim)


class BinsHead(Head):
    """Cross-entropy over bins between each dimension's low and high; acts with the likeliest bin's centre."""

    def __init__(self, config: BinsHeadConfig, backbone: Backbone, space: ActionSpace, horizon: int, state_dim: int):
        super().__init__()
        self.num_bins, self.shape = config.num_bins, (horizon, space.dim, config.num_bins)
        self.features = ReadoutFeatures(backbone.num_readouts, backbone.width, state_dim)
        self.classify = nn.Sequential(
            nn.Linear(self.features.width, config.hidden),
            nn.GELU(),
            nn.Linear(config.hidden, horizon * space.dim * config.num_bins),
        )
        # Buffers, not parameters: they move to the GPU with the head and are not trained.
        self.register_buffer("low", torch.tensor([d.low for d in space.dimensions]), persistent=False)
        self.register_buffer("high", torch.tensor([d.high for d in space.dimensions]), persistent=False)

    def loss(self, encoded: Encoded, batch: Batch, target: Target) -> Loss:
        logits, bins = self._logits(encoded, batch), self._to_bins(target.actions)
        error = F.cross_entropy(logits.flatten(0, 3), bins.flatten(), reduction="none").view_as(bins)
        total = masked_mean(error.mean(-1), target.mask)
        accuracy = masked_mean((logits.argmax(-1) == bins).float().mean(-1), target.mask)
        return Loss(total=total, metrics={"bins_loss": total.detach(), "bins_accuracy": accuracy.detach()})

    def start(self) -> None:
        """Remembers nothing: a head with a memory returns what a robot that has seen nothing remembers."""

    def predict(
        self, encoded: Encoded, batch: Batch, states: Sequence[None]
    ) -> tuple[Float[Tensor, "B H A"], list[None]]:
        chosen = self._logits(encoded, batch)[:, -1].argmax(-1)
        return self.low + chosen / (self.num_bins - 1) * (self.high - self.low), list(states)

    def _logits(self, encoded: Encoded, batch: Batch) -> Float[Tensor, "B T H A bins"]:
        return self.classify(self.features(encoded, batch)).unflatten(-1, self.shape)

    def _to_bins(self, actions: Float[Tensor, "B T H A"]) -> Int[Tensor, "B T H A"]:
        share = (actions - self.low) / (self.high - self.low)
        return (share * (self.num_bins - 1)).round().long().clamp(0, self.num_bins - 1)


def recipe() -> Experiment:
    """`smoke` with our head on one task."""
    base = smoke()
    data = DataConfig(path="runs/example-data", recording=demo_recording(4, tasks=("open_drawer",)))
    loop = replace(base.loop, num_steps=60, log_every=10, save_every=60)
    return replace(base, data=data, head=BinsHeadConfig(), loop=loop)
