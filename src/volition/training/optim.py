"""AdamW with groups for pretrained and for new weights, and the learning-rate schedule as a function of the step."""

from __future__ import annotations

import math
from collections.abc import Iterable
from dataclasses import dataclass
from typing import Literal

import torch
from torch import nn

from volition.policy import Policy


@dataclass(frozen=True, kw_only=True)
class OptimConfig:
    lr: float = 1e-3  # of new weights: head and [LRN]
    backbone_lr: float = 1e-3  # of the pretrained ones
    weight_decay: float = 0.01  # not on biases, norms, embeddings and [LRN]
    betas: tuple[float, float] = (0.9, 0.95)
    warmup_steps: int = 100
    schedule: Literal["constant", "cosine"] = "cosine"
    min_lr_scale: float = 0.0  # what is left of the learning rate at the last step
    max_grad_norm: float = 1.0

    def lr_scale(self, step: int, num_steps: int) -> float:
        """The factor on every learning rate at `step` = 1..num_steps: linear warm-up, then the schedule."""
        if step <= self.warmup_steps:
            return step / self.warmup_steps
        if self.schedule == "constant":
            return 1.0
        progress = (step - self.warmup_steps) / max(1, num_steps - self.warmup_steps)
        return self.min_lr_scale + (1 - self.min_lr_scale) * (1 + math.cos(math.pi * min(1.0, progress))) / 2


def make_optimizer(policy: Policy, config: OptimConfig) -> torch.optim.AdamW:
    new = {id(p) for p in policy.new_parameters()}
    no_decay = {id(p) for p in _undecayed(policy)}
    groups = []
    for is_new, lr in ((False, config.backbone_lr), (True, config.lr)):
        for decays in (True, False):
            chosen = [
                p
                for p in policy.parameters()
                if p.requires_grad and (id(p) in new) == is_new and (id(p) not in no_decay) == decays
            ]
            if chosen:
                decay = config.weight_decay if decays else 0.0
                groups.append({"params": chosen, "lr": lr, "base_lr": lr, "weight_decay": decay})
    return torch.optim.AdamW(groups, betas=config.betas, fused=True)


def set_lr(optimizer: torch.optim.Optimizer, scale: float) -> None:
    for group in optimizer.param_groups:
        group["lr"] = group["base_lr"] * scale


def _undecayed(policy: Policy) -> Iterable[nn.Parameter]:
    yield policy.backbone.embedding.new
    for module in policy.modules():
        if isinstance(module, nn.Embedding):
            yield from module.parameters()
    yield from (p for p in policy.parameters() if p.ndim <= 1)  # biases, norms and gains
