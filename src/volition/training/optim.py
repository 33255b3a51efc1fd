"""AdamW with a learning rate for every part of the policy, and the schedule as a function of the step."""

from __future__ import annotations

import math
from collections.abc import Callable, Iterable, Sequence
from dataclasses import dataclass
from typing import Any, Literal

import torch
from torch import nn
from torch.distributed.tensor import DTensor
from torch.nn.utils import clip_grads_with_norm_, get_total_norm

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
    eps: float = 1e-8
    decayed: Literal["matrices", "everything"] = "matrices"  # "everything": one group, as the reference does
    optimizer: Literal["adamw", "adamw-8bit"] = "adamw"  # 8bit: moments of large tensors in a byte a number
    warmup_steps: int = 100
    warmup_ratio: float = 0.0  # of num_steps; what steps, ratio and epochs say is added up
    warmup_epochs: float = 0.0  # of the whole data, each window once
    # After the warm-up, from 1 down to min_lr_scale. "half-cosine" is what the reference calls our "cosine".
    schedule: Literal["constant", "cosine", "half-cosine", "linear"] = "cosine"
    min_lr_scale: float = 0.0  # what is left of the learning rate at the last step
    max_grad_norm: float = 1.0

    def __post_init__(self) -> None:
        for name in ("warmup_steps", "warmup_ratio", "warmup_epochs", "weight_decay"):
            if getattr(self, name) < 0:
                raise ValueError(f"{name} must be at least 0, got {getattr(self, name)}")
        if self.warmup_ratio > 1 or not 0 <= self.min_lr_scale <= 1:
            raise ValueError(
                f"warmup_ratio={self.warmup_ratio} and min_lr_scale={self.min_lr_scale} must be shares, in 0..1"
            )

    def lr_scale(self, step: int, num_steps: int, steps_per_epoch: float = 0.0) -> float:
        """The factor on every learning rate at `step` = 1..num_steps: linear warm-up, then the schedule."""
        warmup = self.warmup_steps + self.warmup_ratio * num_steps + self.warmup_epochs * steps_per_epoch
        if step <= warmup:
            return step / warmup
        if self.schedule == "constant":
            return 1.0
        progress = min(1.0, (step - warmup) / max(1, num_steps - warmup))
        left = 1 - progress if self.schedule == "linear" else (1 + math.cos(math.pi * progress)) / 2
        return self.min_lr_scale + (1 - self.min_lr_scale) * left

    def rate_of(self, part: Part, *, adapter: bool, ours: bool = False) -> str:
        """The name of the field with the learning rate of such weights; `ours` did not come with the model."""
        own = "lora_lr" if adapter else f"{part}_lr"
        if getattr(self, own, None) is not None:
            return own
        return "lr" if adapter or ours or part in NEW else "backbone_lr"


def make_optimizer(policy: Policy, config: OptimConfig) -> torch.optim.Optimizer:
    """Trained weights only, in a group for every learning rate with and without decay."""
    part_of = find_parts(policy)
    require_parts(
        part_of,
        [p for p in PARTS if getattr(config, f"{p}_lr", None) is not None and p != "backbone"],
        "loop.optim has a learning rate for",
    )
    no_decay = {id(p) for p in _undecayed(policy)} if config.decayed == "matrices" else set()
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
            lr, decay = getattr(config, rate), config.weight_decay if decays else 0.0
            groups += [
                {"params": chosen, "lr": lr, "base_lr": lr, "weight_decay": decay}
                for chosen in alike(members.get((rate, decays), []))
            ]
    if config.optimizer == "adamw-8bit":
        return _in_eight_bits(groups, config)
    return torch.optim.AdamW(groups, betas=config.betas, eps=config.eps, fused=True)


def set_lr(optimizer: torch.optim.Optimizer, scale: float) -> None:
    for group in optimizer.param_groups:
        group["lr"] = group["base_lr"] * scale


def gradient_norm(parameters: Sequence[nn.Parameter]) -> torch.Tensor | None:
    """Of all their gradients together; None where there are none."""
    groups = [[p.grad for p in group if p.grad is not None] for group in alike(parameters)]
    norms = [_whole(get_total_norm(gradients)) for gradients in groups if gradients]
    if len(norms) < 2:
        return norms[0] if norms else None
    return torch.linalg.vector_norm(torch.stack(norms))


Norm = Callable[[Sequence[nn.Parameter]], torch.Tensor | None]


def clip_gradients(
    policy: nn.Module, max_norm: float, loss_scale: float = 1.0, norm_of: Norm = gradient_norm
) -> torch.Tensor:
    """Divide gradients by `loss_scale`, then bring their common norm down to `max_norm`; the norm before that."""
    parameters = list(policy.parameters())
    scaled = norm_of(parameters)
    if scaled is None:
        return torch.zeros(())
    for group in alike(p for p in parameters if p.grad is not None):
        clip_grads_with_norm_(group, max_norm * loss_scale, scaled)
        if loss_scale != 1.0:
            torch._foreach_mul_([p.grad for p in group if p.grad is not None], 1 / loss_scale)
    return scaled / loss_scale


def alike(parameters: Iterable[nn.Parameter]) -> list[list[nn.Parameter]]:
    """Apart by how they lie on the ranks: one operation cannot take whole tensors and pieces together."""
    found: dict[object, list[nn.Parameter]] = {}
    for parameter in parameters:
        found.setdefault(getattr(parameter, "device_mesh", None), []).append(parameter)
    return list(found.values())


def _whole(value: torch.Tensor) -> torch.Tensor:
    """A number that all ranks share, from what each has of it."""
    return value.full_tensor() if isinstance(value, DTensor) else value


def _in_eight_bits(groups: list[dict[str, Any]], config: OptimConfig) -> torch.optim.Optimizer:
    try:
        import bitsandbytes
    except ImportError as error:
        raise ValueError(
            "loop.optim.optimizer='adamw-8bit' needs bitsandbytes: pip install 'volition[quant]', or take 'adamw'"
        ) from error
    if any(isinstance(p, DTensor) for group in groups for p in group["params"]):
        raise ValueError("loop.optim.optimizer='adamw-8bit' needs whole weights on every rank: take 'adamw' here")
    return bitsandbytes.optim.AdamW8bit(groups, betas=config.betas, eps=config.eps)


def _undecayed(policy: Policy) -> Iterable[nn.Parameter]:
    yield policy.backbone.embedding.new
    for module in policy.modules():
        if isinstance(module, nn.Embedding):
            yield from module.parameters()
    yield from (p for p in policy.parameters() if p.ndim <= 1)  # biases, norms and gains
