"""How weights and work are spread over ranks, with torch's own engine: DDP, FSDP2, tensor and pipeline parallel.

    policy --distribute--> what the loop calls; the policy itself is changed in place, its names stay

replicate: every rank has all weights and its part of the batch (DDP). shard: weights, gradients and moments in pieces,
put together layer by layer (`fully_shard`). tensor: ranks share the matrices of the decoder's layers, as the model's
own plan says (`tp_plan`). pipeline: ranks have some of these layers each (`training.pipeline`).
"""

from __future__ import annotations

import fnmatch
from dataclasses import dataclass
from typing import Literal

import torch
from torch import nn
from torch.distributed.fsdp import CPUOffloadPolicy, MixedPrecisionPolicy, OffloadPolicy, fully_shard
from torch.distributed.tensor.parallel import ColwiseParallel, ParallelStyle, RowwiseParallel, parallelize_module
from torch.nn.parallel import DistributedDataParallel
from transformers.modeling_layers import GradientCheckpointingLayer

from volition.backbones import Backbone
from volition.policy import Policy
from volition.training.parts import decoder_layers, is_adapter
from volition.training.pipeline import Pipeline
from volition.training.ranks import Ranks, require_alone
from volition.types import Batch, Target

_STYLES: dict[str, type[ParallelStyle]] = {"colwise": ColwiseParallel, "rowwise": RowwiseParallel}


@dataclass(frozen=True, kw_only=True)
class DistributedConfig:
    """What one process alone does is the same with any of these."""

    strategy: Literal["replicate", "shard"] = "replicate"
    tensor: int = 1  # ranks that share each matrix of the decoder
    pipeline: int = 1  # ranks that have some of the decoder's layers each
    offload: bool = False  # with "shard": weights, gradients and moments wait in the memory of the CPU

    def __post_init__(self) -> None:
        for name in ("tensor", "pipeline"):
            if getattr(self, name) < 1:
                raise ValueError(f"{name} must be at least 1, got {getattr(self, name)}")
        if self.pipeline > 1 and (self.tensor > 1 or self.strategy != "replicate"):
            raise ValueError(
                f"pipeline={self.pipeline} goes with strategy='replicate' and tensor=1: its ranks have whole layers"
            )
        if self.offload and self.strategy != "shard":
            raise ValueError("offload=True needs strategy='shard', which knows when a layer's weights are wanted")

    @property
    def needs_group(self) -> bool:
        """Even of one process."""
        return self.strategy == "shard"


def distribute(
    policy: Policy, config: DistributedConfig, ranks: Ranks, example: tuple[Batch, Target] | None = None
) -> nn.Module:
    """Call before the optimizer is made. The result is called as the policy is. `example`: what a pipeline wants."""
    if ranks.mesh is None:
        require_alone(tensor=config.tensor, pipeline=config.pipeline)
        return policy
    if config.pipeline > 1:
        assert example is not None
        return Pipeline(policy, ranks, example)
    if config.tensor > 1:
        if config.strategy == "replicate" and ranks.count > 1:
            raise ValueError(
                f"tensor={config.tensor} on {ranks.world} ranks leaves {ranks.count} copies of the policy: with "
                "strategy='shard' they hold it in pieces; 'replicate' needs tensor equal to the number of ranks"
            )
        split_matrices(policy.backbone, ranks, config.tensor)
    if config.strategy == "shard":
        return _shard(policy, config, ranks)
    if ranks.count == 1:
        return policy
    # Whole parts may have no turn at a step: a vocabulary that no loss reads, an auxiliary loss.
    return DistributedDataParallel(policy, process_group=ranks.mesh.get_group("data"), find_unused_parameters=True)


def _shard(policy: Policy, config: DistributedConfig, ranks: Ranks) -> Policy:
    assert ranks.mesh is not None
    data = ranks.mesh["data"]
    pinned = data.device_type == "cuda"  # what travels to a GPU; on a CPU nothing does, and nothing can be pinned
    offload: OffloadPolicy = CPUOffloadPolicy(pin_memory=pinned) if config.offload else OffloadPolicy()
    # Pieces of layers travel in the type that they are computed in; gradients are added up in float32.
    computed = MixedPrecisionPolicy(
        param_dtype=policy.backbone.autocast, reduce_dtype=torch.float32, cast_forward_inputs=False
    )
    for module in policy.backbone.model.modules():
        if isinstance(module, GradientCheckpointingLayer):
            fully_shard(module, mesh=data, mp_policy=computed, offload_policy=offload)
    fully_shard(policy, mesh=data, offload_policy=offload)
    return policy


def split_matrices(backbone: Backbone, ranks: Ranks, degree: int) -> None:
    """The decoder's layers, in place, by the plan that the model brings. ValueError where it brings none."""
    if any(is_adapter(name) for name, _ in backbone.named_parameters()):
        raise ValueError(
            "loop.distributed.tensor shares plain linear layers, and train.lora has put adapters around them: leave "
            "one of the two out"
        )
    assert ranks.mesh is not None
    plan = getattr(backbone.model, "tp_plan", None) or getattr(backbone.model, "_tp_plan", None) or {}
    layers = decoder_layers(backbone)
    prefix = next(name for name, module in backbone.model.named_modules() if module is layers)
    patterns = {
        pattern.removeprefix(f"{prefix}.*."): _STYLES[style]
        for pattern, style in plan.items()
        if pattern.startswith(f"{prefix}.*.") and style in _STYLES
    }
    if not patterns:
        raise ValueError(
            f"loop.distributed.tensor={degree} needs a model that says how its matrices are shared (tp_plan), and "
            f"{type(backbone.model).__name__} says nothing of its decoder: take strategy='shard'"
        )
    text = backbone.model.config.get_text_config()
    for name in ("num_attention_heads", "num_key_value_heads"):
        heads = getattr(text, name, None)
        if heads and heads % degree:
            raise ValueError(f"loop.distributed.tensor={degree} must divide the model's {name}={heads}")
    for layer in layers:
        chosen = {
            name: style()
            for name, _ in layer.named_modules()
            for pattern, style in patterns.items()
            if fnmatch.fnmatchcase(name, pattern)
        }
        parallelize_module(layer, ranks.mesh["tensor"], chosen)
