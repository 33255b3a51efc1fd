"""AdamW with a learning rate for every part of the policy, and the schedule as a function of the step."""

from __future__ import annotations

import math
from collections.abc import Iterable
from dataclasses import dataclass
from typing import Literal

import torch
from torch import nn

from volition.policy import Policy
from volition.training.parts import PARTS, Part, find_parts, is_adapter, require_parts

NEW: tuple[Part, ...] = ("readouts", "head", "auxiliary")  # parts that did not come with the pretrained model


@dataclass(frozen=True, kw_only=True)
class OptimConfig:
    lr: float = 1e-3  # of new weights: head, [LRN], auxiliary modules
    backbone_lr: float = 1e-3  # of the pretrained ones
    vision_lr: float | None = None  # None: as backbone_lr
    resampler_lr: float | None = None  # None: as lr where the resampler is ours
    projector_lr: float | None = None
    embeddings_lr: float | None = None
    lora_lr: float | None = None  # None: as lr
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

    def rate_of(self, part: Part, *, adapter: bool, ours: bool = False) -> str:
        """The name of the field with the learning rate of such weights; `ours` did not come with the model."""
        own = "lora_lr" if adapter else f"{part}_lr"
        if getattr(self, own, None) is not None:
            return own
        return "lr" if adapter or ours or part in NEW else "backbone_lr"


def make_optimizer(policy: Policy, config: OptimConfig) -> torch.optim.AdamW:
    """Trained weights only, in a group for every learning rate with and without decay."""
    part_of = find_parts(policy)
    require_parts(
        part_of,
        [p for p in PARTS if getattr(config, f"{p}_lr", None) is not None and p != "backbone"],
        "loop.optim has a learning rate for",
    )
    no_decay = {id(p) for p in _undecayed(policy)}
    members: dict[tuple[str, bool], list[nn.Parameter]] = {}
    for name, parameter in policy.named_parameters():
        if parameter.requires_grad:
            ours = name.startswith("backbone.resampler.")  # a model's own resampler lies inside the model
            rate = config.rate_of(part_of[name], adapter=is_adapter(name), ours=ours)
            members.setdefault((rate, id(parameter) not in no_decay), []).append(parameter)
    groups = []
    # Pretrained before new and decayed before not: moments are stored under a weight's place in this order.
    for rate in ("backbone_lr", "vision_lr", "resampler_lr", "projector_lr", "embeddings_lr", "lora_lr", "lr"):
        for decays in (True, False):
            if chosen := members.get((rate, decays)):
                lr = getattr(config, rate)
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
