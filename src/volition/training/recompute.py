"""Memory for time: what the backward pass computes again instead of having it kept. Gradients stay equal to the bit.

On a Kosmos-2 of 69 M parameters the vision tower's activations are most of a step's memory, and `layers` for it alone
gives them back; `activations` keeps every matrix product and costs next to nothing (benchmarks/model_speed.py).
"""

from __future__ import annotations

from collections.abc import Iterable
from dataclasses import dataclass
from functools import partial
from typing import Any, Literal

import torch
from torch import nn
from torch.utils.checkpoint import CheckpointPolicy, checkpoint, create_selective_checkpoint_contexts
from transformers.modeling_layers import GradientCheckpointingLayer

from volition.backbones import Backbone
from volition.training.parts import vision_towers

# nothing: all is kept. activations: norms, nonlinearities and their like are computed again. layers: all of a layer is.
Recomputed = Literal["nothing", "activations", "layers"]


@dataclass(frozen=True, kw_only=True)
class RecomputeConfig:
    """What is computed again in the layers of the vision towers and in all others."""

    vision: Recomputed = "nothing"
    language: Recomputed = "nothing"


def set_recompute(backbone: Backbone, config: RecomputeConfig) -> None:
    """Change in place what the layers keep while training. ValueError where a model's layers cannot be asked to."""
    towers = {module for tower in vision_towers(backbone) for module in tower.modules()}
    rest = [module for module in backbone.model.modules() if module not in towers]
    for name, what, modules in (("vision", config.vision, towers), ("language", config.language, rest)):
        if not recompute_layers(modules, what) and what != "nothing":
            raise ValueError(
                f"recompute.{name}={what!r} needs layers that can be checkpointed, and {type(backbone.model).__name__} "
                f"has none there; leave it at 'nothing'"
            )


def recompute_layers(modules: Iterable[nn.Module], what: Recomputed) -> int:
    """Set every layer among the modules; the number of layers found."""
    layers = [module for module in modules if isinstance(module, GradientCheckpointingLayer)]
    for layer in layers:
        layer.gradient_checkpointing = what != "nothing"
        layer._gradient_checkpointing_func = _CHECKPOINTS.get(what)  # unused where nothing is recomputed
    return len(layers)


_aten = torch.ops.aten
# Every matrix product, and attention that does not write its weights down.
_KEPT = {
    *(_aten.mm.default, _aten.addmm.default, _aten.bmm.default, _aten.baddbmm.default, _aten.convolution.default),
    _aten._scaled_dot_product_flash_attention_for_cpu.default,
    _aten._scaled_dot_product_flash_attention.default,
    _aten._scaled_dot_product_efficient_attention.default,
    _aten._scaled_dot_product_cudnn_attention.default,
}


def _keep_products(context: Any, operation: Any, *args: Any, **kwargs: Any) -> CheckpointPolicy:
    return CheckpointPolicy.MUST_SAVE if operation in _KEPT else CheckpointPolicy.PREFER_RECOMPUTE


_CHECKPOINTS = {
    "layers": partial(checkpoint, use_reentrant=False),
    "activations": partial(
        checkpoint, use_reentrant=False, context_fn=partial(create_selective_checkpoint_contexts, _keep_products)
    ),
}
