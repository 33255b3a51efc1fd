"""The policy: backbone + head + what turns robot units into tensors and back. One screen from sample to loss."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from typing import Any

import numpy as np
import torch
from torch import nn

from volition.backbones.base import Adapter, Backbone
from volition.data.transforms import Transform
from volition.heads.base import Head
from volition.records import Observation, Sample
from volition.types import Batch, Loss, Target


class Policy(nn.Module):
    """Implements `records.Actor`: evaluation and serving know it only as that."""

    def __init__(self, backbone: Backbone, head: Head, collator: Collator):
        super().__init__()
        self.backbone, self.head, self.collator = backbone, head, collator

    def forward(self, batch: Batch, target: Target) -> Loss:
        return self.head.loss(self.backbone.encode(batch), batch, target)

    def start(self, n: int) -> list[Any]:
        """States of `n` robots that have seen nothing."""
        return [self.head.start() for _ in range(n)]

    @torch.inference_mode()
    def act(self, observations: Sequence[Observation], states: Sequence[Any]) -> tuple[np.ndarray, list[Any]]:
        """One observation (T = 1) and state a robot -> action chunks float32[B, H, A] in robot units, new states."""
        batch = self.collator.batch(observations).to(self.backbone.device)
        chunks, states = self.head.predict(self.backbone.encode(batch), batch, states)
        decode = self.collator.transforms.decode
        return np.stack([decode(c, o) for c, o in zip(chunks.float().cpu().numpy(), observations)]), list(states)

    def new_parameters(self) -> list[nn.Parameter]:
        """Parameters that did not come with the pretrained model: [LRN] and the head."""
        return [self.backbone.embedding.new, *self.head.parameters()]


@dataclass(frozen=True)
class Collator:
    """Raw samples -> tensors. Has no weights, so that data workers can carry it."""

    transforms: Transform
    adapter: Adapter
    cameras: tuple[str, ...]  # the ones the policy looks at, in the order of its prompt
    state: tuple[int, ...]  # the entries of the robot's state that it is given; none by default

    def __call__(self, samples: Sequence[Sample]) -> tuple[Batch, Target]:
        actions = [self.transforms.encode(s.actions, s.observation) for s in samples]
        target = Target(actions=_stack(actions), mask=_stack([s.mask for s in samples]))
        return self.batch([s.observation for s in samples]), target

    def batch(self, observations: Sequence[Observation]) -> Batch:
        seen = [self.transforms.observe(o) for o in observations]
        steps = len(seen[0].state)
        texts = [o.instruction for o in seen for _ in range(steps)]
        return Batch(
            inputs=self.adapter.collate(texts, len(self.cameras)),
            images={camera: _stack([o.images[camera] for o in seen]) for camera in self.cameras},
            state=_stack([o.state[:, list(self.state)] for o in seen]),
        )


def _stack(arrays: Sequence[np.ndarray]) -> torch.Tensor:
    return torch.from_numpy(np.stack(arrays))
